"""The last answers of the configuration service, kept on disk: whole and as they were, or refused.

The file says of which service and environment it is and when it was read, and ends with a checksum of all that. Secret
values lie in it sealed, as they do in the database.
"""

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from instrument_registry.configuration.external.dialect import ServiceAddress
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.errors import Unavailable
from instrument_registry.sealing import Bound, MasterKeyUnusable, SealBroken, Sealer

FILE_NAME = "configuration-service.json"
FORMAT = 1
LIMIT_BYTES = 4 * 1024 * 1024


class CacheRefused(Unavailable):
    """Delete the file; it is written anew as soon as the service answers."""

    title = "The kept configuration cannot be trusted"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the service said, and when it was last heard to say so."""

    values: Mapping[str, str]
    read_at: datetime


class _Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    service: str
    environment: str
    read_at: datetime
    values: dict[str, str]
    secrets: dict[str, str]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    content: _Content
    sha256: str


class Keeping:
    """The file of one data folder; `sealer` is asked for when there is something secret."""

    def __init__(self, data_dir: Path, address: ServiceAddress, *, sealer: Callable[[], Sealer]) -> None:
        self.path = data_dir / FILE_NAME
        self._address, self._sealer = address, sealer

    def stamp(self) -> tuple[int, int] | None:
        """Something else whenever the file is another; None without one."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    def read(self) -> Kept | None:
        """What was kept of this service; None when nothing was. Raises: CacheRefused."""
        try:
            with self.path.open("rb") as file:
                text = file.read(LIMIT_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheRefused(f"{self.path} cannot be read: {error.strerror}") from error
        try:
            told = msgspec.json.decode(text, type=_File)
        except msgspec.MsgspecError as error:
            raise CacheRefused(f"{self.path} is damaged: it is not what was written") from error
        if told.sha256 != _digest(told.content) or told.content.format != FORMAT:
            raise CacheRefused(f"{self.path} is damaged: its checksum is another")
        if (told.content.service, told.content.environment) != (self._address.url, self._address.environment):
            return None
        return Kept(told.content.values | self._opened(told.content.secrets), told.content.read_at)

    def write(self, kept: Kept) -> None:
        """Keep what was said, whole or not at all; Raises: MasterKeyUnusable, OSError."""
        secret = {name for name in kept.values if name in PARAMETERS and PARAMETERS[name].secret}
        content = _Content(
            format=FORMAT, service=self._address.url, environment=self._address.environment, read_at=kept.read_at,
            values={name: text for name, text in kept.values.items() if name not in secret},
            secrets={
                name: base64.b64encode(self._sealer().seal(kept.values[name].encode(), self._bound(name))).decode()
                for name in sorted(secret)
            },
        )  # fmt: skip
        text = msgspec.json.format(msgspec.json.encode(_File(content=content, sha256=_digest(content))), indent=1)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()

    def _opened(self, sealed: Mapping[str, str]) -> dict[str, str]:
        try:
            return {
                name: self._sealer().open(base64.b64decode(text, validate=True), self._bound(name)).decode()
                for name, text in sealed.items()
            }
        except (SealBroken, MasterKeyUnusable, ValueError) as error:
            raise CacheRefused(f"{self.path} holds a secret that cannot be opened") from error

    def _bound(self, name: str) -> Bound:
        return Bound(f"configuration-service:{name}", 1, self._address.environment)


def _digest(content: _Content) -> str:
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
