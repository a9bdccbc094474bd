"""Webhooks: what is told reaches whoever wants it, once it has been taken and not before."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

import instrument_registry.clock
from facts import AT, METADATA, catch_up, counted, renamed
from instrument_registry import events
from instrument_registry.catalog.events import InstrumentDelisted
from instrument_registry.database import Database
from instrument_registry.events.webhooks import resending, service, spreading, storage
from instrument_registry.events.webhooks.model import DeliveryStatus, Endpoint, EndpointState, Health, Plan
from instrument_registry.events.webhooks.reading import Reading
from instrument_registry.events.webhooks.sending import retry_after
from instrument_registry.sealing import sealer_in
from receivers import QUICK, Received, Receiver, deliveries, delivering_from, endpoint_at, receiving, settled

clock = instrument_registry.clock.now


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


async def tell(database: Database, *facts: events.Fact, stream: str = "s") -> None:
    async with database.transaction() as tx:
        await events.append(tx, *facts, stream=stream, metadata=METADATA)
    await events.wake(database)


async def paused(database: Database, endpoint: Endpoint, *, to: bool) -> None:
    async with database.transaction() as tx:
        turn = service.pause if to else service.resume
        await turn(tx, endpoint.id, reason="test", metadata=METADATA, at=clock())
    await service.wake(database)


async def found(database: Database, endpoint: Endpoint) -> tuple[Endpoint, Health]:
    async with database.transaction(read_only=True) as tx:
        return await service.find(tx, endpoint.id)


async def told_about(database: Database, endpoint: Endpoint) -> list[str]:
    async with database.transaction(read_only=True) as tx:
        told = await events.read_stream(tx, f"webhook_endpoint:{endpoint.id}")
    return [event.type.removeprefix("webhook_endpoint.") for event in told]


def answering(receiver: Receiver, *statuses: int, **headers: str) -> None:
    """Let a receiver answer by these statuses, the last one for ever."""
    left = list(statuses)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0], headers=headers)

    receiver.answer = answer


def delisted(instrument: str) -> InstrumentDelisted:
    return InstrumentDelisted(
        occurred_at=AT, instrument_id=instrument, key=None, effective_date="2026-08-18", source="test", ingestion=None,
        evidence=None, old=None, new=None,
    )  # fmt: skip


class TestWhatIsSent:
    async def test_an_event_reaches_every_endpoint_that_wants_it(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        all_, _ = await endpoint_at(database, tmp_path, receiver.url + "/all", event_types=("test.*",))
        await endpoint_at(database, tmp_path, receiver.url + "/counts", event_types=("test.counted",))
        await endpoint_at(database, tmp_path, receiver.url + "/one", event_types=("*",), instruments=("I2",))
        async with delivering_from(database, tmp_path):
            await tell(database, counted(1), renamed(), renamed(instrument_id="I2"))
            await receiver.got(5)
            ended = await settled(database, all_, 3)

        sent = {path: [json.loads(one.body) for one in receiver.of(f"/hook/{path}")] for path in ("counts", "one")}
        assert [(one["type"], one["data"]) for one in sent["counts"]] == [("test.counted", {"number": 1})]
        assert [(one["type"], one["subject"], one["position"]) for one in sent["one"]] == [("test.renamed", "I2", 6)]
        assert [one.status for one in ended] == [DeliveryStatus.DELIVERED] * 3

    async def test_who_asks_for_updates_alone_gets_the_instruments_id_and_who_asks_for_all_gets_the_fact(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        await endpoint_at(database, tmp_path, receiver.url + "/updates", event_types=("instrument.updated",))
        await endpoint_at(database, tmp_path, receiver.url + "/all", event_types=("instrument.*", "instrument.updated"))
        async with delivering_from(database, tmp_path):
            await tell(database, delisted("I1"))
            await receiver.got(2)

        (update,), (fact,) = receiver.of("/hook/updates"), receiver.of("/hook/all")
        assert json.loads(update.body)["type"] == "instrument.updated"
        assert json.loads(update.body)["data"] == {"instrument_id": "I1"}
        assert json.loads(fact.body)["type"] == "instrument.delisted"
        assert update.id == fact.id

    async def test_of_a_bulk_run_only_who_asks_gets_every_fact(
        self, database: Database, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("instrument_registry.events.model.BULK_FACTS", 3)
        summed, _ = await endpoint_at(database, tmp_path, receiver.url + "/summed", event_types=("test.*",))
        await endpoint_at(database, tmp_path, receiver.url + "/each", event_types=("test.counted",), bulk=True)
        async with delivering_from(database, tmp_path):
            await tell(database, *(counted(number) for number in range(4)))
            await tell(database, renamed())
            await receiver.got(5)
            await settled(database, summed, 1)

        assert [json.loads(one.body)["type"] for one in receiver.of("/hook/summed")] == ["test.renamed"]
        assert len(receiver.of("/hook/each")) == 4

    async def test_nobody_gets_what_was_told_before_they_were_there(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        async with delivering_from(database, tmp_path):
            await tell(database, counted(1))
            async with asyncio.timeout(10):
                while await _head(database) < 1:
                    await asyncio.sleep(0.01)
            endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
            await tell(database, counted(2))
            await settled(database, endpoint, 1)

        assert [json.loads(one.body)["data"]["number"] for one in receiver.requests] == [2]

    async def test_every_request_verifies_also_while_secrets_overlap(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        endpoint, first = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        async with delivering_from(database, tmp_path):
            alone = await _sent_until(database, receiver, lambda one: _verifies(first, one))
            second = await _rotated(database, tmp_path, endpoint, overlap_seconds=3600)
            both = await _sent_until(database, receiver, lambda one: _verifies(second, one))
            third = await _rotated(database, tmp_path, endpoint, overlap_seconds=0)
            after = await _sent_until(database, receiver, lambda one: _verifies(third, one))

        verified = [[_verifies(secret, one) for secret in (first, second, third)] for one in (alone, both, after)]
        assert verified == [[True, False, False], [True, True, False], [False, False, True]]
        assert all(any(_verifies(secret, one) for secret in (first, second, third)) for one in receiver.requests)


class TestTryingAgain:
    async def test_what_is_refused_comes_again_under_the_same_id(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        answering(receiver, 500, 302, 404, 200, Location="http://127.0.0.1:1/")
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        async with delivering_from(database, tmp_path):
            await tell(database, counted(1))
            (delivery,) = await settled(database, endpoint, 1)

        assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 4)
        assert {one.id for one in receiver.requests} == {str(delivery.event_id)}
        assert len({one.body for one in receiver.requests}) == 1

    async def test_after_the_last_step_it_has_failed_and_can_be_run_again(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        answering(receiver, 500)
        plan = Plan(waits_seconds=(0, 1, 1), scale=1 / 1000)
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        async with delivering_from(database, tmp_path, plan=plan):
            await tell(database, counted(1))
            (failed,) = await settled(database, endpoint, 1)
            answering(receiver, 200)
            async with database.transaction() as tx:
                await resending.rerun(tx, endpoint.id, failed.id, metadata=METADATA, at=clock())
            await service.wake(database)
            (again,) = await settled(database, endpoint, 1)

        assert (failed.status, failed.attempts, failed.answer) == (DeliveryStatus.FAILED, 3, 500)
        assert (again.status, again.attempts) == (DeliveryStatus.DELIVERED, 4)

    async def test_a_receiver_that_says_when_is_left_alone_until_then(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        answering(receiver, 503, 200, **{"Retry-After": "1"})
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        async with delivering_from(database, tmp_path, plan=replace(QUICK, scale=1.0, waits_seconds=(0, 0))):
            await tell(database, counted(1))
            (delivery,) = await settled(database, endpoint, 1)
            await receiver.got(2)

        first, second = (int(one.headers["webhook-timestamp"]) for one in receiver.requests)
        assert delivery.status is DeliveryStatus.DELIVERED
        assert second - first >= 1

    async def test_what_waits_while_an_endpoint_is_paused_goes_out_afterwards(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        await paused(database, endpoint, to=True)
        async with delivering_from(database, tmp_path):
            await tell(database, counted(1), counted(2))
            async with asyncio.timeout(10):
                while len(await deliveries(database, endpoint)) < 2:
                    await asyncio.sleep(0.01)
            before = len(receiver.requests)
            await paused(database, endpoint, to=False)
            await settled(database, endpoint, 2)

        assert (before, len(receiver.requests)) == (0, 2)

    async def test_what_waits_for_an_endpoint_that_is_deleted_is_cancelled(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        await paused(database, endpoint, to=True)
        async with delivering_from(database, tmp_path):
            await tell(database, counted(1), counted(2))
            async with asyncio.timeout(10):
                while len(await deliveries(database, endpoint)) < 2:
                    await asyncio.sleep(0.01)
            async with database.transaction() as tx:
                await service.delete(tx, endpoint.id, reason="over", metadata=METADATA, at=clock())
            await service.wake(database)
            ended = await settled(database, endpoint, 2)

        assert ({one.status for one in ended}, receiver.requests) == ({DeliveryStatus.CANCELLED}, [])

    async def test_in_order_nothing_overtakes_what_is_tried_again(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        refused: set[str] = set()

        async def answer(request: web.Request) -> web.Response:
            message = request.headers["webhook-id"]
            bad = len(refused) < 6 and message not in refused
            refused.add(message)
            return web.Response(status=500 if bad else 200)

        receiver.answer = answer
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",), ordered=True)
        async with delivering_from(database, tmp_path):
            names = [(f"N{number}", f"I{number % 3}") for number in range(18)]
            await tell(database, *(renamed(name, instrument_id=instrument) for name, instrument in names))
            await settled(database, endpoint, 18)

        taken: dict[str, list[str]] = {}
        for one in receiver.requests:
            data = json.loads(one.body)["data"]
            if data["new"] not in taken.setdefault(data["instrument_id"], []):
                taken[data["instrument_id"]].append(data["new"])
        assert taken == {f"I{rest}": [name for name, one in names if one == f"I{rest}"] for rest in range(3)}


class TestGivingUp:
    async def test_who_is_gone_is_disabled_at_once_and_what_waits_is_kept(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        answering(receiver, 410)
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",), concurrency=1)
        async with delivering_from(database, tmp_path):
            await tell(database, *(counted(number) for number in range(3)))
            async with asyncio.timeout(10):
                while (await found(database, endpoint))[0].state is not EndpointState.DISABLED:
                    await asyncio.sleep(0.01)
            answering(receiver, 200)
            await paused(database, endpoint, to=False)
            ended = await settled(database, endpoint, 3)

        assert await told_about(database, endpoint) == ["created", "disabled", "resumed"]
        assert {one.status for one in ended} == {DeliveryStatus.FAILED, DeliveryStatus.DELIVERED}

    async def test_who_fails_for_long_and_often_is_warned_three_times_and_disabled(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        answering(receiver, 500)
        plan = Plan(scale=1 / 1_000_000, failing_hours=0.001, broken_after=1_000, waits_seconds=(0,) + (60_000,) * 40)
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        async with delivering_from(database, tmp_path, plan=plan):
            await tell(database, counted(1))
            async with asyncio.timeout(20):
                while (await found(database, endpoint))[0].state is not EndpointState.DISABLED:
                    await asyncio.sleep(0.02)

        health = (await found(database, endpoint))[1]
        assert health.failures >= 20
        assert await told_about(database, endpoint) == ["created", "warned", "warned", "warned", "disabled"]

    async def test_one_success_starts_the_count_anew(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        answering(receiver, 500, 500, 200)
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        async with delivering_from(database, tmp_path):
            await tell(database, counted(1))
            await settled(database, endpoint, 1)

        health = (await found(database, endpoint))[1]
        assert (health.failing_since, health.failures, health.last_success_at is not None) == (None, 0, True)


class TestReading:
    async def test_what_is_asked_for_together_is_found_however_little_is_remembered(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("instrument_registry.events.webhooks.reading.EVENTS_KEPT", 4)
        await tell(database, *(counted(number) for number in range(400)))
        await catch_up(database)
        reading, wanted = Reading(), [1, 2, 3, 100, 101, 250, 399, 400]
        async with database.transaction(read_only=True) as tx:
            first = await reading.events(tx, wanted[:3])
            found = await reading.events(tx, [*wanted, 401])

        assert sorted(first) == wanted[:3]
        assert sorted(found) == wanted


class TestSeveralDeliverers:
    async def test_of_two_one_delivers_and_the_other_takes_over(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",))
        async with delivering_from(database, tmp_path):
            await tell(database, *(counted(number) for number in range(5)))
            await settled(database, endpoint, 5)
            async with delivering_from(database, tmp_path, sequenced=False):
                await tell(database, *(counted(number) for number in range(5, 10)))
                await settled(database, endpoint, 10)
        async with delivering_from(database, tmp_path):
            await tell(database, counted(10))
            await settled(database, endpoint, 11)

        assert sorted(json.loads(one.body)["data"]["number"] for one in receiver.requests) == list(range(11))

    async def test_who_was_taken_for_dead_hands_nothing_on(self, database: Database, tmp_path: Path) -> None:
        await endpoint_at(database, tmp_path, "https://1.1.1.1/", event_types=("test.*",))
        await tell(database, counted(1))
        await catch_up(database)
        at = clock()
        async with database.transaction() as tx:
            page = await events.read(tx, after=0)
            before = await storage.position(tx)
        await spreading.spread(database, spreading.Known(), at=at)

        async with database.transaction() as tx:
            assert await storage.move(tx, before, page.position) is False


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        ("soon", None),
        ("-5", None),
        (format_datetime(datetime(2026, 8, 18, 6, 31, tzinfo=UTC), usegmt=True), 60.0),
        (format_datetime(datetime(2026, 8, 18, 6, 29, tzinfo=UTC), usegmt=True), 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, now=datetime(2026, 8, 18, 6, 30, tzinfo=UTC)) == seconds


def test_a_retry_after_without_end_is_heeded_for_a_day() -> None:
    assert Plan().asked_to_wait(10**9) == timedelta(days=1)


def test_the_schedule_is_the_published_one_give_or_take_a_tenth() -> None:
    steps = [Plan().wait_after(step, chance=0.5) for step in range(10)]

    assert [step.total_seconds() for step in steps if step] == [
        5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400,
    ]  # fmt: skip
    assert steps[-1] is None
    assert Plan().wait_after(1, chance=0.0) == timedelta(seconds=270)
    assert Plan().wait_after(1, chance=1.0) == timedelta(seconds=330)


async def _rotated(database: Database, folder: Path, endpoint: Endpoint, *, overlap_seconds: int) -> str:
    async with database.transaction() as tx:
        _, secret = await service.rotate(
            tx, endpoint.id, overlap_seconds=overlap_seconds, sealer=sealer_in(folder), metadata=METADATA, at=clock()
        )
    await service.wake(database)
    return secret


async def _sent_until(database: Database, receiver: Receiver, wanted: Callable[[Received], bool]) -> Received:
    """The first request that is as wanted: the deliverer sees a rotation a moment after it was committed."""
    for _ in range(100):
        count = len(receiver.requests)
        await tell(database, counted(count))
        await receiver.got(count + 1)
        if wanted(receiver.requests[-1]):
            return receiver.requests[-1]
    raise AssertionError("no request is as wanted")


def _verifies(secret: str, one: Received) -> bool:
    try:
        Webhook(secret).verify(one.body, one.headers)
    except WebhookVerificationError:
        return False
    return True


async def _head(database: Database) -> int:
    async with database.transaction(read_only=True) as tx:
        return await events.head_position(tx)
