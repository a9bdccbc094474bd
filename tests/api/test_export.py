"""The catalogue as one file, through the whole door."""

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
import pytest_asyncio
from pyarrow import parquet

from desk import TEA, Caller, Desk, opened
from instrument_registry.catalog import exporting
from instrument_registry.database import Database
from instrument_registry.http import streaming
from instrument_registry.http.shapes import Instrument

pytestmark = pytest.mark.tea

FUTURE = "NFO:NIFTY;F;2026-08-25"


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def caller(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


async def exported(caller: Caller, **parameters: object) -> bytes:
    answer = await caller.http.get("/export", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.content


async def lines(caller: Caller, **parameters: object) -> list[dict]:
    return [msgspec.json.decode(line) for line in (await exported(caller, format="jsonl", **parameters)).splitlines()]


async def override(caller: Caller) -> None:
    wanted = {"field": "lot_size", "value": 75, "reason": "The circular says 75", "valid_to": "2026-08-22"}
    made = await caller.http.post(f"/instruments/{FUTURE}/overrides", json=wanted)
    assert made.status_code == 201, made.text
    await caller.caught_up()


class TestJsonLines:
    async def test_every_line_is_the_instrument_as_answers_show_it(self, caller: Caller) -> None:
        await override(caller)

        told = await lines(caller)
        listed = (await caller.told("/instruments", limit=100, include_test=True))["instruments"]

        def by_key(instruments: list[dict]) -> list[Instrument]:
            shown = [msgspec.convert(one | {"why": None}, Instrument) for one in instruments]
            return sorted(shown, key=lambda one: one.key)

        assert len(told) == 8
        assert by_key(told) == by_key(listed)
        assert [one["overridden"] for one in told if "overridden" in one] == [{"lot_size": 65}]

    async def test_the_lines_stand_in_the_order_of_their_keys(self, caller: Caller) -> None:
        keys = [one["key"] for one in await lines(caller)]

        assert keys == sorted(keys)

    async def test_filters_keep_what_they_name(self, caller: Caller) -> None:
        async def keys(**parameters: object) -> set[str]:
            return {one["key"] for one in await lines(caller, **parameters)}

        assert await keys(venue="BSE") == {"BSE:TEALEAF"}
        assert await keys(kind=["index", "future"]) == {"NSE:NIFTY;IDX", FUTURE}
        assert len(await keys(underlying="NIFTY")) == 4
        assert await keys(expiry_to="2026-08-31") == {FUTURE}
        assert len(await keys(broker="zerodha")) == 8
        assert await keys(broker="upstox") == set()

    async def test_a_past_and_a_future_date_have_what_lived_then(self, caller: Caller) -> None:
        async def count(**parameters: object) -> int:
            return len(await lines(caller, **parameters))

        assert await count(as_of="2026-08-17") == 0
        assert await count(as_of="2026-08-26") == 7
        assert await count(as_known_at="2026-08-01T00:00:00Z") == 0
        assert await count(as_known_at="2100-01-01T00:00:00Z") == 8

    async def test_a_kind_that_does_not_exist_is_refused_with_the_nearest(self, caller: Caller) -> None:
        refused = await caller.told("/export", status=422, kind="futur")

        assert refused["errors"][0]["field"].startswith("query.kind")
        assert "future" in refused["errors"][0]["remedy"]


class TestFormats:
    async def test_csv_arrow_and_parquet_hold_the_same_table(self, caller: Caller) -> None:
        await override(caller)

        stream = pa.ipc.open_stream(await exported(caller, format="arrow")).read_all().to_pylist()
        file = parquet.read_table(io.BytesIO(await exported(caller, format="parquet"))).to_pylist()
        text = list(csv.DictReader(io.StringIO((await exported(caller, format="csv")).decode())))

        assert stream == file
        assert [row["key"] for row in text] == [row["key"] for row in stream]
        future, plain = (next(row for row in rows if row["key"] == FUTURE) for rows in (stream, text))
        assert (future["lot_size"], str(future["expiry"]), future["tick_size"]) == (75, "2026-08-25", "0.1")
        assert (future["token_zerodha"], future["overridden"]) == ("23552002", '{"lot_size":65}')
        assert plain == {name: _as_csv(value) for name, value in future.items()}

    @pytest.mark.parametrize("name", ["csv", "jsonl", "arrow", "parquet"])
    async def test_many_batches_are_one_file(self, caller: Caller, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = await exported(caller, format=name)
        monkeypatch.setattr(exporting, "BATCH", 3)
        pieces = await exported(caller, format=name)

        def keys(content: bytes) -> list[str]:
            match name:
                case "csv":
                    return [row["key"] for row in csv.DictReader(io.StringIO(content.decode()))]
                case "jsonl":
                    return [msgspec.json.decode(line)["key"] for line in content.splitlines()]
                case "arrow":
                    return pa.ipc.open_stream(content).read_all()["key"].to_pylist()
            return parquet.read_table(io.BytesIO(content))["key"].to_pylist()

        assert keys(pieces) == keys(whole)
        assert len(keys(pieces)) == 8

    @pytest.mark.parametrize("name", ["csv", "jsonl", "arrow", "parquet"])
    async def test_a_file_without_a_row_is_still_one(self, caller: Caller, name: str) -> None:
        content = await exported(caller, format=name, venue="MCX")

        if name == "arrow":
            assert pa.ipc.open_stream(content).read_all().num_rows == 0
        elif name == "parquet":
            assert parquet.read_table(io.BytesIO(content)).num_rows == 0
        else:
            assert content.count(b"\n") == (1 if name == "csv" else 0)


class TestAnswers:
    async def test_the_tag_stays_until_the_catalogue_changes(self, caller: Caller) -> None:
        await caller.caught_up()  # with the fact that the caller's key was made
        first = await caller.http.get("/export")
        again = await caller.http.get("/export", headers={"If-None-Match": first.headers["etag"]})
        await override(caller)
        changed = await caller.http.get("/export", headers={"If-None-Match": first.headers["etag"]})

        assert [one.status_code for one in (first, again, changed)] == [200, 304, 200]
        assert first.headers["content-disposition"] == 'attachment; filename="instruments-2026-08-18.csv"'
        assert int(changed.headers["x-catalog-position"]) > int(first.headers["x-catalog-position"])

    async def test_who_comes_when_all_places_are_taken_is_told_to_wait(
        self, caller: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "WAIT_SECONDS", 0.05)
        monkeypatch.setattr(streaming, "STREAMS_MAX", 0)
        streaming._slots.clear()

        refused = await caller.told("/export", status=503)
        streaming._slots.clear()

        assert refused["type"] == "/problems/TooManyStreams"

    async def test_every_place_is_given_back(self, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streaming, "WAIT_SECONDS", 5.0)

        for _ in range(2 * streaming.STREAMS_MAX):
            await exported(caller)


def _as_csv(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


assert TEA.count("\n") == 9  # a header and the eight instruments these tests count
