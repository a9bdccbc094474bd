"""The file with the master keys: made when there is none, changed whole, read by its owner alone."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from instrument_registry.sealing.master_keys import MasterKeyUnusable, id_of, mint, parsed

FILE_NAME = "master.key"
FILE_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Where the lines are; `may_be_made` says whether a missing file is made, or somebody's mistake."""

    path: Path
    may_be_made: bool = True

    @property
    def shown(self) -> str:
        """Its path."""
        return str(self.path)

    def mark(self) -> object:
        """Another one when the file was written; None when there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def text(self) -> str:
        """What it holds; Raises: MasterKeyUnusable."""
        try:
            with self.path.open(encoding="ascii") as file:
                return file.read(FILE_LIMIT_BYTES)
        except OSError as error:
            raise self._unreadable(error) from error
        except UnicodeDecodeError as error:
            raise MasterKeyUnusable(f"{self.path} holds something that is no master key") from error

    def make(self) -> None:
        """Write a first key where there is no file; of several who try at once the first one's stays."""
        if not self.may_be_made:
            raise MasterKeyUnusable(f"{self.path} is not there, and only the service makes one: say where it is")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _draft(self.path, mint() + "\n") as draft, contextlib.suppress(FileExistsError):
                os.link(draft, self.path)
        except OSError as error:
            raise MasterKeyUnusable(f"{self.path} cannot be written: {error.strerror}") from error

    def add(self) -> bytes:
        """Put another key before the others: from now on it wraps. Its id. Raises: MasterKeyUnusable."""
        line = mint()
        with self._held():
            lines = self.text().split()
            parsed("\n".join(lines), shown=self.shown)
            self._replace([line, *lines])
        return id_of(parsed(line, shown=self.shown)[0])

    def remove(self, key_id: bytes) -> None:
        """Take a key out; Raises: MasterKeyUnusable when it is not there, or the only one."""
        with self._held():
            keys = {id_of(key): line for line in self.text().split() for key in parsed(line, shown=self.shown)}
            if key_id not in keys:
                raise MasterKeyUnusable(f"{self.path} holds no key {key_id.hex()}", key_id=key_id.hex())
            if len(keys) == 1:
                raise MasterKeyUnusable(f"{key_id.hex()} is the only key in {self.path}; add another one first")
            self._replace([line for one, line in keys.items() if one != key_id])

    def _replace(self, lines: list[str]) -> None:
        there = self.path.stat()
        try:
            with _draft(self.path, "\n".join(lines) + "\n") as draft:
                if os.geteuid() == 0:  # the service reads it as who it is
                    os.chown(draft, there.st_uid, there.st_gid)
                draft.chmod(there.st_mode & 0o777)
                os.replace(draft, self.path)
        except OSError as error:
            raise MasterKeyUnusable(f"{self.path} cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """One writer at a time: a key that was lost between two of them might have wrapped something."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _unreadable(self, error: OSError) -> MasterKeyUnusable:
        return MasterKeyUnusable(f"{self.path} cannot be read: {error.strerror}")


@contextlib.contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    """The text in a file beside, readable by its owner alone from its first byte on; gone at the end."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
