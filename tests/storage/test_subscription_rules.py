"""Rules on a real catalogue: they bring what they say, follow prices, roll with expiries, and write what differs."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from catalogues import Load, take
from desk import Desk, opened
from facts import METADATA
from instrument_registry import events
from instrument_registry.catalog import chains_in_tables
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.database import Database
from instrument_registry.subscriptions.demand import service as demand
from instrument_registry.subscriptions.demand.wants import DemandSource
from instrument_registry.subscriptions.ladders import Frozen, Price
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.rules import pricing, service
from instrument_registry.subscriptions.rules.model import FilterRule, LadderRule, Underlying, parsed
from instrument_registry.subscriptions.rules.prices import PriceVerdict, Told
from instrument_registry.subscriptions.rules.standing import Owner
from option_chains import WEEKS, chain, dump

NIFTY = Underlying("NSE", "NIFTY")
LADDER = LadderRule(underlying=NIFTY, around=10, expiries=3)
MORNING = datetime(2026, 8, 18, 4, 0, tzinfo=UTC)  # 09:30 in India, an expiry day
CLOSE = datetime(2026, 8, 18, 10, 0, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


class Book:
    """What one owner wants by rules, moved through time by hand."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.database = desk, desk.database

    async def rules(self, *rules: object, owner: str = "p-1", **more: object) -> list[service.Rebalanced]:
        whose = Owner(source=DemandSource.LIVE_FEED, owner=owner, user_id="asha", **more)
        async with self.database.transaction() as tx:
            return await service.replace(tx, whose, rules, metadata=METADATA, at=self.desk.now)

    async def price(self, value: str, *, name: Underlying = NIFTY, ago_seconds: int = 0, confirmed: bool = False):
        at = self.desk.now - timedelta(seconds=ago_seconds)
        told = Told(price=Price(value=Decimal(value), at=at), confirmed=confirmed)
        async with self.database.transaction() as tx:
            (taken,) = await pricing.tell(tx, [(name, told)], metadata=METADATA, at=self.desk.now)
        return taken

    async def settle(self) -> list[service.Rebalanced]:
        async with self.database.transaction() as tx:
            _, found = await service.settle(tx, metadata=METADATA, at=self.desk.now)
        return found

    async def moved(self, value: str, *, after_seconds: int = 61) -> tuple[int, int]:
        """How many instruments a price adds and removes."""
        self.desk.now += timedelta(seconds=after_seconds)
        await self.price(value)
        found = await self.settle()
        return sum(one.added for one in found), sum(one.removed for one in found)

    async def wanted(self, at: datetime | None = None) -> dict[str, Mode]:
        """What reaches the wire at an instant, by key."""
        async with self.database.transaction(read_only=True) as tx:
            found = await demand.demanded(tx, at=at or self.desk.now)
            ids = found.ids.tolist()
            names = await chains_in_tables.names(tx, ids, day=self.desk.now.date())
        return {names[id_].key: Mode(mode) for id_, mode in zip(ids, found.mode.tolist(), strict=True)}

    async def standing(self) -> tuple[service.Standing, Frozen | None]:
        async with self.database.transaction(read_only=True) as tx:
            ((kept, frozen),) = await service.listed(tx, at=self.desk.now, limit=10)
        return kept.standing, frozen

    async def told(self, stream: str) -> list[dict[str, object]]:
        async with self.database.transaction(read_only=True) as tx:
            return [json.loads(one.data) | {"type": one.type} for one in await events.read_stream(tx, stream)]


async def book_of(database: Database, folder: Path, *texts: str) -> AsyncIterator[Book]:
    async with opened(database, folder, *texts) as desk:
        desk.now = MORNING
        yield Book(desk)


@pytest_asyncio.fixture
async def book(database: Database, tmp_path: Path) -> AsyncIterator[Book]:
    async for one in book_of(database, tmp_path, dump(chain())):
        yield one


class TestALadder:
    async def test_follows_the_money_as_the_scenario_says(self, book: Book) -> None:
        """S12: 24,000 -> 24,049 -> 24,051 -> 25,551."""
        await book.price("24000")
        (first,) = await book.rules(LADDER)
        steps = [await book.moved(value) for value in ("24049", "24051", "25551")]

        assert (first.added, len(await book.wanted())) == (126, 126)
        assert steps == [(0, 0), (6, 6), (126, 126)]

    async def test_tells_each_move_once_with_where_it_was_and_why(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LADDER)
        for value in ("24049", "24051"):
            await book.moved(value)

        (first,) = await book.told("demand:live_feed:p-1")
        (moved,) = await book.told("chains")
        assert (first["type"], first["why"], first["added"], first["centre"]) == (
            "chain.rebalance",
            "rule",
            126,
            "24000",
        )
        assert {name: moved[name] for name in ("why", "added", "removed", "centre_before", "centre", "price")} == {
            "why": "price", "added": 6, "removed": 6, "centre_before": "24000", "centre": "24050", "price": "24051",
        }  # fmt: skip

    async def test_waits_its_interval_unless_the_price_is_far(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LADDER)
        soon = await book.moved("24060", after_seconds=20)
        async with book.database.transaction(read_only=True) as tx:
            due = await service.next_due(tx)
        book.desk.now = MORNING + timedelta(seconds=60)
        later = await book.settle()
        far = await book.moved("24400", after_seconds=1)

        assert (soon, due) == ((0, 0), MORNING + timedelta(seconds=60))
        assert [(one.added, one.removed) for one in later] == [(6, 6)]
        assert far == (42, 42)

    async def test_without_a_price_stands_nowhere_and_begins_with_the_first(self, book: Book) -> None:
        await book.rules(LADDER)
        before = await book.standing()
        moved = await book.moved("24000")

        assert (before[0].centre, before[1]) == (None, Frozen.NO_PRICE)
        assert (moved, (await book.standing())[1]) == ((126, 0), None)

    async def test_of_a_short_chain_says_that_it_is_cut(self, database: Database, tmp_path: Path) -> None:
        async for book in book_of(database, tmp_path, dump(chain(strikes=range(20_000, 24_401, 50)))):
            await book.price("24000")
            await book.rules(LADDER)

            assert len(await book.wanted()) == 114
            assert (await book.standing())[0].truncated

    async def test_of_one_side_brings_that_side(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LadderRule(underlying=NIFTY, around=1, sides=("P",)))

        assert set(await book.wanted()) == {f"NFO:NIFTY;2026-08-18;{strike};P" for strike in (23950, 24000, 24050)}

    async def test_begins_where_those_stand_that_move_alike(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LADDER, owner="first")
        await book.moved("24040")
        await book.rules(LadderRule(underlying=NIFTY, around=2), owner="second")

        async with book.database.transaction(read_only=True) as tx:
            stands = [kept.standing.centre for kept, _ in await service.listed(tx, at=book.desk.now, limit=10)]
        assert stands == [24_000, 24_000]


class TestExpiry:
    async def test_is_to_the_instant_and_the_next_expiry_takes_the_place(self, book: Book) -> None:
        """S5: 15:29:59 lives, 15:30:00 has expired; the wants end by themselves, however late the worker comes."""
        await book.price("24000")
        await book.rules(LADDER)
        last, over = await book.wanted(CLOSE - INSTANT), await book.wanted(CLOSE)
        standing, _ = await book.standing()
        book.desk.now = CLOSE
        (rolled,) = await book.settle()

        assert ({key.split(";")[1] for key in last}, len(last)) == ({day.isoformat() for day in WEEKS[:3]}, 126)
        assert ({key.split(";")[1] for key in over}, len(over)) == ({day.isoformat() for day in WEEKS[1:3]}, 84)
        assert (standing.edge_at, standing.due_at) == (CLOSE, CLOSE)
        assert (rolled.added, rolled.removed, rolled.settled.why) == (42, 42, "expiry")
        assert {key.split(";")[1] for key in await book.wanted()} == {day.isoformat() for day in WEEKS[1:]}

    async def test_rolls_though_the_price_is_stale(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LADDER)
        book.desk.now = CLOSE
        (rolled,) = await book.settle()

        assert (rolled.settled.standing.centre, (await book.standing())[1]) == (24_000, Frozen.STALE)

    async def test_is_by_each_exchange(self, database: Database, tmp_path: Path) -> None:
        day, after = date(2026, 12, 1), date(2026, 12, 8)
        few = {"expiries": (day, after), "strikes": range(100, 201, 10)}
        gold = chain("GOLD", exchange="MCX", first_token=5_000_000, **few)
        async for book in book_of(database, tmp_path, dump(chain(**few), gold)):
            book.desk.now = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)  # 05:00 of the day in India
            await book.price("150")
            await book.price("150", name=Underlying("MCX", "GOLD"))
            await book.rules(
                LadderRule(underlying=NIFTY, around=0, sides=("C",)),
                LadderRule(underlying=Underlying("MCX", "GOLD"), around=0, sides=("C",)),
            )
            lives = {
                text: {key.split(":")[0] for key in await book.wanted(datetime.fromisoformat(f"2026-12-{text}+05:30"))}
                for text in ("01T05:00:00", "01T15:29:59", "01T15:30:00", "01T16:00:00", "02T00:30:00")
            }

            assert lives == {
                "01T05:00:00": {"NFO", "MCX"}, "01T15:29:59": {"NFO", "MCX"}, "01T15:30:00": {"MCX"},
                "01T16:00:00": {"MCX"}, "02T00:30:00": set(),
            }  # fmt: skip


class TestPrices:
    async def test_too_far_from_the_one_before_freeze_their_ladders(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LADDER)
        book.desk.now += timedelta(seconds=61)
        jump = await book.price("30000")
        settled = await book.settle()
        frozen = (await book.standing())[1]
        book.desk.now += timedelta(seconds=1)
        near = await book.price("24051")
        followed = await book.settle()

        assert (jump.verdict, jump.frozen, jump.ladders, settled, frozen) == (
            PriceVerdict.IMPLAUSIBLE, True, 1, [], Frozen.IMPLAUSIBLE,
        )  # fmt: skip
        assert (near.verdict, near.frozen, near.moves, len(followed)) == (PriceVerdict.TAKEN, False, 1, 1)
        assert [fact["type"] for fact in await book.told("reference-prices")] == [
            "reference_price.refused", "reference_price.believed",
        ]  # fmt: skip

    async def test_that_somebody_confirms_are_followed(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LADDER)
        book.desk.now += timedelta(seconds=61)
        await book.price("20500")
        still = await book.price("20500", confirmed=True)
        (moved,) = await book.settle()

        assert still.verdict is PriceVerdict.TAKEN
        assert moved.settled.standing.centre == 20_500

    async def test_older_or_stale_ones_change_nothing(self, book: Book) -> None:
        await book.price("24000")
        older, stale = await book.price("24500", ago_seconds=1), await book.price("24500", ago_seconds=301)
        unknown = await book.price("1", name=Underlying("NSE", "NIFTYY"))

        assert [one.verdict for one in (older, stale, unknown)] == [
            PriceVerdict.OLDER,
            PriceVerdict.STALE,
            PriceVerdict.UNKNOWN,
        ]

    async def test_that_are_none_freeze_too(self, book: Book) -> None:
        await book.price("24000")
        book.desk.now += timedelta(seconds=1)

        assert [(await book.price(value)).verdict for value in ("0", "-3")] == [PriceVerdict.IMPLAUSIBLE] * 2


class TestAFilter:
    async def test_brings_what_matches_up_to_its_bound_nearest_first(self, book: Book) -> None:
        (rule,) = parsed(
            [
                {"rule": "filter", "kind": "option", "underlying": "NSE:NIFTY", "side": "C", "strike_from": 24_000,
                 "strike_to": 24_100, "most": 4}
            ]
        )  # fmt: skip
        await book.rules(rule)

        assert set(await book.wanted()) == {
            *(f"NFO:NIFTY;2026-08-18;{strike};C" for strike in (24_000, 24_050, 24_100)),
            "NFO:NIFTY;2026-08-25;24000;C",
        }
        assert (await book.standing())[0].truncated

    async def test_of_the_nearest_expiry_leaves_out_what_has_ended_today(self, book: Book) -> None:
        rule = FilterRule(most=500, underlying=NIFTY, expiries=1)
        await book.rules(rule)
        book.desk.now = CLOSE
        (rolled,) = await book.settle()

        assert {key.split(";")[1] for key in await book.wanted()} == {"2026-08-25"}
        assert (rolled.added, rolled.removed) == (322, 322)

    async def test_takes_in_what_is_listed_later(self, book: Book) -> None:
        await book.rules(FilterRule(most=1_000, underlying=NIFTY, expiry=WEEKS[-1]))
        more = dump(chain(), chain(expiries=WEEKS[-1:], strikes=[28_050], first_token=9_000_000))
        book.desk.now += timedelta(days=1)
        taken = Load(
            broker="zerodha", day=book.desk.now.date(), dumps=(Dump(name="kite_NSE.csv", content=more.encode()),)
        )
        await take(book.database, taken, clock=book.desk.clock)
        async with book.database.transaction() as tx:
            assert await service.all_due(tx, at=book.desk.now) == 1
        (listed,) = await book.settle()

        assert (listed.added, listed.removed, listed.settled.why) == (2, 0, "listing")


class TestOwners:
    async def test_pass_on_what_their_wants_say_and_to_each_row(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LADDER)
        await book.rules(LADDER, mode=Mode.FULL)

        assert set((await book.wanted()).values()) == {Mode.FULL}

    async def test_write_nothing_twice(self, book: Book) -> None:
        await book.price("24000")
        await book.rules(LADDER)

        assert await book.rules(LADDER) == []
        assert len(await book.told("demand:live_feed:p-1")) == 1

    async def test_release_what_a_rule_brought_when_it_goes(self, book: Book) -> None:
        await book.price("24000")
        narrow = LadderRule(underlying=NIFTY, around=1)
        await book.rules(LADDER, narrow)
        await book.rules(narrow)
        left = await book.wanted()
        async with book.database.transaction() as tx:
            gone = await service.release(tx, DemandSource.LIVE_FEED, "p-1", metadata=METADATA, at=MORNING)

        assert (len(left), gone, await book.wanted()) == (6, 6, {})

    async def test_end_with_their_rules(self, book: Book) -> None:
        ends = MORNING + timedelta(hours=1)
        await book.price("24000")
        await book.rules(LADDER, expires_at=ends)
        before, after = await book.wanted(ends - INSTANT), await book.wanted(ends)
        book.desk.now = ends
        (over,) = await book.settle()
        async with book.database.transaction() as tx:
            ended = await service.end(tx, at=ends)

        assert (len(before), len(after), over.removed, ended) == (126, 0, 126, 1)

    @pytest.mark.parametrize("owners", [1, 20])
    async def test_however_many_bring_the_same_instruments(self, book: Book, owners: int) -> None:
        await book.price("24000")
        for number in range(owners):
            await book.rules(LADDER, owner=f"p-{number}")
        await book.moved("24051")

        wanted = await book.wanted()
        assert len(wanted) == 126
        assert {int(key.split(";")[2]) for key in wanted} == set(range(23_550, 24_551, 50))


class TestEverythingAtOnce:
    async def test_leaves_every_rule_with_exactly_what_it_brings_and_nobody_in_anybodys_way(self, book: Book) -> None:
        chance = random.Random(5)
        await book.price("24000")
        owners = [f"p-{number}" for number in range(6)]
        ladders = [(), (LADDER,), (LadderRule(underlying=NIFTY, around=2), LadderRule(underlying=NIFTY, around=1))]

        async def own(owner: str) -> None:
            for _ in range(6):
                await book.rules(*chance.choice(ladders), owner=owner, mode=Mode(chance.randrange(3)))

        async def settle() -> None:
            for _ in range(10):
                await book.settle()
                async with book.database.transaction() as tx:
                    await demand.expire(tx, metadata=METADATA, at=book.desk.now)

        async def prices() -> None:
            for _ in range(12):
                book.desk.now += timedelta(seconds=30)
                await book.price(str(24_000 + chance.randrange(-400, 400)))

        async def listings() -> None:
            for _ in range(6):
                async with book.database.transaction() as tx:
                    await service.all_due(tx, at=book.desk.now)

        work = [*map(own, owners), settle(), settle(), prices(), listings(), listings()]
        await asyncio.gather(*work)
        await book.settle()

        async with book.database.transaction(read_only=True) as tx:
            rules = [kept for kept, _ in await service.listed(tx, at=book.desk.now, limit=100)]
            rows = await demand.listed(tx, limit=1_000)
            keys = await chains_in_tables.names(tx, {row.want.instrument_id for row in rows}, day=MORNING.date())
        brought: dict[tuple[str, str, int], set[str]] = {kept.key: set() for kept in rules}
        for row in rows:
            brought[row.source, row.owner, row.rule].add(keys[row.want.instrument_id].key)
            assert row.want.mode == next(kept.owner.mode for kept in rules if kept.owner.owner == row.owner)
        for kept in rules:
            assert isinstance(kept.rule, LadderRule)
            assert kept.standing.centre is not None
            middle, around = int(kept.standing.centre), kept.rule.around
            strikes = range(middle - 50 * around, middle + 50 * around + 1, 50)
            days = WEEKS[: kept.rule.expiries]
            assert brought[kept.key] == {
                f"NFO:NIFTY;{day};{at};{side}" for day in days for at in strikes for side in "CP"
            }
