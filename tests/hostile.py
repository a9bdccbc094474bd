"""Inputs that mean harm or were never dumps: each written into a folder by a function of its own."""

import gzip
import io
import os
import random
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

HEADER = (
    b"instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    b"instrument_type,segment,exchange\n"
)
OPTIONS, OTHERS = 600, 20
TODAY = "kite_2026-08-18.csv"
PAGE = b"<!DOCTYPE html>\n<html><head><title>503</title></head><body>Back soon</body></html>\n"
MEBIBYTE = 1024 * 1024

Make = Callable[[Path], str]


def option(number: int, *, root: str = "NIFTY", venue: str = "NFO", **changed: str) -> bytes:
    """A line of Kite's; the arguments replace what it says of one column."""
    strike = 10_000 + 50 * number
    first = 1_000_000 if venue == "NFO" else 9_000_000
    said = {
        "instrument_token": str(first + 256 * number), "exchange_token": str(first // 256 + number),
        "tradingsymbol": f"{root}26AUG{strike}CE", "name": root, "last_price": "0", "expiry": "2026-08-27",
        "strike": str(strike), "tick_size": "0.05", "lot_size": "75", "instrument_type": "CE",
        "segment": f"{venue}-OPT", "exchange": venue,
    } | changed  # fmt: skip
    return ",".join(said.values()).encode() + b"\n"


def lines(**changed: str) -> list[bytes]:
    """The good dump, line by line; the arguments change every option of NFO."""
    here = [option(number, **changed) for number in range(OPTIONS)]
    return [HEADER, *here, *(option(number, root="SENSEX", venue="BFO") for number in range(OTHERS))]


def good(**changed: str) -> bytes:
    return b"".join(lines(**changed))


def file(content: bytes | Callable[[], bytes], name: str = TODAY) -> Make:
    """A file of this content."""

    def make(folder: Path) -> str:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content())
        return str(path)

    return make


def named(source: str) -> Make:
    """Nothing is written: the source itself is what is hostile."""
    return lambda folder: source


def in_folder(name: str) -> Make:
    return lambda folder: str(folder / name)


def pipe(folder: Path) -> str:
    os.mkfifo(folder / TODAY)
    return str(folder / TODAY)


def link_to_a_device(folder: Path) -> str:
    (folder / TODAY).symlink_to("/dev/zero")
    return str(folder / TODAY)


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def zipped_link() -> bytes:
    link = zipfile.ZipInfo(TODAY)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped((link, b"/etc/passwd"))


def encrypted_zip() -> bytes:
    changed = bytearray(zipped((TODAY, good())))
    changed[changed.find(b"PK\x03\x04") + 6] |= 1
    changed[changed.find(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def zip_that_lies() -> bytes:
    """A zip whose directory says that its member is ten bytes long."""
    archive = bytearray(zipped((TODAY, good())))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = archive.find(signature) + at
        archive[place : place + 4] = (10).to_bytes(4, "little")
    return bytes(archive)


def gzip_bomb() -> bytes:
    """Ten gibibytes of nothing in ten megabytes, as one member."""
    squeeze = zlib.compressobj(9, wbits=31)
    start = squeeze.compress(bytes(8 * MEBIBYTE)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    again = squeeze.compress(bytes(8 * MEBIBYTE)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return start + again * 1_279


def gzipped_endless_line() -> bytes:
    """A line of two gibibytes as 64 members that each shrink too little to be called a bomb."""
    member = gzip.compress(random.Random(3).randbytes(150_000).hex().encode() + b"x" * (32 * MEBIBYTE - 300_000))
    return gzip.compress(HEADER) + member * 64


def endless_line(folder: Path) -> str:
    """A line of two gibibytes, of which the disk holds a kilobyte."""
    path = folder / TODAY
    with path.open("wb") as out:
        out.write(HEADER + b"1")
        out.truncate(2 * 1024 * MEBIBYTE)
    return str(path)


def long_line() -> bytes:
    return good() + b"x" * (17 * MEBIBYTE) + b"\n"


def short_lines() -> bytes:
    """Twelve million lines: a file of 25 MB whose table of lines would not fit into memory."""
    return good() + b"1\n" * 12_000_000


def broad_lines() -> bytes:
    """More columns than any table has."""
    return b"".join(line[:-1] + b",x" * 50_000 + b"\n" for line in lines()[:6])


def deep_json() -> bytes:
    return b'[{"segment":' + b"[" * 100_000


def many_values() -> bytes:
    return b"[" + b"0," * 12_000_000 + b"0]"
