"""Dumps on a disk: what is read, and what is refused before it can do harm."""

import gzip
import hashlib
import io
import os
import random
import stat
import struct
import tracemalloc
import zipfile
import zlib
from datetime import date
from pathlib import Path

import pytest

from instrument_registry.catalog.brokers.frame import Unreadable
from instrument_registry.catalog.ingestion.file_names import DateAmbiguous, date_in_name, feed_of
from instrument_registry.catalog.ingestion.files import Limits, open_dumps
from instrument_registry.errors import NotFound

TEXT = b"token,symbol\n738561,RELIANCE\n"
SMALL = Limits(content_bytes=2_000_000, line_bytes=1_000, ratio=100)


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def with_flag(archive: bytes, flag: int) -> bytes:
    """The same zip whose member claims a general purpose flag."""
    local, central = archive.find(b"PK\x03\x04") + 6, archive.find(b"PK\x01\x02") + 8
    changed = bytearray(archive)
    changed[local] |= flag
    changed[central] |= flag
    return bytes(changed)


class TestReading:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("kite_2026-08-17_NFO.csv", TEXT),
            ("kite_2026-08-17_NFO.csv.gz", gzip.compress(TEXT)),
            ("kite_2026-08-17_NFO.csv", gzip.compress(TEXT)),  # the bytes decide, not the suffix
            ("kite_2026-08-17_NFO.csv.gz", TEXT),
            ("kite_2026-08-17_NFO.csv.gz", gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:])),
            ("kite_2026-08-17_NFO.csv.zip", zipped(("some/folder/kite_2026-08-17_NFO.csv", TEXT))),
        ],
        ids=["plain", "gzip", "gzip named plain", "plain named gzip", "two gzip members", "zip"],
    )
    def test_one_dump_has_the_same_content_however_it_is_packed(
        self, tmp_path: Path, name: str, content: bytes
    ) -> None:
        path = written(tmp_path, name, content)

        opened = open_dumps(path)

        assert [(item.dump.content, item.sha256, item.path) for item in opened] == [
            (TEXT, hashlib.sha256(TEXT).hexdigest(), path)
        ]
        assert opened[0].dump.name == name.removesuffix(".gz").removesuffix(".zip")

    def test_every_member_of_a_zip_is_a_dump(self, tmp_path: Path) -> None:
        path = written(tmp_path, "all.zip", zipped(("NSE_symbols.txt", TEXT), ("d/", b""), ("d/NFO_symbols.txt", TEXT)))

        assert [item.dump.name for item in open_dumps(path)] == ["NSE_symbols.txt", "NFO_symbols.txt"]

    def test_a_json_array_may_be_one_long_line(self, tmp_path: Path) -> None:
        content = b"[" + b",".join([b"1"] * 5_000) + b"]"

        assert open_dumps(written(tmp_path, "upstox.json", content), limits=SMALL)[0].dump.content == content

    def test_content_larger_than_a_chunk_arrives_whole(self, tmp_path: Path) -> None:
        content = random.Random(7).randbytes(700_000).hex().encode()
        content = b"\n".join(content[at : at + 900] for at in range(0, len(content), 900)) + b"\n"

        assert (
            open_dumps(written(tmp_path, "a.csv.gz", gzip.compress(content)), limits=SMALL)[0].dump.content == content
        )

    def test_lines_at_the_bound_pass_and_one_byte_more_does_not(self, tmp_path: Path) -> None:
        fits = b"\n".join([b"x" * 1_000] * 20)

        assert open_dumps(written(tmp_path, "a.csv", fits), limits=SMALL)
        with pytest.raises(Unreadable, match="line of more than"):
            open_dumps(written(tmp_path, "b.csv", fits + b"\n" + b"y" * 1_001), limits=SMALL)
        with pytest.raises(Unreadable, match="line of more than"):
            open_dumps(written(tmp_path, "c.csv", b"y" * 1_001 + b"\n" + fits), limits=SMALL)


HOSTILE = [
    (b"", "is empty"),
    (b" \r\n\n", "is empty"),
    (gzip.compress(b""), "is empty"),
    (gzip.compress(TEXT)[:-9], "cut off"),
    (gzip.compress(TEXT)[:-4], "cut off"),
    (gzip.compress(TEXT)[:10] + b"\xff" * 20, "broken"),
    (gzip.compress(TEXT) + b"trailing", "broken"),
    (gzip.compress(TEXT)[:-8] + b"\0" * 8, "broken"),  # wrong checksum
    (b"\x1f\x8b", "cut off"),
    (gzip.compress(gzip.compress(TEXT)), "archive inside an archive"),
    (zipped(("a.csv.gz", gzip.compress(TEXT))), "archive inside an archive"),
    (zipped(("a.zip", zipped(("a.csv", TEXT)))), "archive inside an archive"),
    (zipped(), "zip without a member"),
    (zipped(("folder/", b"")), "zip without a file"),
    (zipped(("../../etc/cron.d/job", TEXT)), "outside its own folder"),
    (zipped(("a/../../b.csv", TEXT)), "outside its own folder"),
    (zipped(("/etc/passwd", TEXT)), "outside its own folder"),
    (zipped(("C:/windows/a.csv", TEXT)), "outside its own folder"),
    (zipped(("..\\..\\a.csv", TEXT)), "outside its own folder"),
    (zipped(("a\nb.csv", TEXT)), "outside its own folder"),
    (zipped(("a/x.csv", TEXT), ("b/x.csv", TEXT)), "two members of the same name"),
    (zipped(*((f"{number}.csv", TEXT) for number in range(65))), "more than 64 members"),
    (with_flag(zipped(("a.csv", TEXT)), 1), "encrypted"),
    (zipped(("a.csv", TEXT * 9))[:-30], "cut off"),
    (zipped(("a.csv", TEXT * 9)).replace(b"PK\x01\x02", b"PK\x01\x00"), "broken"),
    (b"\x28\xb5\x2f\xfd" + TEXT, "zstandard"),
    (b"BZh91AY&SY", "bzip2"),
    (b"\xfd7zXZ\x00\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"PAR1" + TEXT, "Parquet"),
    (b"%PDF-1.7", "PDF"),
    (b"\xd0\xcf\x11\xe0", "old Excel"),
    (b"x" * 1_001, "line of more than"),
    (b"x,y\n" * 600_000, "larger than"),
    (gzip.compress(b"x,y\n" * 600_000), "larger than"),
    (zipped(("a.csv", b"x,y\n" * 600_000)), "larger than"),
    (zipped(*((f"{number}.csv", b"x,y\n" * 100_000) for number in range(6))), "larger than"),
]


class TestRefusing:
    @pytest.mark.parametrize(("content", "reason"), HOSTILE, ids=map(str, range(len(HOSTILE))))
    def test_what_is_no_dump_is_refused_with_its_reason(self, tmp_path: Path, content: bytes, reason: str) -> None:
        with pytest.raises(Unreadable, match=reason):
            open_dumps(written(tmp_path, "dump.csv", content), limits=SMALL)

    def test_a_gzip_bomb_stops_at_the_bound_in_little_memory(self, tmp_path: Path) -> None:
        squeeze = zlib.compressobj(9, wbits=31)
        packed = b"".join(squeeze.compress(bytes(1_000_000)) for _ in range(400)) + squeeze.flush()
        path = written(tmp_path, "bomb.csv.gz", packed)

        tracemalloc.start()
        with pytest.raises(Unreadable, match="times its size"):
            open_dumps(path, limits=Limits(ratio=100))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert len(packed) * 900 < 400_000_000
        assert peak < 120_000_000

    def test_a_zip_that_lies_about_its_size_is_not_believed(self, tmp_path: Path) -> None:
        archive = bytearray(zipped(("a.csv", b"x,y\n" * 600_000)))
        for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            struct.pack_into("<L", archive, archive.find(signature) + at, 10)

        with pytest.raises(Unreadable):
            open_dumps(written(tmp_path, "liar.zip", bytes(archive)), limits=SMALL)

    def test_a_directory_of_many_members_is_refused_unread(self, tmp_path: Path) -> None:
        archive = zipped(*((f"{number:05}.csv", b"") for number in range(2_000)))

        with pytest.raises(Unreadable, match="more than 64 members"):
            open_dumps(written(tmp_path, "many.zip", archive), limits=Limits(directory_bytes=10_000))

    def test_very_many_gzip_members_are_refused(self, tmp_path: Path) -> None:
        packed = gzip.compress(b"a\n") * 200

        with pytest.raises(Unreadable, match="gzip members"):
            open_dumps(written(tmp_path, "many.gz", packed), limits=Limits(gzip_members=100))

    def test_a_link_inside_a_zip_is_refused(self, tmp_path: Path) -> None:
        link = zipfile.ZipInfo("a.csv")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16

        with pytest.raises(Unreadable, match="a link"):
            open_dumps(written(tmp_path, "link.zip", zipped((link, b"/etc/passwd"))))

    def test_a_folder_or_a_pipe_is_not_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")

        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(Unreadable, match="not a file"):
                open_dumps(path)

    def test_a_file_that_is_not_there_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            open_dumps(tmp_path / "nothing.csv")


class TestNames:
    @pytest.mark.parametrize(
        ("name", "day"),
        [
            ("kite_2026-08-17_NFO.csv.gz", "2026-08-17"),
            ("kite_20260817_NFO.csv", "2026-08-17"),
            ("kite_2026_08_17.csv", "2026-08-17"),
            ("kite.2026.08.17.csv", "2026-08-17"),
            ("2026-08-17T0830_upstox.json", "2026-08-17"),
            ("dump-20260817T083000Z.json", "2026-08-17"),
            ("NSE_17-08-2026.txt", "2026-08-17"),
            ("NSE_17082026.txt", "2026-08-17"),
            ("cm17AUG2026bhav.csv", "2026-08-17"),
            ("fo_17-Aug-2026.csv", "2026-08-17"),
            ("fo_17 August 2026.csv", "2026-08-17"),
            ("kite_2026-08-17_again_20260817.csv", "2026-08-17"),
            ("kite_NFO.csv", None),
            ("iso10383_2024-10.csv.gz", None),
            ("kite_2026-02-30.csv", None),
            ("token_1202608171.csv", None),
            ("738561.csv", None),
        ],
    )
    def test_a_date_is_found_in_every_common_form(self, name: str, day: str | None) -> None:
        assert date_in_name(name) == (date.fromisoformat(day) if day else None)

    def test_two_dates_are_not_chosen_between(self) -> None:
        with pytest.raises(DateAmbiguous):
            date_in_name("diff_2026-08-17_2026-08-18.csv")

    @pytest.mark.parametrize(
        ("name", "feed"),
        [
            ("kite_2026-08-17_NFO.csv.gz", "kite_*_NFO.csv"),
            ("kite_20260817_NFO.csv", "kite_*_NFO.csv"),
            ("kite_2026-08-17_NFO (1).csv", "kite_*_NFO.csv"),
            ("upstox_2026-08-18_complete.json.gz", "upstox_*_complete.json"),
            ("shoonya_2026-08-18_BFO.txt.zip", "shoonya_*_BFO.txt"),
            ("NSE_symbols.txt.zip", "NSE_symbols.txt"),
            ("dhan_2026-04_detailed_part.csv.gz", "dhan_*_detailed_part.csv"),
            ("iso10383_2024-10.csv", "iso10383_*.csv"),
            ("cm17AUG2026bhav.csv", "cm*bhav.csv"),
            ("dump-20260817T083000Z.json", "dump-*.json"),
            ("instruments", "instruments"),
            ("kite_2026-08-17_2026-08-18.csv", "kite_*_*.csv"),
        ],
    )
    def test_a_feed_keeps_its_name_from_day_to_day(self, name: str, feed: str) -> None:
        assert feed_of(name) == feed
