"""An index in memory follows what real runs change, says when it has not yet, and is proved equal to the tables."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime

import msgspec
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import dumps
from catalogues import Load, take
from conftest import DatabaseUrls
from facts import catch_up
from instrument_registry import events
from instrument_registry.catalog import feed, live
from instrument_registry.catalog.live import PROOF_SECONDS, LiveCatalogue, NotSearchable, Proof
from instrument_registry.catalog.search import Query
from instrument_registry.database import Database
from slices import chain

MORNING = datetime(2025, 2, 4, 4, tzinfo=UTC)
TEXTS = ("igl", "igl fut", "igl 400 ce", "nationalum", "nationalum 200 pe", "fut", "")
FOLLOWED_WITHIN_SECONDS = 20
HASTE_MAX = 100


def days() -> tuple[Load, Load]:
    """Two days of one broker: strikes come and go, a dividend moves them."""
    first, second, *_ = chain("a dividend overnight, freed names listed again")
    return first, second


async def opened(database: Database, *, proof_seconds: float = PROOF_SECONDS) -> LiveCatalogue:
    await catch_up(database)
    catalogue = LiveCatalogue(database, lambda: MORNING, proof_seconds=lambda: proof_seconds)
    await catalogue.start()
    return catalogue


@asynccontextmanager
async def following(catalogue: LiveCatalogue) -> AsyncIterator[None]:
    task = asyncio.create_task(catalogue.follow())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def head(database: Database) -> int:
    async with database.transaction(read_only=True) as tx:
        return await events.head_position(tx)


async def reached(catalogue: LiveCatalogue, position: int) -> None:
    async with asyncio.timeout(FOLLOWED_WITHIN_SECONDS):
        while catalogue.position < position:
            await asyncio.sleep(0.01)


def answers(catalogue: LiveCatalogue) -> list[object]:
    pages = [catalogue.index.search(Query(text=text, limit=100, facets=True)) for text in TEXTS]
    return [(msgspec.json.decode(page.body), page.total, page.facets, page.position) for page in pages]


async def test_two_days_of_real_dumps_are_followed_as_if_built_anew(database: Database) -> None:
    first, second = days()
    await take(database, first)
    catalogue = await opened(database)
    before = catalogue.position, catalogue.index.view.digest
    async with following(catalogue):
        await take(database, second)
        await catch_up(database)
        await reached(catalogue, await head(database))
    anew = await opened(database)

    assert (catalogue.position, catalogue.index.view.digest) != before
    assert catalogue.index.view.digest == anew.index.view.digest
    assert answers(catalogue) == answers(anew)
    assert await catalogue.prove() is Proof.EQUAL


@pytest.mark.parametrize("rows", [5_500, 11_000])
async def test_a_long_run_is_taken_over_as_a_whole(database: Database, rows: int) -> None:
    catalogue = await opened(database)
    whole = dumps.dump("shoonya/shoonya_2024-12-03_NFO.txt.gz")
    some = replace(whole, content=b"".join(whole.content.splitlines(keepends=True)[: 1 + rows]))
    async with following(catalogue):
        await take(database, Load(broker="shoonya", day=date(2024, 12, 3), dumps=(some,)))
        await catch_up(database)
        await reached(catalogue, await head(database))

    assert catalogue.position == await head(database)
    assert len(catalogue.index.view.columns) > 0
    assert await catalogue.prove() is Proof.EQUAL


async def test_a_long_run_that_changes_part_of_the_rows_is_streamed_into_the_index(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "APPLY_MAX", 1_000)
    monkeypatch.setattr(live, "APPLY_SHARE", 2.0)
    whole = dumps.dump("shoonya/shoonya_2024-12-03_NFO.txt.gz")
    header, *lines = whole.content.splitlines(keepends=True)[:6_001]
    other_lots = [_with_another_lot(line) if number < 5_500 else line for number, line in enumerate(lines)]
    first, second = (
        Load(broker="shoonya", day=day, dumps=(replace(whole, content=b"".join([header, *rows])),))
        for day, rows in ((date(2024, 12, 3), lines), (date(2024, 12, 4), other_lots))
    )
    await take(database, first)
    await catch_up(database)
    catalogue = LiveCatalogue(database, lambda: datetime(2024, 12, 4, 4, tzinfo=UTC))
    await catalogue.start()
    built = catalogue.index
    async with following(catalogue):
        await take(database, second)
        await catch_up(database)
        await reached(catalogue, await head(database))

    assert catalogue.index is built, "it was built anew"
    assert catalogue.position == await head(database)
    assert await catalogue.prove() is Proof.EQUAL


def _with_another_lot(line: bytes) -> bytes:
    exchange, token, lot, *rest = line.split(b",")
    return b",".join([exchange, token, b"%d" % (2 * int(lot)), *rest])


async def test_while_it_is_behind_it_says_so(database: Database, database_urls: DatabaseUrls) -> None:
    first, second = days()
    await take(database, first)
    catalogue = await opened(database)
    position = catalogue.position
    assert (catalogue.behind, catalogue.age_seconds) == (False, 0.0)

    async with following(catalogue):
        await take(database, second)
        with psycopg.connect(database_urls.owner) as owner:  # whoever wants to read the change has to wait
            owner.execute("lock table instrument_registry.broker_tokens in access exclusive mode")
            await catch_up(database)
            async with asyncio.timeout(FOLLOWED_WITHIN_SECONDS):
                while not catalogue.behind:
                    await asyncio.sleep(0.01)
            during = catalogue.age_seconds, catalogue.index.search(Query(text="nationalum")).position
        await reached(catalogue, await head(database))

    assert during[0] > 0
    assert during[1] == position
    assert (catalogue.behind, catalogue.age_seconds) == (False, 0.0)


async def test_while_the_database_is_away_its_age_grows(
    database: Database, database_urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SILENCE_SECONDS", 1.0)
    catalogue = await opened(database)
    name = conninfo_to_dict(database_urls.owner)["dbname"]
    with psycopg.connect(make_conninfo(database_urls.owner, dbname="postgres"), autocommit=True) as admin:
        async with following(catalogue):
            await asyncio.sleep(1.5)
            quiet = catalogue.age_seconds
            admin.execute(f"alter database {name} allow_connections false".encode())
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
            await until(lambda: catalogue.age_seconds > 1.0)
            away = catalogue.age_seconds
            await asyncio.sleep(0.2)
            later = catalogue.age_seconds
            admin.execute(f"alter database {name} allow_connections true".encode())
            await until(lambda: catalogue.age_seconds == 0.0)

    assert quiet == 0.0
    assert later >= away + 0.1


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(FOLLOWED_WITHIN_SECONDS):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_change_that_nobody_told_is_noticed(database: Database, database_urls: DatabaseUrls) -> None:
    await take(database, days()[0])
    catalogue = await opened(database)
    before = await catalogue.prove()
    with psycopg.connect(database_urls.owner) as owner:
        owner.execute(
            """update instrument_registry.instrument_versions set lot_size = lot_size + 1
                where key = (select min(key) from instrument_registry.instrument_versions where venue = 'NFO')"""
        )
    after = await catalogue.prove()
    await catalogue.start()

    assert (before, after) == (Proof.EQUAL, Proof.DIFFERENT)
    assert await catalogue.prove() is Proof.EQUAL


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("s.freeze_qty", "s.lot_size"), ("and b.valid @> {day}::date", "and not b.valid @> {day}::date"),
     ("trim_scale(s.strike)", "(s.strike + 1)"), ("when v.suspended", "when not v.suspended"),
     ("and v.valid_to > {day} {only}", "and false {only}")],
)  # fmt: skip
async def test_an_error_of_what_feeds_the_index_does_not_prove_itself(
    database: Database, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    for load in days():
        await take(database, load)
    right_one = await opened(database)
    [part] = [part for part in ("CURRENT", "ENDED", "ROWS") if right in getattr(feed, part)]
    monkeypatch.setattr(feed, part, getattr(feed, part).replace(right, wrong))
    wrong_one = await opened(database)

    assert await right_one.prove() is Proof.EQUAL
    assert await wrong_one.prove() is Proof.DIFFERENT


async def test_who_stops_gives_up_what_is_built_and_still_answers_of_today(
    database: Database, database_urls: DatabaseUrls
) -> None:
    await take(database, days()[0])
    catalogue = await opened(database, proof_seconds=1.0)
    with psycopg.connect(database_urls.owner) as owner:  # whoever reads waits for as long as this lasts
        owner.execute("lock table instrument_registry.broker_tokens in access exclusive mode")
        asked = asyncio.create_task(catalogue.as_of(date(2025, 2, 3)))
        running = asyncio.create_task(catalogue.run())
        await asyncio.sleep(0.5)
        catalogue.stop()
        async with asyncio.timeout(FOLLOWED_WITHIN_SECONDS):
            with pytest.raises(NotSearchable, match="stopping"):
                await asked
        with pytest.raises(NotSearchable, match="stopping"):
            await catalogue.as_of(date(2025, 2, 1))
    await running

    assert await catalogue.as_of(None) is catalogue.index


async def test_a_day_that_takes_too_long_is_built_all_the_same(
    database: Database, database_urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "DAY_TIMEOUT_SECONDS", 0.2)
    await take(database, days()[0])
    catalogue = await opened(database)
    with psycopg.connect(database_urls.owner) as owner:
        owner.execute("lock table instrument_registry.broker_tokens in access exclusive mode")
        with pytest.raises(NotSearchable, match="ask again"):
            await catalogue.as_of(date(2025, 2, 3))
    await until(lambda: catalogue.days_kept() == [date(2025, 2, 3)])


class Unhurried(LiveCatalogue):
    """A catalogue that lies on what it has read for as long as the test wants."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, lambda: MORNING)
        self.has_read, self.may_show = asyncio.Event(), asyncio.Event()
        self.may_show.set()

    async def _build(self, day: date) -> object:
        built = await super()._build(day)
        self.has_read.set()
        await self.may_show.wait()
        return built


async def test_facts_that_come_while_the_day_turns_are_not_lost(database: Database) -> None:
    first, second = days()
    await take(database, first)
    await catch_up(database)
    catalogue = Unhurried(database)
    await catalogue.start()
    before = catalogue.position
    async with following(catalogue):
        catalogue.has_read.clear()
        catalogue.may_show.clear()
        turning = asyncio.create_task(catalogue.start())
        await catalogue.has_read.wait()
        await take(database, second)
        await catch_up(database)
        for _ in range(HASTE_MAX):  # a hasty follower has taken over what came after the snapshot by then
            if catalogue.position > before:
                break
            await asyncio.sleep(0.01)
        catalogue.may_show.set()
        await turning
        await reached(catalogue, await head(database))

    assert await catalogue.prove() is Proof.EQUAL
