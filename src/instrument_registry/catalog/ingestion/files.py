"""Dumps as they lie on a disk: plain, gzip or zip, told apart by their first bytes, read within bounds."""

import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from instrument_registry.catalog.brokers.frame import Dump, Unreadable
from instrument_registry.catalog.ingestion.file_names import date_in_name, feed_of, unpacked_name
from instrument_registry.errors import NotFound

__all__ = ["Limits", "Opened", "date_in_name", "feed_of", "open_dumps"]

MEBIBYTE = 1024 * 1024
CHUNK_BYTES = MEBIBYTE
PACKED_CHUNK_BYTES = 64 * 1024
RATIO_COUNTS_FROM_BYTES = 4 * MEBIBYTE  # a small file of equal lines shrinks a thousandfold and harms nobody

GZIP = b"\x1f\x8b"
ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
END_OF_DIRECTORY = struct.Struct("<4s4H2LH")
OTHER_FORMATS = {
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"%PDF": "PDF",
    b"\xd0\xcf\x11\xe0": "old Excel",
    b"SQLite format 3": "SQLite",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one path may unfold to."""

    content_bytes: int = 256 * MEBIBYTE  # of all its members together; the largest real dump has 56
    line_bytes: int = 16 * MEBIBYTE
    ratio: int = 250  # real dumps shrink to a tenth, the most repetitive to a fiftieth
    members: int = 64
    gzip_members: int = 10_000
    directory_bytes: int = MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One dump found under a path, with the digest of its decompressed content."""

    dump: Dump
    sha256: str
    path: Path


def open_dumps(path: Path, *, limits: Limits | None = None) -> list[Opened]:
    """Read every dump a file holds: itself, what gzip packed, or the members of a zip.

    Raises: NotFound without such a file; Unreadable for anything that is no text within the bounds.
    """
    limits = limits or Limits()
    size = _regular_size(path)
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(0)
        contents = list(_contents(path, file, head=head, size=size, limits=limits))
    for name, content in contents:
        _check_text(name, content, limits)
    return [
        Opened(dump=Dump(name=name, content=content), sha256=hashlib.sha256(content).hexdigest(), path=path)
        for name, content in contents
    ]


def _regular_size(path: Path) -> int:
    try:
        status = path.stat()
    except OSError as error:
        raise NotFound(f"There is no file {path.name}", file=path.name) from error
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{path.name} is not a file", file=path.name)
    return status.st_size


def _contents(path: Path, file: BinaryIO, *, head: bytes, size: int, limits: Limits) -> Iterator[tuple[str, bytes]]:
    if size > limits.content_bytes:
        raise _too_large(path.name, limits)
    if head.startswith(EMPTY_ZIP):
        raise Unreadable(f"{path.name} is a zip without a member", file=path.name)
    if head.startswith(GZIP):
        yield unpacked_name(path.name), _gunzip(path.name, file, size=size, limits=limits)
    elif head.startswith(ZIP):
        yield from _unzip(path.name, file, size=size, limits=limits)
    else:
        yield unpacked_name(path.name), file.read(limits.content_bytes + 1)


def _gunzip(name: str, file: BinaryIO, *, size: int, limits: Limits) -> bytes:
    """Decompress one or more gzip members that follow each other to the end of the file."""
    unfolding = _Unfolding(name, packed_bytes=size, limits=limits)
    data = file.read(PACKED_CHUNK_BYTES)
    for _ in range(limits.gzip_members):
        data = _gunzip_member(name, file, data=data, unfolding=unfolding) or file.read(PACKED_CHUNK_BYTES)
        if not data:
            return unfolding.content()
    raise Unreadable(f"{name} has more than {limits.gzip_members} gzip members", file=name)


def _gunzip_member(name: str, file: BinaryIO, *, data: bytes, unfolding: "_Unfolding") -> bytes:
    """Decompress one member that begins with `data`; what was read beyond its end comes back."""
    decompressor = zlib.decompressobj(wbits=31)
    while not decompressor.eof:
        try:
            unfolded = decompressor.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            raise Unreadable(f"{name} is broken: its gzip data cannot be read", file=name) from error
        if not data and not unfolded:
            raise Unreadable(f"{name} is cut off: its gzip data ends early", file=name)
        unfolding.write(unfolded)
        if not decompressor.eof:
            data = decompressor.unconsumed_tail or file.read(PACKED_CHUNK_BYTES)
    return decompressor.unused_data


def _unzip(name: str, file: BinaryIO, *, size: int, limits: Limits) -> Iterator[tuple[str, bytes]]:
    _check_directory(name, file, size=size, limits=limits)
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(name, members, limits)
            unfolded = 0
            for member in members:
                unfolding = _Unfolding(f"{name}: {member.filename}", packed_bytes=size, limits=limits, before=unfolded)
                with archive.open(member) as stream:
                    while data := stream.read(CHUNK_BYTES):
                        unfolding.write(data)
                content = unfolding.content()
                unfolded += len(content)
                yield PurePosixPath(member.filename).name, content
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise Unreadable(f"{name} is broken: its zip data cannot be read", file=name) from error


def _check_directory(name: str, file: BinaryIO, *, size: int, limits: Limits) -> None:
    """Refuse a directory of millions of members before it is read into memory."""
    file.seek(max(0, size - END_OF_DIRECTORY.size - 0xFFFF))
    tail = file.read()
    at = tail.rfind(EMPTY_ZIP)
    if at < 0 or len(tail) - at < END_OF_DIRECTORY.size:
        raise Unreadable(f"{name} is cut off: the zip has no directory", file=name)
    directory_bytes = END_OF_DIRECTORY.unpack_from(tail, at)[5]
    if directory_bytes > limits.directory_bytes:
        raise Unreadable(f"{name} lists more than {limits.members} members", file=name)
    file.seek(0)


def _check_members(name: str, members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if not members:
        raise Unreadable(f"{name} is a zip without a file", file=name)
    if len(members) > limits.members:
        raise Unreadable(f"{name} lists more than {limits.members} members", file=name, members=len(members))
    for member in members:
        if not _safe_member_name(member.filename):
            raise Unreadable(f"{name} names a member outside its own folder", file=name, member=member.filename[:200])
        if stat.S_ISLNK(member.external_attr >> 16):
            raise Unreadable(f"{name} holds a link, not a file", file=name, member=member.filename[:200])
        if member.flag_bits & 1:
            raise Unreadable(f"{name} is encrypted", file=name, member=member.filename[:200])
    if len({PurePosixPath(member.filename).name for member in members}) < len(members):
        raise Unreadable(f"{name} holds two members of the same name", file=name)


def _safe_member_name(text: str) -> bool:
    path = PurePosixPath(text)
    return (
        text.isprintable()
        and "\\" not in text
        and not path.is_absolute()
        and not PureWindowsPath(text).drive
        and ".." not in path.parts
        and bool(path.name)
    )


class _Unfolding:
    """Decompressed bytes as they come, stopped at the bound rather than measured after it."""

    def __init__(self, name: str, *, packed_bytes: int, limits: Limits, before: int = 0) -> None:
        self._name = name
        self._limits = limits
        self._room = limits.content_bytes - before
        self._ratio_bound = max(packed_bytes * limits.ratio, RATIO_COUNTS_FROM_BYTES) - before
        self._buffer = io.BytesIO()

    def write(self, data: bytes) -> None:
        self._buffer.write(data)
        unfolded = self._buffer.tell()
        if unfolded > self._room:
            raise _too_large(self._name, self._limits)
        if unfolded > self._ratio_bound:
            raise Unreadable(
                f"{self._name} unfolds to more than {self._limits.ratio} times its size, as no dump does",
                file=self._name,
            )

    def content(self) -> bytes:
        return self._buffer.getvalue()


def _too_large(name: str, limits: Limits) -> Unreadable:
    return Unreadable(f"{name} is larger than {limits.content_bytes:,} bytes", file=name, limit=limits.content_bytes)


def _check_text(name: str, content: bytes, limits: Limits) -> None:
    if not content or content.isspace():
        raise Unreadable(f"{name} is empty", file=name)
    if content.startswith((GZIP, ZIP)):
        raise Unreadable(f"{name} is an archive inside an archive", file=name)
    for magic, title in OTHER_FORMATS.items():
        if content.startswith(magic):
            raise Unreadable(f"{name} is {title} data; plain text, gzip and zip are read", file=name)
    if content[:64].lstrip()[:1] not in (b"[", b"{"):  # a JSON dump is one long line
        _check_lines(name, content, limits)


def _check_lines(name: str, content: bytes, limits: Limits) -> None:
    """Find a line over the bound by jumping from one line's end to the last one within reach."""
    start = 0
    while len(content) - start > limits.line_bytes:
        end = content.rfind(b"\n", start, start + limits.line_bytes + 1)
        if end < 0:
            raise Unreadable(f"{name} has a line of more than {limits.line_bytes:,} bytes", file=name, offset=start)
        start = end + 1
