"""Make a plan live: by compare-and-set, with every step that tickers take, in one transaction."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from instrument_registry import events
from instrument_registry.catalog.ulid import ulids
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.capacity import service as capacity
from instrument_registry.subscriptions.capacity.standing import AccountStanding, Standing
from instrument_registry.subscriptions.frames import CODECS, Act, Frame, Operation, ordered
from instrument_registry.subscriptions.frames.pacing import paced, within
from instrument_registry.subscriptions.planner.model import NOWHERE
from instrument_registry.subscriptions.plans import measures, question, storage
from instrument_registry.subscriptions.plans.carrying import Load, Socket, apart, loads_of
from instrument_registry.subscriptions.plans.content import Content, packed
from instrument_registry.subscriptions.plans.deltas import Bound, Item, Step, delta
from instrument_registry.subscriptions.plans.events import PlanApplied, PlanExpired, PlanSuperseded
from instrument_registry.subscriptions.plans.model import (
    NothingBefore,
    OtherPlanLive,
    PlanNotValid,
    PlanRow,
    Status,
    no_such,
)
from instrument_registry.subscriptions.plans.moments import Memory
from instrument_registry.subscriptions.plans.planning import STREAM

FORGOTTEN_AFTER = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What making a plan live has led to."""

    plan: PlanRow
    previous: str | None
    steps: Mapping[str, int]
    positions: Mapping[str, int]
    added: int
    removed: int
    changed: int


async def apply(
    tx: Transaction,
    memory: Memory,
    plan_id: str,
    *,
    expected_live: str | None,
    metadata: Metadata,
    at: datetime,
    reason: str,
) -> Applied:
    """Make a plan live that was made for what is live now.

    Raises: NoSuchPlan, PlanNotValid, OtherPlanLive (its facts say `live_plan`).
    """
    now = await storage.live(tx, locked=True)
    plan = await storage.plan(tx, plan_id)
    if plan is None:
        raise no_such(plan_id)
    if now.plan_id != expected_live or plan.live_plan != now.plan_id:
        raise OtherPlanLive(
            f"Live is {now.plan_id or 'no plan'}; the plan was made for {plan.live_plan or 'none'}, and you expected"
            f" {expected_live or 'none'}",
            live_plan=now.plan_id,
        )
    if plan.status is not Status.VALIDATED:
        raise PlanNotValid(f"The plan is {plan.status}, and only a validated one can be applied", status=plan.status)
    content = await memory.content(tx, plan_id)
    if content is None:
        raise no_such(plan_id)
    return await _go_live(tx, memory, plan, content, now.plan_id, metadata=metadata, at=at, reason=reason)


async def roll_back(
    tx: Transaction,
    memory: Memory,
    *,
    expected_live: str | None,
    metadata: Metadata,
    at: datetime,
    reason: str,
    chance: bytes,
) -> Applied:
    """Put the plan before the live one back, without what has ended since; nothing is applied by itself from then on.

    It becomes a plan of its own. Raises: NothingBefore, OtherPlanLive.
    """
    now = await storage.live(tx, locked=True)
    if expected_live is not None and now.plan_id != expected_live:
        raise OtherPlanLive(f"Live is {now.plan_id or 'no plan'}", live_plan=now.plan_id)
    if now.previous_id is None or now.plan_id is None:
        raise NothingBefore("There is no plan before the live one that is still kept")
    previous, content = await storage.plan(tx, now.previous_id), await memory.content(tx, now.previous_id)
    if previous is None or content is None:
        raise NothingBefore("The plan before the live one is no longer kept")
    standing = await capacity.standing(tx, at=at)
    content = await _still_there(tx, memory, content, standing, at=at)
    row = replace(
        previous, id=ulids(1, at=at, chance=chance)[0], status=Status.VALIDATED, live_plan=now.plan_id,
        based_on=previous.id, actor=metadata.actor, correlation_id=metadata.correlation_id, made_at=at, expires_at=at,
        held_because=None, applied_at=None, superseded_at=None,
    )  # fmt: skip
    await storage.add_plan(tx, row, packed(content))
    held = f"rolled back by {metadata.actor}: {reason}"
    return await _go_live(tx, memory, row, content, now.plan_id, metadata=metadata, at=at, reason=reason, held=held)


async def clean_up(tx: Transaction, *, metadata: Metadata, at: datetime) -> tuple[list[str], list[str]]:
    """Plans that waited too long expire, old ones are forgotten, never the live one nor the one before it."""
    expired = await storage.expire(tx, at=at)
    for start in range(0, len(expired), 500):
        facts = [PlanExpired(plan_id=one, occurred_at=at) for one in expired[start : start + 500]]
        await events.append(tx, *facts, stream=STREAM, metadata=metadata)
    return expired, await storage.forget(tx, before=at - FORGOTTEN_AFTER)


async def _go_live(
    tx: Transaction,
    memory: Memory,
    plan: PlanRow,
    content: Content,
    previous: str | None,
    *,
    metadata: Metadata,
    at: datetime,
    reason: str,
    held: str | None = None,
) -> Applied:
    standing = await capacity.standing(tx, at=at)
    before_content = None if previous is None else await memory.content(tx, previous)
    before = {} if before_content is None else loads_of(before_content)
    steps = delta(before, loads_of(content), bounds_of(content))
    heads = await storage.heads(tx)
    known = content.called if before_content is None else before_content.called | content.called
    rows = _rows(steps, heads, known, standing, plan_id=plan.id, at=at)
    positions = {account: heads.get(account, 0) + len(mine) for account, mine in steps.items()}
    await storage.add_deltas(tx, rows)
    if positions:
        await storage.put_heads(tx, positions)
    await storage.become(tx, plan.id, Status.APPLIED, at=at)
    if previous is not None:
        await storage.become(tx, previous, Status.SUPERSEDED, at=at)
    await storage.make_live(tx, plan.id, previous=previous, held_because=held, at=at)
    counts = {act: sum(len(step.items) for mine in steps.values() for step in mine if step.act is act) for act in Act}
    applied = Applied(
        plan=plan, previous=previous, positions=positions,
        steps={account: len(mine) for account, mine in steps.items()},
        added=counts[Act.ADD], removed=counts[Act.REMOVE], changed=counts[Act.MODE],
    )  # fmt: skip
    fact = PlanApplied(
        plan_id=plan.id, previous=previous, based_on=plan.based_on, steps=dict(applied.steps), positions=positions,
        added=applied.added, removed=applied.removed, changed=applied.changed, reason=reason, occurred_at=at,
    )  # fmt: skip
    superseded = [] if previous is None else [PlanSuperseded(plan_id=previous, by=plan.id, occurred_at=at)]
    await events.append(tx, fact, *superseded, stream=STREAM, metadata=metadata)
    measures.applied(plan)
    return applied


def bounds_of(content: Content) -> dict[Socket, Bound]:
    """What each connection may carry in the use that a plan gives it."""
    found = {}
    uses = iter(content.plan.uses)
    for account in content.problem.accounts:
        for one in account.connections:
            found[Socket(account.id, one.id)] = Bound(account=account, use=one.uses[next(uses)], alive=one.alive)
    return found


def frames_of(items: Sequence[Item], act: Act, account: AccountStanding | None) -> list[dict[str, object]]:
    """The messages of a step, exactly as they go over the socket; none for a broker whose socket we do not speak.

    `not_before_ms`: how long after the first of them a message may go at the earliest, where the broker bounds that.
    """
    if account is None or account.broker not in CODECS:
        return []
    operations = []
    for item in items:
        segment, token = apart(item.name)
        operations.append(Operation(act=act, token=token, segment=segment, mode=item.mode, before=item.before))
    made = within(CODECS[account.broker], ordered(operations), account.frame)
    return [_frame(one.frame, one.not_before_ms) for one in paced(made, account.frame)]


def _frame(one: Frame, not_before_ms: int) -> dict[str, object]:
    payload = {"base64": base64.b64encode(one.payload).decode()} if one.binary else {"text": one.payload.decode()}
    waits = {"not_before_ms": not_before_ms} if not_before_ms else {}
    return {**payload, "instruments": one.instruments, **waits}


def listed(items: Sequence[Item], known: Mapping[int, tuple[str, str]]) -> list[dict[str, object]]:
    """Items as tickers read them."""
    told = []
    for item in items:
        ulid, key = known.get(item.instrument, ("", ""))
        segment, token = apart(item.name)
        one: dict[str, object] = {
            "instrument_id": ulid, "key": key, "segment": segment, "token": token, "mode": item.mode.name.lower(),
        }  # fmt: skip
        if item.before is not None and item.before is not item.mode:
            one["before"] = item.before.name.lower()
        told.append(one)
    return told


def items_of(load: Load) -> list[Item]:
    """All that a connection carries."""
    return [Item(number, one.name, one.mode) for number, one in sorted(load.items())]


def _rows(
    steps: Mapping[str, Sequence[Step]],
    heads: Mapping[str, int],
    known: Mapping[int, tuple[str, str]],
    standing: Standing,
    *,
    plan_id: str,
    at: datetime,
) -> list[storage.DeltaRow]:
    accounts = {one.account.id: one for one in standing.accounts}
    rows = []
    for account, mine in steps.items():
        for number, step in enumerate(mine):
            content = {
                "items": listed(step.items, known), "frames": frames_of(step.items, step.act, accounts.get(account)),
            }  # fmt: skip
            after = None if step.after is None else heads.get(step.after[0], 0) + step.after[1] + 1
            rows.append(
                storage.DeltaRow(
                    account=account, position=heads.get(account, 0) + number + 1, plan_id=plan_id,
                    connection=step.socket.connection, act=step.act.value, items=storage.deflated(content),
                    item_count=len(step.items), digest_before=step.digest_before, digest_after=step.digest_after,
                    after_account=None if step.after is None else step.after[0], after_position=after,
                    breaks=step.breaks, at=at,
                )
            )  # fmt: skip
    return rows


async def _still_there(
    tx: Transaction, memory: Memory, content: Content, standing: Standing, *, at: datetime
) -> Content:
    """An old plan without what has ended since, on connections that still live, under the names of now."""
    alive = {
        Socket(one.account.id, connection.id): one
        for one in standing.accounts
        for connection in one.account.connections
        if connection.alive
    }
    sockets = [Socket(*one) for one in content.sockets]
    rows = await memory.rows(tx, content.problem.ids.tolist(), standing, at=at)
    columns = []
    for places in (content.at, content.second):
        kept, names = places.copy(), []
        for place, connection in enumerate(places.tolist()):
            row = rows.get(int(content.problem.ids[place]))
            account = alive.get(sockets[connection]) if connection != NOWHERE else None
            there = row is not None and account is not None and question.lives(row, at=at)
            name = question.name_of(row, account) if there and row is not None and account is not None else None
            if name is None:
                kept[place] = NOWHERE
            names.append(name or "")
        columns.append((kept, names))
    (first, names), (second, others) = columns
    plan = replace(content.plan, at=np.asarray(first), second=np.asarray(second))
    return replace(content, plan=plan, names=names, second_names=others)
