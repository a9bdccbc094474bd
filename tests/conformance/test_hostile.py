"""Hostile inputs at the real door: each is refused or kept out with a clear reason, and nothing changes."""

import asyncio
import gzip
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

import hostile
from catalogues import NOW, Catalogue, Load, catalogue, digest, fill, shared
from hostile import HEADER, PAGE, TODAY, Make, file, good, in_folder, lines, named, option, zipped
from instrument_registry.catalog.brokers.frame import Dump, Unreadable
from instrument_registry.catalog.ingestion import intake
from instrument_registry.catalog.ingestion.addresses import FetchRefused
from instrument_registry.catalog.ingestion.fetch import FetchFailed
from instrument_registry.catalog.ingestion.model import Outcome, RunStatus
from instrument_registry.database import Database
from instrument_registry.errors import Invalid, NotFound
from keeper import Template

YESTERDAY = Load(
    broker="zerodha", day=date(2026, 8, 17), dumps=(Dump(name="kite_2026-08-17.csv", content=good()),)
)  # fmt: skip
LOOPBACK = (ip_network("127.0.0.0/8"),)
MEBIBYTE = 1024 * 1024
MOST_RESIDENT = 640 * MEBIBYTE  # the interpreter with its libraries, one dump at the bound and what is made of it
SAMPLES = Path(__file__).parents[1] / "samples"

Door = Callable[..., Awaitable[Outcome]]

# What cannot even be opened: the caller is told, and there is nothing to keep.
REFUSED: dict[str, tuple[Make, type[Exception], str]] = {
    "an empty file": (file(b""), Unreadable, "is empty"),
    "blank lines only": (file(b"\r\n \n\n"), Unreadable, "is empty"),
    "a gzip of nothing": (file(gzip.compress(b"")), Unreadable, "is empty"),
    "half of a gzip": (file(lambda: gzip.compress(good())[:-900]), Unreadable, "cut off"),
    "a gzip with a wrong checksum": (file(lambda: gzip.compress(good())[:-8] + bytes(8)), Unreadable, "broken"),
    "a gzip inside a gzip": (file(lambda: gzip.compress(gzip.compress(good()))), Unreadable, "inside an archive"),
    "a gzip bomb": (file(hostile.gzip_bomb), Unreadable, "times its size"),
    "a path traversal in a zip": (
        file(lambda: zipped((f"../../{TODAY}", good()))), Unreadable, "outside its own folder",
    ),
    "a link in a zip": (file(hostile.zipped_link), Unreadable, "a link"),
    "an encrypted zip": (file(hostile.encrypted_zip), Unreadable, "encrypted"),
    "a zip that lies about its size": (file(hostile.zip_that_lies), Unreadable, "broken"),
    "a zip of a thousand files": (
        file(lambda: zipped(*((f"{number}.csv", HEADER) for number in range(1_000)))), Unreadable, "more than 64 members",
    ),
    "an xz file": (file(b"\xfd7zXZ\x00\x00\x04"), Unreadable, "xz data"),
    "a line of two gigabytes": (hostile.endless_line, Unreadable, "larger than 268,435,456 bytes"),
    "a line of two gigabytes in a gzip": (file(hostile.gzipped_endless_line), Unreadable, "larger than"),
    "a line of seventeen megabytes": (file(hostile.long_line), Unreadable, "line of more than"),
    "a folder": (in_folder(""), Unreadable, "is not a file"),
    "a pipe": (hostile.pipe, Unreadable, "is not a file"),
    "a link to a device": (hostile.link_to_a_device, Unreadable, "is not a file"),
    "a file that is not there": (in_folder("nothing.csv"), NotFound, "no file nothing.csv"),
    "a name with two dates": (file(good(), "kite_2026-08-17_2026-08-18.csv"), Invalid, "names 2 dates"),
    "a dump of tomorrow": (file(good(), "kite_2026-11-23.csv"), Invalid, "lies in the future"),
    "a file: URL": (named("file:///etc/passwd"), FetchRefused, "Only http and https"),
    "an ftp: URL": (named("ftp://example.org/kite.csv"), FetchRefused, "Only http and https"),
    "a URL with a password": (named("https://me:secret@example.org/kite.csv"), FetchRefused, "user or password"),
    "a cloud's metadata service": (named("http://169.254.169.254/latest"), FetchRefused, "public internet"),
    "an address in disguise": (named("http://0x7f000001/kite.csv"), FetchRefused, "disguised"),
}  # fmt: skip

# What can be opened and must not be applied: the dump is kept with its reason, for an operator to look at.
KEPT_OUT: dict[str, tuple[Make, str, str]] = {
    "a header only": (file(HEADER), "unreadable", "a header and no rows"),
    "half of a file": (file(good()[: len(good()) // 2]), "unreadable", "cut off: its last line has no end"),
    "half of the lines": (
        file(b"".join([*lines()[: hostile.OPTIONS // 2], *lines()[-hostile.OTHERS :]])), "shrunk", "unexpired rows of NFO are gone",
    ),
    "a page of HTML": (file(PAGE), "unreadable", "a web page or XML"),
    "an error in JSON": (file(b'{"status": "error", "message": "Invalid token"}\n'), "unreadable", "header lacks"),
    "random bytes": (file(random.Random(1).randbytes(100_000)), "unreadable", "binary|UTF-8"),
    "a zero byte": (file(good().replace(b"NIFTY", b"NI\0TY", 1)), "unreadable", "binary, not text"),
    "UTF-16": (file(good().decode().encode("utf-16")), "unreadable", "binary, not text"),
    "Latin-1": (file(good().replace(b"SENSEX", b"SENS\xc9X")), "unreadable", "not UTF-8 at byte"),
    "semicolons instead of commas": (file(good().replace(b",", b";")), "unreadable", "header lacks"),
    "another broker's file": (
        file((SAMPLES / "nuvama" / "nuvama_instruments.csv").read_bytes()), "unreadable", "header lacks",
    ),
    "a column renamed": (file(good().replace(b"strike,", b"strike_price,", 1)), "unreadable", "header lacks strike"),
    "a column too few in every row": (
        file(HEADER + b"".join(line.replace(b",0.05", b"") for line in lines()[1:])), "unreadable", "rows have 11 fields",
    ),
    "a segment missing": (file(b"".join(lines()[: -hostile.OTHERS])), "segment_missing", r"segment\(s\) BFO are missing"),
    "a token with two contracts": (
        file(good() + option(3, strike="77777")), "conflicting_duplicates", "NFO 1000768: NFO:NIFTY;2026-08-27;10150;C, NFO:NIFTY;2026-08-27;77777;C",
    ),
    "strikes that are no numbers": (file(good(strike="NaN")), "rows_unreadable", "600 of 620 rows cannot be read"),
    "expiries in the year 9999": (file(good(expiry="9999-12-31")), "rows_unreadable", "600 of 620 rows"),
    "rows of last month": (
        file(good() + b"".join(option(2_000 + n, expiry="2026-07-30") for n in range(6))), "stale", "NFO brings back 6 contracts",
    ),
    "a dump of the day before": (file(good(lot_size="50"), "kite_2026-08-14.csv"), "older", "2026-08-14 is older than"),
    "twelve million lines": (file(hostile.short_lines), "unreadable", "more than 5,000,000 lines"),
    "fifty thousand columns": (file(hostile.broad_lines), "unreadable", "no dump has over 1000"),
    "a spreadsheet": (
        file(lambda: zipped(("[Content_Types].xml", b"<?xml version='1.0'?><Types/>"))), "unreadable", "a web page or XML",
    ),
}  # fmt: skip

# JSON for a broker that publishes JSON.
KEPT_OUT_OF_UPSTOX: dict[str, tuple[Make, str, str]] = {
    "JSON nested without end": (file(hostile.deep_json, "complete.json"), "unreadable", "not a whole JSON array"),
    "twelve million numbers": (file(hostile.many_values, "complete.json"), "unreadable", "over 10,000,000 commas"),
    "half of an array": (file(b'[{"segment":"NSE_EQ","instr', "complete.json"), "unreadable", "not a whole JSON array"),
    "an array of numbers": (file(b"[1, 2, 3]", "complete.json"), "unreadable", "its elements are not instruments"),
    "half a character in JSON": (
        file(b'[{"segment": "NSE_EQ\\ud800"}]', "complete.json"),
        "unreadable",
        "not a whole JSON array",
    ),
    "NaN in JSON": (file(b'[{"strike_price": NaN}]', "complete.json"), "unreadable", "not a whole JSON array"),
}

# Those that would fill the memory of whoever believed them; judged in a process of its own.
HEAVY = {
    **{name: (REFUSED[name][0], 2) for name in (
        "a gzip bomb", "a line of two gigabytes", "a line of two gigabytes in a gzip", "a line of seventeen megabytes",
    )},
    **{name: (KEPT_OUT[name][0], 3) for name in ("twelve million lines", "fifty thousand columns")},
    **{name: (KEPT_OUT_OF_UPSTOX[name][0], 3) for name in ("JSON nested without end", "twelve million numbers")},
}  # fmt: skip
LIGHT = [name for name in REFUSED if name not in HEAVY]

# A server's answers, and what they end in.
ANSWERS: dict[str, tuple[web.Response, type[Exception], str]] = {
    "a page of HTML": (web.Response(body=PAGE, content_type="text/html"), FetchRefused, "sent text/html"),
    "a page of HTML called csv": (web.Response(body=PAGE, content_type="text/csv"), FetchRefused, "a web page"),
    "an error": (web.Response(status=403), FetchFailed, "answered 403"),
    "a way to a file": (web.Response(status=302, headers={"Location": "file:///etc/passwd"}), FetchRefused, "Only http"),
    "a way inside": (web.Response(status=302, headers={"Location": "http://10.0.0.1/"}), FetchRefused, "public internet"),
    "a foreign packing": (web.Response(body=good(), headers={"Content-Encoding": "br"}), FetchRefused, "packs its answer"),
    "a bomb": (web.Response(body=gzip.compress(bytes(8 * MEBIBYTE)), headers={"Content-Encoding": "gzip"}), Unreadable, "times its size"),
}  # fmt: skip

# A row among good ones that cannot be believed: what replaces its values, the field it is told of, and why.
ROWS: dict[str, tuple[dict[str, str], str, str]] = {
    "a strike that is no number": ({"strike": "NaN"}, "strike", "number above zero"),
    "an infinite strike": ({"strike": "inf"}, "strike", "number above zero"),
    "a strike of 400 digits": ({"strike": "1e400"}, "strike", "number above zero"),
    "a strike of 40 digits": ({"strike": "9" * 40}, "strike", "number above zero"),
    "a negative strike": ({"strike": "-24500"}, "strike", "number above zero"),
    "a strike in another script": ({"strike": "٢٤٥٠٠"}, "strike", "number above zero"),
    "an expiry in the year 9999": ({"expiry": "9999-12-31"}, "expiry", "a day of this age"),
    "an expiry in the year 0": ({"expiry": "0000-00-00"}, "expiry", "a day of this age"),
    "the thirtieth of February": ({"expiry": "2027-02-30"}, "expiry", "a day of this age"),
    "a lot below zero": ({"lot_size": "-75"}, "lot_size", "not below zero"),
    "a lot beyond 64 bits": ({"lot_size": "9223372036854775808"}, "lot_size", "not below zero"),
    "half a lot": ({"lot_size": "37.5"}, "lot_size", "not below zero"),
    "a tick below zero": ({"tick_size": "-0.05"}, "tick_size", "not below zero"),
    "no token": ({"instrument_token": ""}, "token", "no token"),
    "a token of five thousand digits": ({"instrument_token": "7" * 5_000}, "token", "more than 100 characters"),
    "a name of five thousand letters": ({"name": "N" * 5_000}, "root", "more than 100 characters"),
    "a bell in the symbol": ({"tradingsymbol": "NIFTY\x07CE"}, "symbol", "cannot be printed"),
    "letters that turn the line around": ({"tradingsymbol": "NIFTY\u202eEC"}, "symbol", "cannot be printed"),
    "an unknown exchange": ({"exchange": "'; drop table instruments; --"}, "segment", "not known"),
    "a quote that is not closed": ({"name": '"NIFTY'}, "line", "not closed"),
    "a field too many": ({"name": "NIFTY,50"}, "line", "13 fields instead of 12"),
    "the header again": (dict(zip(HEADER.decode().strip().split(","), HEADER.decode().strip().split(","), strict=True)), "segment", "not known"),
}  # fmt: skip


def state(one: Catalogue) -> dict[str, str]:
    """All that readers of the catalogue see; a dump that was kept out leaves a fact, the rows to look at, and no more."""
    facts = one.one("select md5(string_agg(data, '' order by number)) from events where type like 'instrument.%%'")
    seen = digest(one.owner_url)
    return {name: part for name, part in seen.items() if name not in ("events", "aside")} | {"facts": facts[0]}


@pytest.fixture(scope="session")
def untouched(templates: dict[str, Template]) -> Catalogue:
    """A catalogue with one good dump, which every test here must leave as it is."""

    async def build(service_url: str) -> None:
        (outcome,) = await fill(service_url, [YESTERDAY])
        assert (outcome.status, outcome.set_aside) == (RunStatus.APPLIED, 0), outcome

    return shared(templates["embedded"], "hostile", lambda service_url: asyncio.run(build(service_url)))


@pytest_asyncio.fixture
async def door(untouched: Catalogue) -> AsyncIterator[Door]:
    database = await Database(untouched.service_url, application="test", pool_size=2).open()

    async def take_in(*sources: str, broker: str = "zerodha") -> Outcome:
        asked = intake.Asked(broker=broker, sources=sources, actor="tests", correlation_id="c-1")
        return await intake.take_in(database, asked, clock=lambda: NOW, allowed=LOOPBACK)

    yield take_in
    await database.close()


class TestHostile:
    def test_forty_inputs_and_more_are_judged(self) -> None:
        assert len(REFUSED) + len(KEPT_OUT) + len(KEPT_OUT_OF_UPSTOX) >= 40

    @pytest.mark.parametrize("name", LIGHT)
    async def test_what_cannot_be_opened_is_refused(
        self, untouched: Catalogue, door: Door, tmp_path: Path, name: str
    ) -> None:
        make, kind, reason = REFUSED[name]
        source = make(tmp_path)
        before = state(untouched)

        with pytest.raises(kind, match=reason):
            await door(source)

        assert state(untouched) == before

    @pytest.mark.parametrize("name", [name for name in (*KEPT_OUT, *KEPT_OUT_OF_UPSTOX) if name not in HEAVY])
    async def test_what_would_do_damage_is_kept_out_with_its_reason(
        self, untouched: Catalogue, door: Door, tmp_path: Path, name: str
    ) -> None:
        make, gate, reason = (KEPT_OUT | KEPT_OUT_OF_UPSTOX)[name]
        source = make(tmp_path)
        before = state(untouched)

        outcome = await door(source, broker="upstox" if name in KEPT_OUT_OF_UPSTOX else "zerodha")

        assert outcome.status in (RunStatus.QUARANTINED, RunStatus.REFUSED)
        (told,) = outcome.reasons
        assert (told.gate, bool(re.search(reason, told.detail))) == (gate, True), told.detail
        if gate == "unreadable":
            assert told.detail.count(told.facts["file"]) == 1, told.detail
        assert untouched.one("select count(*) from ingestion_files where ingestion_id = %s", outcome.id) == (1,)
        assert state(untouched) == before

    @pytest.mark.parametrize("name", ANSWERS)
    async def test_what_a_server_sends_instead_of_a_dump_is_refused(
        self, untouched: Catalogue, door: Door, name: str
    ) -> None:
        answer, kind, reason = ANSWERS[name]
        application = web.Application()
        application.router.add_get("/" + TODAY, lambda request: asyncio.sleep(0, answer))
        before = state(untouched)

        async with TestServer(application, host="127.0.0.1") as server:
            with pytest.raises(kind, match=reason):
                await door(f"http://127.0.0.1:{server.port}/{TODAY}")

        assert state(untouched) == before

    @pytest.mark.parametrize("name", HEAVY)
    def test_what_would_fill_the_memory_is_refused_by_a_small_process_in_one_sentence(
        self, untouched: Catalogue, tmp_path: Path, name: str
    ) -> None:
        make, code = HEAVY[name]
        broker = "upstox" if name in KEPT_OUT_OF_UPSTOX else "zerodha"
        before = state(untouched)

        ended, out, err, resident = ingest(untouched, tmp_path, broker, make(tmp_path))

        assert ended == code, (out, err)
        assert (len(err.strip().splitlines()), len(out.strip().splitlines())) == ((1, 0) if code == 2 else (0, 2))
        assert resident < MOST_RESIDENT
        assert state(untouched) == before


class TestHostileRows:
    def test_each_is_set_aside_with_its_line_field_value_and_reason(self, templates: dict[str, Template]) -> None:
        believed = [option(number) for number in range(2_000)]
        hostile_rows = [option(3_000 + number, **changed) for number, (changed, _, _) in enumerate(ROWS.values())]
        dump = Dump(name=TODAY, content=b"".join([HEADER, *believed[:300], *hostile_rows, *believed[300:]]))

        with catalogue(templates["embedded"], Load(broker="zerodha", day=date(2026, 8, 18), dumps=(dump,))) as made:
            aside = made.rows("select line, field, value, reason, dropped from rows_set_aside order by line")
            listed = made.one("select count(*) from instruments")

        (outcome,) = made.outcomes
        assert (outcome.status, listed) == (RunStatus.APPLIED, (2_000,))
        assert [line for line, *_ in aside] == [302 + place for place in range(len(ROWS))]
        for (line, field, value, reason, dropped), (name, (_, on, why)) in zip(aside, ROWS.items(), strict=True):
            assert (field, why in reason, dropped) == (on, True, True), (line, name, reason)
            assert value is None or (value.isprintable() and len(value) <= 200), name

    def test_what_json_can_hide_is_set_aside_too(self, templates: dict[str, Template]) -> None:
        row = (
            '{"segment":"NSE_EQ","instrument_key":"NSE_EQ|%s","trading_symbol":"%s","instrument_type":"%s","name":"%s"}'
        )
        believed = [row % (f"K{number}", f"TEA{number}", "EQ", "Tea") for number in range(1_000)]
        hostile_rows = [
            row % ("Z1\\u0000", "ZERO", "EQ", "A zero byte in the token"),
            row % ("Z2", "ZERO\\u0000", "EQ", "A zero byte in the symbol"),
            row % ("Z3", "NAME", "EQ", "A zero byte \\u0000"),
            row % ("Z5", "SERIES", "E;Q:1", "A series that would break the key"),
            row % ("Z6" * 2_000, "LONG", "EQ", "A token longer than an index entry"),
            row % ("Z7", "乐" * 3_000, "EQ", "A name longer than an index entry"),
            '{"segment":"NSE_EQ","instrument_key":7,"trading_symbol":[],"instrument_type":"EQ"}',
        ]
        dump = Dump(name="complete.json", content=f"[{','.join(believed + hostile_rows)}]".encode())

        with catalogue(templates["embedded"], Load(broker="upstox", day=date(2026, 8, 18), dumps=(dump,))) as made:
            aside = made.rows("select line, field from rows_set_aside where dropped order by line")
            listed = made.one("select count(*) from instruments")

        assert (made.outcomes[0].status, listed) == (RunStatus.APPLIED, (1_000,))
        assert aside == [
            (1_001 + place, field)
            for place, field in enumerate(["token", "root", "name", "series", "token", "root", "element"])
        ]


def ingest(one: Catalogue, folder: Path, *arguments: str) -> tuple[int, str, str, int]:
    """`instrument-registry ingest` in a process of its own: exit code, what it said, and its largest resident size."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INSTRUMENT_REGIS")} | {
        "INSTRUMENT_REGISTRY_DATA_DIR": str(folder / "data"),
        "INSTRUMENT_REGISTRY_DATABASE_URL": one.service_url,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "COLUMNS": "500",
    }
    with (folder / "out").open("w+b") as out, (folder / "err").open("w+b") as err:
        command = [sys.executable, "-m", "instrument_registry", "ingest", *arguments]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        resident = 0  # watched: what a parent that is large leaves in its child's resource usage is not the child's
        while process.poll() is None:
            resident = max(resident, largest_resident(process.pid))
            time.sleep(0.01)
    return process.returncode, (folder / "out").read_text(), (folder / "err").read_text(), resident


def largest_resident(pid: int) -> int:
    """The most bytes a process ever held; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)
