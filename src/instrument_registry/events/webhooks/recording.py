"""What came of attempts, kept; and what follows from it for endpoints: warned, disabled, or well again."""

from collections.abc import Sequence
from datetime import datetime

from instrument_registry.database import Database, Transaction
from instrument_registry.events.model import Metadata
from instrument_registry.events.webhooks import queue, service, storage
from instrument_registry.events.webhooks.addresses import origin
from instrument_registry.events.webhooks.events import WebhookEndpointWarned
from instrument_registry.events.webhooks.model import (
    GONE,
    Attempt,
    Delivery,
    DeliveryStatus,
    EndpointState,
    Health,
    NoSuchEndpoint,
    Plan,
    is_success,
)
from instrument_registry.events.webhooks.queue import Outcome
from instrument_registry.events.webhooks.sending import Answer

DELIVERER = Metadata(actor="webhooks", correlation_id="webhooks", source="deliverer")


def judged(
    delivery: Delivery, answer: Answer, plan: Plan, *, url: str, body_bytes: int, at: datetime, chance: float
) -> Outcome:
    """How a delivery stands after an attempt: taken, to be tried again, or given up."""
    attempt = Attempt(
        number=delivery.attempts + 1, at=at, url=url, body_bytes=body_bytes, answer=answer.status,
        problem=answer.problem, duration_ms=answer.duration_ms,
    )  # fmt: skip
    status, step, due_at = DeliveryStatus.FAILED, delivery.step, None
    wait = None if answer.status == GONE else plan.wait_after(delivery.step, chance=chance)
    if answer.taken:
        status = DeliveryStatus.DELIVERED
    elif wait is not None:
        asked = plan.asked_to_wait(answer.retry_after_seconds or 0.0)
        status, step, due_at = DeliveryStatus.WAITING, step + 1, at + max(wait, asked)
    return Outcome(delivery=delivery, status=status, step=step, due_at=due_at, attempt=attempt)


def unsendable(delivery: Delivery, problem: str, *, at: datetime) -> Outcome:
    """How a delivery stands of which there is nothing to send: given up, and the endpoint is not to blame."""
    attempt = Attempt(
        number=delivery.attempts + 1, at=at, url="", body_bytes=0, answer=None, problem=problem, duration_ms=0
    )  # fmt: skip
    return Outcome(delivery=delivery, status=DeliveryStatus.FAILED, step=delivery.step, due_at=None, attempt=attempt)


async def record(database: Database, outcomes: Sequence[Outcome], plan: Plan, *, at: datetime) -> bool:
    """Keep outcomes in one transaction; whether an endpoint was disabled by them."""
    async with database.transaction() as tx:
        await queue.record(tx, outcomes)
        health = await storage.note_health(tx, _by_endpoint(outcomes))
        gone = {one.delivery.endpoint_id for one in outcomes if one.attempt.answer == GONE}
        disabled = False
        for endpoint in sorted(health):
            if endpoint in gone:
                await _disable(tx, endpoint, reason="It answered 410: it is gone for good", at=at)
                disabled = True
            elif await _heed(tx, endpoint, health[endpoint], plan, at=at):
                disabled = True
    return disabled


async def _heed(tx: Transaction, endpoint: int, health: Health, plan: Plan, *, at: datetime) -> bool:
    percent = plan.given_up_percent(health, at=at)
    if percent >= 100 and health.failing_since is not None:
        since = f"{health.failing_since:%Y-%m-%d %H:%M} UTC"
        await _disable(tx, endpoint, reason=f"Nothing was taken since {since}, in {health.failures} attempts", at=at)
        return True
    reached = max((mark for mark in plan.warned_at_percent if mark <= percent), default=0)
    if reached > health.warned_percent and health.failing_since is not None:
        await storage.note_warning(tx, endpoint, reached)
        found = await storage.find(tx, endpoint)
        fact = WebhookEndpointWarned(
            occurred_at=at, endpoint=endpoint, url=origin(found.wanted.url), percent=reached,
            failing_since=health.failing_since.isoformat(), failures=health.failures,
        )  # fmt: skip
        await service.tell(tx, found, fact, metadata=DELIVERER)
    return False


async def _disable(tx: Transaction, endpoint: int, *, reason: str, at: datetime) -> None:
    try:
        if (await storage.find(tx, endpoint)).state is EndpointState.ACTIVE:
            await service.disable(tx, endpoint, reason=reason, metadata=DELIVERER, at=at)
    except NoSuchEndpoint:  # somebody deleted it while this was under way
        return


def _by_endpoint(outcomes: Sequence[Outcome]) -> dict[int, tuple[datetime | None, datetime | None, int]]:
    found: dict[int, tuple[datetime | None, datetime | None, int]] = {}
    for one in outcomes:
        if not one.attempt.url:
            continue
        success, failure, failures = found.get(one.delivery.endpoint_id, (None, None, 0))
        if one.attempt.answer is not None and is_success(one.attempt.answer):
            success = one.attempt.at
        else:
            failure, failures = failure or one.attempt.at, failures + 1
        found[one.delivery.endpoint_id] = success, failure, failures
    return found
