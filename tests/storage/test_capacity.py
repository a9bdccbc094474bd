"""What accounts can carry stands as it was said; a connection is lost when its ticker says so or is not heard."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from facts import AT, METADATA
from instrument_registry import events
from instrument_registry.database import Database, Transaction
from instrument_registry.subscriptions.capacity import Figure, Health, reporting, service
from instrument_registry.subscriptions.capacity.reporting import EpochOver, NoSuchConnection, Report, Said
from instrument_registry.subscriptions.capacity.terms import (
    CapacityChangedSince,
    KeyShared,
    ModeName,
    NoSuchAccount,
    Terms,
    Way,
)
from instrument_registry.subscriptions.planner import Mode

LOST_AFTER = timedelta(seconds=5)


def figure(value: int | None) -> Figure:
    return Figure(value=value, source="contract", as_of=date(2026, 8, 1))


async def put(tx: Transaction, name: str, terms: Terms, *, version: int | None = None) -> int:
    made = await service.put(tx, name, terms, reason="trial", metadata=METADATA, at=AT, version=version)
    return made.version


async def said(tx: Transaction, name: str, seconds: float = 0, epoch: int | None = None, **states: Said) -> int:
    """A ticker's report, so many seconds after AT; how many connections are another way by it."""
    connections = {f"{name}-{number[1:]}": (state, None) for number, state in states.items()}
    heard = Report(connections=connections, epoch=epoch)
    return len(await reporting.report(tx, name, heard, metadata=METADATA, at=AT + timedelta(seconds=seconds)))


async def silent_at(tx: Transaction, seconds: float, hearing_since: float = 0) -> list[str]:
    told = await reporting.lose_silent(
        tx, lost_after=LOST_AFTER, hearing_since=AT + timedelta(seconds=hearing_since), metadata=METADATA,
        at=AT + timedelta(seconds=seconds),
    )  # fmt: skip
    return [one.connection for one in told]


class TestAnAccount:
    async def test_stands_with_its_brokers_limits_and_its_own_in_their_place(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="zerodha"))
        await put(
            transaction, "L", Terms(broker="kite", figures={"connections": figure(2), "reserve_percent": figure(10)})
        )
        stands = await service.standing(transaction, at=AT)

        first, second = stands.accounts
        assert (first.broker, first.tokens) == ("kite", "zerodha")
        assert [one.id for one in first.account.connections] == ["K-0", "K-1", "K-2"]
        assert (first.account.total, first.account.reserve) == (None, 0)
        assert (len(second.account.connections), second.account.total, second.account.reserve) == (2, 6000, 600)
        assert first.health == (None, None, None)

    async def test_grows_in_version_with_every_change_and_with_nothing_else(self, transaction: Transaction) -> None:
        seen = [await put(transaction, "K", Terms(broker="kite"))]
        seen.append(await put(transaction, "K", Terms(broker="kite")))
        before = (await service.standing(transaction, at=AT)).version
        seen.append(await put(transaction, "K", Terms(broker="kite", figures={"connection_total": figure(5000)})))
        stands = await service.standing(transaction, at=AT)

        assert seen == [1, 1, 2]
        assert stands.version == before + 1
        assert stands.accounts[0].account.connections[0].uses[0].modes == (5000, 5000, 5000)

    async def test_that_somebody_else_has_changed_is_not_overwritten(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite"))
        await put(transaction, "K", Terms(broker="kite", notes="desk"))

        with pytest.raises(CapacityChangedSince):
            await put(transaction, "K", Terms(broker="kite"), version=1)
        with pytest.raises(CapacityChangedSince):
            await put(transaction, "new", Terms(broker="kite"), version=1)

    async def test_keeps_rules_of_mixing_and_segments_as_they_were_said(self, transaction: Transaction) -> None:
        ways = (Way(name="few", total=figure(30), modes={ModeName.LTP: figure(30), ModeName.FULL: figure(10)}),)
        terms = Terms(broker="alpaca", ways=ways, segments={"NSE": (ModeName.LTP,)})
        await put(transaction, "A", terms)
        (stands,) = (await service.standing(transaction, at=AT)).accounts

        assert (await service.find(transaction, "A")).terms == terms
        assert stands.account.connections[0].uses[0].modes == (30, 0, 10)
        assert stands.can_carry("NSE", Mode.LTP)
        assert not stands.can_carry("NSE", Mode.FULL)
        assert not stands.can_carry("MCX", Mode.LTP)

    async def test_has_a_key_of_its_own(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite", key="desk"))

        with pytest.raises(KeyShared, match="K"):
            await put(transaction, "L", Terms(broker="kite", key="desk"))
        await put(transaction, "U", Terms(broker="upstox", key="desk"))

    async def test_that_is_retired_stands_no_more_and_its_history_stays(self, database: Database) -> None:
        async with database.transaction() as tx:
            await put(tx, "K", Terms(broker="kite", key="desk"))
            await said(tx, "K", _0=Said.CONNECTED)
            await service.retire(tx, "K", reason="closed", metadata=METADATA, at=AT)
        async with database.transaction() as tx:
            stands = await service.standing(tx, at=AT)
            history = await service.history(tx, "K")
            with pytest.raises(NoSuchAccount):
                await service.find(tx, "K")
            await put(tx, "L", Terms(broker="kite", key="desk"))
            await put(tx, "K", Terms(broker="kite"))
            again = await service.find(tx, "K")
            told = [one.type for one in await events.read_stream(tx, "capacity:K")]

        assert stands.accounts == ()
        assert [(one.version, one.terms is None, one.reason) for one in history] == [
            (2, True, "closed"),
            (1, False, "trial"),
        ]
        assert again.version == 3
        assert told == ["capacity.changed", "connection.changed", "capacity.retired", "capacity.changed"]


class TestAConnection:
    async def test_that_nobody_has_spoken_of_is_never_lost(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite"))

        assert await silent_at(transaction, 1000) == []

    async def test_is_lost_when_its_ticker_is_silent_and_stands_again_when_it_is_heard(
        self, transaction: Transaction
    ) -> None:
        await put(transaction, "K", Terms(broker="kite"))
        await said(transaction, "K", 0, _0=Said.CONNECTED, _1=Said.CONNECTED)
        await said(transaction, "K", 4, _1=Said.CONNECTED)
        before = (await service.standing(transaction, at=AT)).version
        early, late, later = [await silent_at(transaction, seconds) for seconds in (4.9, 5, 6)]
        stands = await service.standing(transaction, at=AT)
        returned = await said(transaction, "K", 7, _0=Said.CONNECTED)
        again = await service.standing(transaction, at=AT)

        assert (early, late, later) == ([], ["K-0"], [])
        assert stands.version == before + 1
        assert [one.alive for one in stands.accounts[0].account.connections] == [False, True, True]
        assert stands.accounts[0].health == (Health.LOST, Health.CONNECTED, None)
        assert returned == 1
        assert [one.alive for one in again.accounts[0].account.connections] == [True, True, True]

    async def test_is_not_silent_while_nobody_listens(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite"))
        await said(transaction, "K", 0, _0=Said.CONNECTED)

        assert await silent_at(transaction, 60, hearing_since=56) == []
        assert await silent_at(transaction, 61, hearing_since=56) == ["K-0"]

    async def test_that_reconnects_quickly_changes_nothing(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite"))
        await said(transaction, "K", 0, _0=Said.CONNECTED)
        before = (await service.standing(transaction, at=AT)).version
        changed = [await said(transaction, "K", seconds, _0=Said.CONNECTED) for seconds in (4.5, 9)]

        assert changed == [0, 0]
        assert await silent_at(transaction, 13) == []
        assert (await service.standing(transaction, at=AT)).version == before

    async def test_that_is_closed_on_purpose_may_be_opened_again(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite"))
        changed = [
            await said(transaction, "K", _0=Said.CONNECTED), await said(transaction, "K", _0=Said.CLOSED),
            await said(transaction, "K", _0=Said.CLOSED),
        ]  # fmt: skip

        assert changed == [1, 1, 0]
        assert await silent_at(transaction, 100) == []
        assert [one.health for one in await reporting.connections(transaction, "K")] == [None, None, None]

    async def test_that_the_account_has_not_is_refused(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite"))

        with pytest.raises(NoSuchConnection, match="K-0, K-1, K-2"):
            await said(transaction, "K", _3=Said.CONNECTED)

    async def test_is_not_reported_by_a_ticker_whose_lease_is_over(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite"))
        await said(transaction, "K", epoch=2, _0=Said.CONNECTED)

        with pytest.raises(EpochOver):
            await said(transaction, "K", epoch=1, _0=Said.LOST)
        assert await said(transaction, "K", epoch=2, _0=Said.DEGRADED) == 1

    async def test_that_the_account_has_no_longer_is_forgotten(self, transaction: Transaction) -> None:
        await put(transaction, "K", Terms(broker="kite"))
        await said(transaction, "K", _2=Said.LOST)
        await put(transaction, "K", Terms(broker="kite", figures={"connections": figure(2)}))
        await put(transaction, "K", Terms(broker="kite"))

        assert (await service.standing(transaction, at=AT)).accounts[0].health == (None, None, None)


async def test_of_two_reports_the_later_tick_stays(transaction: Transaction) -> None:
    await put(transaction, "K", Terms(broker="kite"))
    report = Report(connections={}, ticks={1: AT, 2: AT})
    await reporting.report(transaction, "K", report, metadata=METADATA, at=AT)
    later = replace(report, ticks={1: AT - timedelta(seconds=1), 2: AT + timedelta(seconds=1)})
    await reporting.report(transaction, "K", later, metadata=METADATA, at=AT)

    assert await reporting.ticks(transaction, "K") == {1: AT, 2: AT + timedelta(seconds=1)}
