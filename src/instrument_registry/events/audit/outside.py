"""What of the audit lies outside the database: the signing key, its public half, and every checkpoint."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from instrument_registry.errors import Unavailable
from instrument_registry.events.audit.checkpoints import BadCheckpoint, Note, Signer, Verifier, read_note

KEY_LIMIT_BYTES = 10_000
LINE_LIMIT_BYTES = 10_000
TAIL_BYTES = 64 * 1024


class KeyUnreadable(Unavailable):
    """Put the right file back; without one a new key is made."""

    title = "The audit's signing key cannot be read"


class _Line(msgspec.Struct):
    """One line of the file of checkpoints."""

    checkpoint: str


@dataclass(frozen=True, slots=True)
class Outside:
    """A data folder's part of the audit."""

    folder: Path

    @property
    def key(self) -> Path:
        """The private key, for its owner's eyes alone."""
        return self.folder / "audit.key"

    @property
    def verifiers(self) -> Path:
        """The public keys to trust, one a line; to be kept elsewhere too."""
        return self.folder / "audit.pub"

    @property
    def checkpoints(self) -> Path:
        """Every checkpoint, one a line, as JSON."""
        return self.folder / "audit" / "checkpoints.log"

    def private_key(self) -> Ed25519PrivateKey:
        """The key to sign with, made when there is none; Raises: KeyUnreadable."""
        if not self.key.exists():
            _create_private(self.key, _pem(Ed25519PrivateKey.generate()))
        try:
            with self.key.open("rb") as file:
                found = load_pem_private_key(file.read(KEY_LIMIT_BYTES), password=None)
        except (OSError, ValueError) as error:
            raise KeyUnreadable(f"{self.key}: {error}") from error
        if not isinstance(found, Ed25519PrivateKey):
            raise KeyUnreadable(f"{self.key} holds a key of another kind, not Ed25519")
        return found

    def trust(self, signer: Signer) -> None:
        """Let the file of public keys name this one."""
        if signer.verifier in self.trusted():
            return
        with self.verifiers.open("a", encoding="utf-8") as file:
            file.write(f"{signer.verifier}\n")
            file.flush()
            os.fsync(file.fileno())

    def trusted(self) -> list[Verifier]:
        """The public keys of the file, none if there is none; Raises: BadCheckpoint."""
        return read_verifiers(self.verifiers) if self.verifiers.exists() else []

    def add(self, note: Note) -> None:
        """Write a checkpoint to the end of the file, and see it on the disk."""
        self.checkpoints.parent.mkdir(parents=True, exist_ok=True)
        line = msgspec.json.encode(_Line(note.text)) + b"\n"
        with self.checkpoints.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # cut off in the middle of a line
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def last(self) -> Note | None:
        """The newest checkpoint of the file; Raises: BadCheckpoint."""
        if not self.checkpoints.exists():
            return None
        with self.checkpoints.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            whole = file.read().splitlines(keepends=True)
        notes = [note for line in whole if (note := _note(line, self.checkpoints)) is not None]
        return notes[-1] if notes else None


def read_verifiers(path: Path) -> list[Verifier]:
    """The public keys of a file; Raises: BadCheckpoint."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadCheckpoint(f"{path} cannot be read: {error}") from error
    return [Verifier.read(line) for line in lines if line.strip()]


def read_checkpoints(path: Path) -> Iterator[Note]:
    """The checkpoints of a file; a line that was cut off is passed over, for its checkpoint was never told to anybody.

    Raises: BadCheckpoint for a whole line that is none.
    """
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_LIMIT_BYTES):
                if (note := _note(line, path)) is not None:
                    yield note
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error}") from error


def _note(line: bytes, path: Path) -> Note | None:
    """The checkpoint of a line; None for one whose beginning or end is missing."""
    if not (line.startswith(b"{") and line.rstrip().endswith(b"}")):
        return None
    try:
        return read_note(msgspec.json.decode(line, type=_Line).checkpoint)
    except msgspec.DecodeError as error:
        raise BadCheckpoint(f"{path} holds a line that is no checkpoint: {line[:60]!r}") from error


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _create_private(path: Path, content: bytes) -> None:
    """A file that is there whole or not at all, readable by its owner alone from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
