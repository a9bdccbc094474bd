"""Demand on real tables: every reference counts once, whoever adds and releases beside whom."""

import asyncio
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from conftest import DatabaseUrls
from facts import METADATA
from instrument_registry import events
from instrument_registry.database import Database
from instrument_registry.subscriptions.demand import service
from instrument_registry.subscriptions.demand.model import Demand
from instrument_registry.subscriptions.demand.wants import DemandSource, NoSuchDemand, Want
from instrument_registry.subscriptions.planner.model import Mode

NOW = datetime(2026, 8, 18, 4, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


async def put(
    database: Database, owner: str, *wants: Want, source: DemandSource = DemandSource.MANUAL, user: str = "asha"
) -> service.Differences:
    async with database.transaction() as tx:
        return await service.replace(tx, source, owner, user_id=user, wants=wants, metadata=METADATA, at=NOW)


async def demand(database: Database, at: datetime = NOW) -> Demand:
    async with database.transaction(read_only=True) as tx:
        return await service.demanded(tx, at=at)


async def modes(database: Database, at: datetime = NOW) -> dict[int, Mode]:
    found = await demand(database, at)
    return dict(zip(found.ids.tolist(), map(Mode, found.mode.tolist()), strict=True))


async def told(database: Database, owner: str) -> list[str]:
    async with database.transaction(read_only=True) as tx:
        return [event.type for event in await events.read_stream(tx, f"demand:manual:{owner}")]


def want(instrument: int, mode: Mode = Mode.LTP, **more) -> Want:
    return Want(instrument_id=instrument, mode=mode, **more)


class TestTwoWhoWantOneInstrument:
    """S3: A full and B ltp on one instrument; then B goes, or A goes, or both do."""

    async def test_one_may_go_and_it_stays_as_the_other_wants_it(self, database: Database) -> None:
        await put(database, "a", want(7, Mode.FULL))
        await put(database, "b", want(7, Mode.LTP))
        both = await modes(database)
        await put(database, "b")
        without_b = await modes(database)
        await put(database, "b", want(7, Mode.LTP))
        await put(database, "a")
        without_a = await modes(database)
        await put(database, "b")

        assert (both, without_b, without_a) == ({7: Mode.FULL}, {7: Mode.FULL}, {7: Mode.LTP})
        assert await modes(database) == {}

    async def test_both_are_told_with_their_references(self, database: Database) -> None:
        await put(database, "a", want(7, Mode.FULL, priority=80), user="asha")
        await put(database, "b", want(7), want(8), user="biju", source=DemandSource.POSITION)
        async with database.transaction(read_only=True) as tx:
            found = await service.wanted(tx, 7, at=NOW)
            nobody = await service.wanted(tx, 9, at=NOW)

        assert (found.mode, found.tier, found.references, found.users) == (Mode.FULL, 0, 2, 2)
        assert [(one.source, one.owner, one.user_id) for one in found.by] == [
            (DemandSource.MANUAL, "a", "asha"), (DemandSource.POSITION, "b", "biju"),
        ]  # fmt: skip
        assert (nobody.mode, nobody.references) == (None, 0)


class TestWriting:
    async def test_says_what_differs_and_nothing_the_second_time(self, database: Database) -> None:
        first = await put(database, "a", want(1), want(2))
        same = await put(database, "a", want(2), want(1))
        other = await put(database, "a", want(2, Mode.FULL), want(3))

        assert (first.added, bool(same)) == ((1, 2), False)
        assert (other.added, other.changed, other.released) == ((3,), (2,), (1,))
        assert await told(database, "a") == [
            "subscription.wanted", "subscription.wanted", "subscription.released",
        ]  # fmt: skip

    async def test_nothing_to_release_is_said_so(self, database: Database) -> None:
        with pytest.raises(NoSuchDemand):
            async with database.transaction() as tx:
                await service.release(tx, DemandSource.MANUAL, "nobody", metadata=METADATA, at=NOW)

    async def test_of_one_owner_at_once_leaves_one_of_both_and_no_mixture(self, database: Database) -> None:
        low, high = [want(n) for n in range(1, 40)], [want(n) for n in range(40, 80)]

        await asyncio.gather(*(put(database, "a", *wants) for wants in (low, high) * 4))

        assert set(await modes(database)) in ({w.instrument_id for w in low}, {w.instrument_id for w in high})


class TestWhatReachesTheWire:
    async def test_is_everything_but_history(self, database: Database) -> None:
        for place, source in enumerate(DemandSource):
            await put(database, "a", want(place + 1), source=source)

        assert set(await modes(database)) == {1, 3, 4, 5, 6, 7}

    async def test_ends_with_the_want_to_the_instant(self, database: Database) -> None:
        await put(database, "a", want(1, expires_at=LATER), want(2))
        before, after = LATER - timedelta(microseconds=1), LATER

        assert set(await modes(database, before)) == {1, 2}
        assert set(await modes(database, after)) == {2}
        assert (await demand(database)).next_edge == LATER
        assert (await demand(database, LATER)).next_edge is None

    async def test_what_has_ended_is_let_go_and_told(self, database: Database) -> None:
        await put(database, "a", want(1, expires_at=LATER), want(2))

        async with database.transaction() as tx:
            early = await service.expire(tx, metadata=METADATA, at=NOW)
            ended = await service.expire(tx, metadata=METADATA, at=LATER)
            left = await service.listed(tx, limit=10)

        assert (early, ended, [one.want.instrument_id for one in left]) == (0, 1, [2])
        assert await told(database, "a") == ["subscription.wanted", "subscription.released"]


class TestReferences:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    async def test_are_exact_whoever_adds_and_releases_beside_whom(self, database: Database, seed: int) -> None:
        chance = random.Random(seed)
        owners = [f"owner-{n}" for n in range(8)]
        last: dict[str, tuple[Want, ...]] = {}

        async def live(owner: str) -> None:
            for _ in range(12):
                ids = chance.sample(range(1, 30), chance.randrange(0, 12))
                wants = tuple(want(id_, Mode(chance.randrange(3)), priority=chance.randrange(101)) for id_ in ids)
                await put(database, owner, *wants, user=f"user-{hash(owner) % 3}")
                last[owner] = wants

        await asyncio.gather(*map(live, owners))

        found = await demand(database)
        expected: dict[int, list[Want]] = defaultdict(list)
        for wants in last.values():
            for one in wants:
                expected[one.instrument_id].append(one)
        assert dict(zip(found.ids.tolist(), found.wanted_by.tolist(), strict=True)) == {
            id_: len(wants) for id_, wants in expected.items()
        }
        assert await modes(database) == {id_: max(one.mode for one in wants) for id_, wants in expected.items()}

    async def test_have_one_digest_in_whatever_order_the_rows_lie(
        self, database: Database, database_urls: DatabaseUrls
    ) -> None:
        for owner in range(6):
            wants = [want(n, Mode(n % 3), priority=owner * 10) for n in range(owner, 30, owner + 1)]
            await put(database, f"o{owner}", *wants, user=f"u{owner % 2}")
        before = await demand(database)
        with psycopg.connect(database_urls.owner, options="-c search_path=instrument_registry") as owner_:
            owner_.execute("create table kept as select * from subscription_wants order by instrument_id desc, owner")
            owner_.execute("truncate subscription_wants")
            owner_.execute("insert into subscription_wants select * from kept")

        assert (await demand(database)).digest == before.digest
