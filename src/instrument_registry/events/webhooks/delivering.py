"""The deliverer: one process at a time hands events to endpoints until each has taken them.

What is under way is marked nowhere: a delivery waits in the table until its outcome is kept there. So whoever takes
over after a crash sends again what was under way, under the same ids, and forgets nothing.
"""

import asyncio
import random
from collections import Counter as Counted
from collections.abc import Callable, Sequence
from datetime import datetime

import psycopg
import structlog
from aiohttp.abc import AbstractResolver
from prometheus_client import Counter, Histogram

from instrument_registry.clock import Clock
from instrument_registry.database import Database, DatabaseUnavailable, Transaction
from instrument_registry.errors import Unavailable
from instrument_registry.events import storage as log_storage
from instrument_registry.events.service import SEQUENCED, heed_cancellation
from instrument_registry.events.webhooks import queue, recording, service, signing, spreading, storage
from instrument_registry.events.webhooks.lanes import Lane, Lanes
from instrument_registry.events.webhooks.messages import TRACEPARENT, Message
from instrument_registry.events.webhooks.model import (
    GONE,
    Delivery,
    Endpoint,
    EndpointState,
    Health,
    Plan,
    SealedSecret,
)
from instrument_registry.events.webhooks.queue import Outcome
from instrument_registry.events.webhooks.reading import Reading
from instrument_registry.events.webhooks.sending import Answer, Sender
from instrument_registry.events.webhooks.signing import Key
from instrument_registry.outbound.addresses import Guard
from instrument_registry.sealing import MasterKeyUnusable, SealBroken, Sealer
from instrument_registry.telemetry import tracing
from instrument_registry.telemetry.watched import KnownGauge

LOCK = 0x6972_7765_6273  # "irwebs": whoever delivers holds it, as long as its session lives
POLL_SECONDS = 1.0
GATHERED_SECONDS = 0.01  # outcomes are kept together
# What was refused waits longer for others: were it lost, it would be tried again, and nobody gets anything twice.
REFUSED_GATHERED_SECONDS = 0.2
GRACE_SECONDS = 3.0  # for what is under way when told to stop
COUNTED_EVERY_SECONDS = 30.0
SWEPT_AT_ONCE = 5_000  # deliveries to endpoints that are gone

log = structlog.get_logger("webhooks")
ATTEMPTS = Counter("instrument_registry_webhook_attempts", "Requests to webhook endpoints", ["result"])
WAITING = KnownGauge("instrument_registry_webhook_deliveries_waiting", "Deliveries that have not been taken yet")
FAILING = KnownGauge(
    "instrument_registry_webhook_endpoints_failing", "Active endpoints that do not take what they are sent"
)
SECONDS = Histogram("instrument_registry_webhook_duration_seconds", "From sending a webhook to its answer, or to none")
OLDEST = KnownGauge(
    "instrument_registry_webhook_oldest_waiting_seconds", "How long the oldest delivery has been waiting"
)


async def run(
    database: Database,
    *,
    sealer: Sealer,
    guard: Guard,
    clock: Clock,
    plan: Plan | None = None,
    poll_seconds: float = POLL_SECONDS,
    chance: Callable[[], float] = random.random,
    inner: AbstractResolver | None = None,
) -> None:
    """Deliver for ever; a second one waits until the first is gone. A restarted database is waited for."""
    plan = plan or Plan()
    async with Sender(guard, timeout_seconds=plan.timeout_seconds, inner=inner) as sender:
        deliverer = Deliverer(database, sender, sealer=sealer, clock=clock, plan=plan, chance=chance)
        try:
            while True:
                try:
                    await deliverer.lead(poll_seconds=poll_seconds)
                except* Unavailable as failures:
                    log.warning("webhooks.wait", reason=str(failures.exceptions[0]))
                    deliverer.forget_what_was_read()
                heed_cancellation()
                await asyncio.sleep(poll_seconds)
        finally:
            await deliverer.finish()


class Deliverer:
    """Reads what is due, sends it, keeps what came of it: four loops that wake each other."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        *,
        sealer: Sealer,
        clock: Clock,
        plan: Plan,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database, self._sender, self._sealer = database, sender, sealer
        self._clock, self._plan, self._chance = clock, plan, chance
        self._reading, self._known = Reading(), spreading.Known()
        self._lanes = Lanes()
        self._generation: tuple[int, int] | None = None
        self._held: set[int] = set()  # read and not kept yet: not to be read again
        self._outcomes: list[Outcome] = []
        self._keeping_at = 0.0  # when what was refused is kept, by the loop's clock
        self._attempts: set[asyncio.Task[None]] = set()
        self._news, self._done = asyncio.Event(), asyncio.Event()
        self._failed: asyncio.Future[None] | None = None

    async def lead(self, *, poll_seconds: float) -> None:
        """Deliver as the only one; Raises: DatabaseUnavailable, in a group."""
        async with self._database.session("webhooks") as session:
            await log_storage.notice_silence(session)
            while not await log_storage.locked(session, LOCK):
                await asyncio.sleep(poll_seconds)
            log.info("webhooks.deliverer_started")
            for channel in (SEQUENCED, service.CHANGED):
                await log_storage.listen(session, channel)
            self._failed = asyncio.get_running_loop().create_future()
            await self._keep()
            await self._reload()
            heed_cancellation()
            self._lanes.look_for(self._lanes.by_endpoint)
            self._news.set()
            # In a task of its own: a group in which something failed leaves its task looking cancelled.
            await asyncio.create_task(self._work(session, self._failed, poll_seconds))

    async def _work(self, session: Transaction, failed: "asyncio.Future[None]", poll_seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(session, poll_seconds))
            group.create_task(self._spread())
            group.create_task(self._take())
            group.create_task(self._record())
            group.create_task(self._watch(failed))

    def forget_what_was_read(self) -> None:
        """Start again from the table; what is under way goes on, and its outcome is kept later."""
        for lane in self._lanes.by_endpoint.values():
            self._held.difference_update(one.id for one, _ in lane.ready)
            lane.ready.clear()

    async def finish(self) -> None:
        """Hear what is under way out, for a moment, and keep what came of it."""
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=GRACE_SECONDS)
        for attempt in self._attempts:
            attempt.cancel()
        try:
            await self._keep()
        except Unavailable as error:
            log.warning("webhooks.outcomes_lost", outcomes=len(self._outcomes), reason=str(error))

    async def _hear(self, session: Transaction, poll_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        polled = counted = loop.time()
        while True:
            heed_cancellation()
            channel = await _heard(session, poll_seconds)
            if channel == SEQUENCED:
                self._news.set()
            if channel == service.CHANGED or loop.time() - polled >= poll_seconds:
                polled = loop.time()
                await self._reload()
                self._lanes.look_for(self._lanes.by_endpoint)
                self._news.set()
                await self._sweep()
            if loop.time() - counted >= COUNTED_EVERY_SECONDS:
                counted = loop.time()
                await self._count()

    async def _spread(self) -> None:
        while True:
            heed_cancellation()
            await self._news.wait()
            self._news.clear()
            while True:
                heed_cancellation()
                at = self._clock()
                step = await spreading.spread(self._database, self._known, at=at)
                self._reading.keep(step.events)
                self._lanes.look_for(step.made)
                if not step.moved:
                    break
            heed_cancellation()
            again = await spreading.spread_replays(self._database, at=self._clock())
            self._lanes.look_for(again.made)
            if again.moved:
                self._news.set()  # the next page, after what is new

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            chosen = self._lanes.chosen(now)
            rooms = {lane.endpoint.id: lane.room() for lane in chosen if lane.more and lane.runs_dry()}
            if rooms:
                await self._read(rooms)
            for lane in chosen:
                self._start(lane)
            heed_cancellation()
            await self._lanes.wait(now)

    async def _read(self, rooms: dict[int, int]) -> None:
        for endpoint in rooms:
            self._lanes.by_endpoint[endpoint].more = False  # what comes from now on sets it again
        async with self._database.transaction(read_only=True) as tx:
            found = await queue.due(tx, rooms, held=self._held, now=self._clock())
            told = await self._reading.events(tx, [one.position for one in found if one.position is not None])
        got = Counted(one.endpoint_id for one in found)
        for one in found:
            lane = self._lanes.by_endpoint.get(one.endpoint_id)
            if lane is None:  # paused meanwhile
                continue
            self._held.add(one.id)
            event = None if one.position is None else told.get(one.position)
            message = self._reading.message(one, event, lane.endpoint.wanted.format)
            if message is None:
                self._outcomes.append(recording.unsendable(one, "the event is archived", at=self._clock()))
                self._done.set()
            else:
                lane.ready.append((one, message))
        self._lanes.look_for(endpoint for endpoint, count in got.items() if count == rooms[endpoint])

    def _start(self, lane: Lane) -> None:
        now = asyncio.get_running_loop().time()
        while lane.may_send(now) and (lane.well or self._lanes.probes.take(now)):
            delivery, message = lane.ready.popleft()
            lane.under_way += 1
            attempt = asyncio.create_task(self._attempt(lane, delivery, message))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._ended)

    async def _attempt(self, lane: Lane, delivery: Delivery, message: Message) -> None:
        url, began = lane.endpoint.wanted.url, self._clock()
        signed = signing.headers(
            str(delivery.event_id), message.body, timestamp=int(began.timestamp()), keys=lane.signs_with(began)
        )
        headers = {**message.headers, **signed}
        told: tracing.Attributes = {
            "instrument_registry.endpoint": delivery.endpoint_id, "messaging.message.id": str(delivery.event_id),
            "instrument_registry.event_type": delivery.type,
        }  # fmt: skip
        with tracing.span(
            "webhook POST", kind="client", parent=message.headers.get(TRACEPARENT), attributes=told
        ) as span:
            if span.traceparent is not None:
                headers[TRACEPARENT] = span.traceparent
            answer = await self._sender.post(url, message.body, headers, now=began)
            span.tell({"http.request.method": "POST", "http.response.status_code": answer.status})
            if not answer.taken:
                span.failed(str(answer.status or "no answer"))
        self._note(lane, delivery, answer, url=url, size=len(message.body))

    def _note(self, lane: Lane, delivery: Delivery, answer: Answer, *, url: str, size: int) -> None:
        loop, at = asyncio.get_running_loop(), self._clock()
        outcome = recording.judged(delivery, answer, self._plan, url=url, body_bytes=size, at=at, chance=self._chance())
        lane.under_way -= 1
        if answer.taken:
            lane.took()
        elif answer.status == GONE:
            lane.gone()
        else:
            asked = answer.retry_after_seconds
            heeded = None if asked is None else self._plan.asked_to_wait(asked).total_seconds()
            lane.failed(self._plan, now=loop.time(), asked_seconds=heeded)
        ATTEMPTS.labels(result="taken" if answer.taken else "refused" if answer.status else "unanswered").inc()
        SECONDS.observe(answer.duration_ms / 1000)
        self._outcomes.append(outcome)
        if answer.taken or answer.status == GONE:
            self._done.set()
        else:
            self._keep_soon(loop)
        if lane.well:
            self._start(lane)
            if lane.more and lane.runs_dry():
                self._lanes.look_for([delivery.endpoint_id])
        else:
            self._lanes.look_at(max(lane.shut_until, loop.time()), delivery.endpoint_id)

    def _keep_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._keeping_at <= loop.time():
            self._keeping_at = loop.time() + REFUSED_GATHERED_SECONDS
            loop.call_at(self._keeping_at, self._done.set)

    async def _record(self) -> None:
        while True:
            heed_cancellation()
            await self._done.wait()
            await asyncio.sleep(GATHERED_SECONDS)
            self._done.clear()
            await self._keep()

    async def _keep(self) -> None:
        outcomes = list(self._outcomes)
        if not outcomes:
            return
        disabled = await recording.record(self._database, outcomes, self._plan, at=self._clock())
        del self._outcomes[: len(outcomes)]
        loop_now, now = asyncio.get_running_loop().time(), self._clock()
        for one in outcomes:
            self._held.discard(one.delivery.id)
            lane = self._lanes.by_endpoint.get(one.delivery.endpoint_id)
            if one.due_at is not None:
                self._lanes.look_at(loop_now + (one.due_at - now).total_seconds(), one.delivery.endpoint_id)
            if lane is not None and lane.endpoint.wanted.ordered:
                self._lanes.look_for([lane.endpoint.id])
        if disabled:
            await self._reload()

    async def _reload(self) -> None:
        """See which endpoints there are and how each wants it; an endpoint that stays keeps its lane."""
        at = self._clock()
        async with self._database.transaction(read_only=True) as tx:
            generation = await storage.generation(tx)
            if generation == self._generation:
                return
            endpoints = {one.id: one for one in await storage.in_state(tx, [EndpointState.ACTIVE])}
            secrets = await storage.secrets_of(tx, list(endpoints), at=at)
            health = await storage.health_of(tx, endpoints.keys() - self._lanes.by_endpoint.keys())
        self._generation = generation
        for gone in self._lanes.by_endpoint.keys() - endpoints.keys():
            self._held.difference_update(one.id for one, _ in self._lanes.by_endpoint.pop(gone).ready)
        for id_, endpoint in endpoints.items():
            lane = self._lanes.by_endpoint.get(id_)
            if lane is not None and lane.endpoint.version == endpoint.version:
                continue
            keys = self._opened(endpoint, [one for one in secrets if one.endpoint_id == id_])
            if lane is None:
                before = health.get(id_, Health())
                self._lanes.by_endpoint[id_] = Lane(
                    endpoint=endpoint, keys=keys, failures=before.failures, proven=before.last_success_at is not None
                )
            else:
                lane.endpoint, lane.keys = endpoint, keys
            self._lanes.look_for([id_])

    def _opened(self, endpoint: Endpoint, secrets: Sequence[SealedSecret]) -> list[tuple[Key, datetime | None]]:
        try:
            return [(service.key_of(one, endpoint, sealer=self._sealer), one.expires_at) for one in secrets]
        except (MasterKeyUnusable, SealBroken) as error:  # its deliveries wait
            log.error("webhooks.cannot_sign", endpoint=endpoint.id, reason=str(error))
            return []

    async def _sweep(self) -> None:
        async with self._database.transaction() as tx:
            await queue.sweep(tx, at=self._clock(), at_most=SWEPT_AT_ONCE)

    async def _count(self) -> None:
        async with self._database.transaction(read_only=True) as tx:
            waiting = await queue.waiting(tx)
        FAILING.set(sum(not lane.well and lane.failures > 0 for lane in self._lanes.by_endpoint.values()))
        WAITING.set(sum(count for count, _ in waiting.values()))
        now = self._clock()
        OLDEST.set(max(((now - since).total_seconds() for _, since in waiting.values()), default=0.0))

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        self._attempts.discard(attempt)
        error = None if attempt.cancelled() else attempt.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)  # a bug: whoever tends this worker is told and starts it again

    @staticmethod
    async def _watch(failed: "asyncio.Future[None]") -> None:
        await failed


async def _heard(session: Transaction, timeout_seconds: float) -> str | None:
    try:
        async for note in session.notifies(timeout=timeout_seconds, stop_after=1):
            return note.channel
    except psycopg.OperationalError as error:  # in a group it would go by that name
        raise DatabaseUnavailable("The database does not answer") from error
    return None
