"""Deliveries made by hand: a ping, one delivery once more, or many events of a range."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from instrument_registry.database import Transaction
from instrument_registry.events import service as log
from instrument_registry.events import wire
from instrument_registry.events.model import Event, Metadata
from instrument_registry.events.streams import positions
from instrument_registry.events.webhooks import queue, storage
from instrument_registry.events.webhooks.addresses import origin
from instrument_registry.events.webhooks.events import (
    WebhookDeliveryRerun,
    WebhookPinged,
    WebhookReplayCancelled,
    WebhookReplayStarted,
)
from instrument_registry.events.webhooks.model import (
    PING,
    Delivery,
    DeliveryWaits,
    Endpoint,
    EndpointRefused,
    Replay,
    ReplayEnded,
    ReplayStatus,
)
from instrument_registry.events.webhooks.service import tell

RANGE_MAX = 1_000_000  # positions that one replay looks through
COUNTED_AT_ONCE = 20_000
REASON_CHARACTERS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which events are meant: positions from the first to the last, of some types, about some instruments."""

    first: int
    last: int
    event_types: tuple[str, ...] = (wire.EVERYTHING,)
    instruments: tuple[str, ...] = ()

    def check(self) -> None:
        """See that this can be asked; Raises: EndpointRefused, BadFilter."""
        if self.first < 1 or self.last < self.first:
            problem = "A range goes from a position, 1 or later, to one that is not before it"
            raise EndpointRefused(problem, field="first_position", value=self.first)
        if self.last - self.first >= RANGE_MAX:
            raise EndpointRefused(f"A replay looks through {RANGE_MAX:,} positions at most", field="last_position")
        wire.check_filters(self.event_types, field="event_types")

    def holds(self, event: Event, endpoint: Endpoint) -> bool:
        """Whether an event is meant and the endpoint wants it."""
        return (
            endpoint.sends(event.type) is not None
            and (endpoint.wanted.bulk or not event.append.bulk)
            and wire.sent_as(event.type, self.event_types) is not None
            and all(not some or event.subject in some for some in (self.instruments, endpoint.wanted.instruments))
        )


async def ping(tx: Transaction, endpoint: int, *, metadata: Metadata, at: datetime) -> Delivery:
    """Have an endpoint tried with a message of its own kind; Raises: NoSuchEndpoint."""
    found = await storage.find(tx, endpoint)
    made = await queue.add(tx, endpoint, uuid.uuid4(), type_=PING, at=at)
    fact = WebhookPinged(occurred_at=at, endpoint=endpoint, url=origin(found.wanted.url))
    await tell(tx, found, fact, metadata=metadata)
    return made


async def rerun(tx: Transaction, endpoint: int, delivery: int, *, metadata: Metadata, at: datetime) -> Delivery:
    """Make a delivery that has ended due once more, from the first step of the schedule.

    Raises: NoSuchEndpoint, NoSuchDelivery, DeliveryWaits.
    """
    found = await storage.find(tx, endpoint)
    await queue.find(tx, endpoint, delivery)
    again = await queue.again(tx, endpoint, delivery, at=at)
    if again is None:
        raise DeliveryWaits(f"The delivery {delivery} has not ended yet", delivery=delivery)
    fact = WebhookDeliveryRerun(
        occurred_at=at, endpoint=endpoint, url=origin(found.wanted.url), delivery=delivery,
        event_id=str(again.event_id),
    )  # fmt: skip
    await tell(tx, found, fact, metadata=metadata)
    return again


async def range_between(
    tx: Transaction, *, since: datetime, until: datetime | None, event_types: Sequence[str], instruments: Sequence[str]
) -> Range:
    """The range of what was recorded from an instant to another, to now where none is given.

    Raises: EndpointRefused when it is empty.
    """
    head = await log.head_position(tx)
    first = await positions.first_at(tx, since)
    last = head if until is None else min(await positions.last_at(tx, until), head)
    if first is None or last < first:
        raise EndpointRefused("Nothing was recorded between these instants", field="since", value=since.isoformat())
    return Range(first=first, last=last, event_types=tuple(event_types), instruments=tuple(instruments))


async def count(tx: Transaction, endpoint: int, wanted: Range) -> int:
    """How many events a replay would send; Raises: NoSuchEndpoint, EndpointRefused, Archived."""
    wanted.check()
    found = await storage.find(tx, endpoint)
    total, after = 0, wanted.first - 1
    while after < wanted.last:
        limit = min(COUNTED_AT_ONCE, wanted.last - after)
        page = await log.read(tx, after=after, limit=limit, bulk=found.wanted.bulk)
        if page.position == after:
            break
        total, after = total + sum(wanted.holds(event, found) for event in page.events), page.position
    return total


async def replay(
    tx: Transaction, endpoint: int, wanted: Range, *, reason: str, metadata: Metadata, at: datetime
) -> Replay:
    """Send the events of a range once more, in the background.

    Raises: NoSuchEndpoint, EndpointRefused, Archived.
    """
    wanted.check()
    if not 1 <= len(reason.strip()) <= REASON_CHARACTERS:
        raise EndpointRefused(f"Say why, in 1 to {REASON_CHARACTERS} characters", field="reason")
    found = await storage.find(tx, endpoint)
    await positions.ensure_readable(tx, wanted.first)
    begun = await queue.begin_replay(
        tx, endpoint, first=wanted.first, last=wanted.last, event_types=wanted.event_types,
        instruments=wanted.instruments, reason=reason.strip(), actor=metadata.actor,
        correlation_id=metadata.correlation_id, at=at,
    )  # fmt: skip
    fact = WebhookReplayStarted(
        occurred_at=at, endpoint=endpoint, url=origin(found.wanted.url), replay=begun.id, first_position=wanted.first,
        last_position=wanted.last, event_types=list(wanted.event_types), reason=begun.reason,
    )  # fmt: skip
    await tell(tx, found, fact, metadata=metadata)
    return begun


async def cancel(
    tx: Transaction, endpoint: int, replay: int, *, reason: str | None, metadata: Metadata, at: datetime
) -> Replay:
    """Stop a replay: what of it still waits is not sent; Raises: NoSuchEndpoint, NoSuchReplay, ReplayEnded."""
    found = await storage.find(tx, endpoint)
    before = await queue.find_replay(tx, endpoint, replay, locked=True)
    if before.status is ReplayStatus.CANCELLED or (
        before.status is ReplayStatus.DONE and not await queue.waiting_of_replay(tx, before)
    ):
        raise ReplayEnded(f"The replay {replay} is {before.status}", replay=replay)
    after = replace(before, status=ReplayStatus.CANCELLED, finished_at=at)
    await queue.save_replay(tx, after)
    await queue.cancel_replay(tx, after, at=at)
    fact = WebhookReplayCancelled(
        occurred_at=at, endpoint=endpoint, url=origin(found.wanted.url), replay=replay, reason=reason
    )
    await tell(tx, found, fact, metadata=metadata)
    return after
