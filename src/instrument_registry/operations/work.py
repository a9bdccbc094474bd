"""Background work as every process sees it: what each worker process says of its own, what is asked of one of them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from psycopg.rows import class_row
from rapidfuzz.process import extractOne

from instrument_registry import events
from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict, Invalid, Unavailable
from instrument_registry.events import Metadata
from instrument_registry.operations.events import STREAM, WorkAsked

GONE_AFTER = timedelta(seconds=45)
FORGOTTEN_AFTER = timedelta(days=1)
ERROR_CHARACTERS = 500

SAY = """
insert into background_processes (process, started_at, seen_at, work)
values (%(process)s, %(started_at)s, %(at)s, %(work)s)
    on conflict (process) do update set seen_at = excluded.seen_at, work = excluded.work
"""

ASK = """
insert into work_asked (work, number, actor, at) values (%(work)s, 1, %(actor)s, %(at)s)
    on conflict (work) do update
       set number = case when work_asked.taken < work_asked.number then work_asked.number
                         else work_asked.number + 1 end,
           actor = excluded.actor, at = excluded.at
returning number
"""

TAKE = """
update work_asked set taken = number, taken_by = %(process)s, taken_at = %(at)s
 where work = any(%(names)s) and taken < number returning work
"""


class UnknownWork(Invalid):
    """Choose the name it says is nearest, or list them."""

    title = "There is no such background work"


class WorkNotPeriodic(Conflict):
    """It works all the time: there is no turn that could be brought forward."""

    title = "This work has no turns"


class WorkNotThere(Unavailable):
    """Start a worker process, then ask again; the log says why one ended."""

    title = "No worker process runs"


class WorkDoing(StrEnum):
    """What background work is doing."""

    WORKING = "working"
    WAITING = "waiting"  # for its next turn
    PAUSED = "paused"  # by maintenance
    OFF = "off"  # by a toggle
    FAILED = "failed"  # to be started again in a moment
    FINISHED = "finished"  # for good: there was nothing more to do


class WorkState(msgspec.Struct, kw_only=True):
    """One piece of background work in one process: what it is for, what it does now, how its last turn went."""

    name: str
    does: str
    state: WorkDoing = WorkDoing.WORKING
    periodic: bool = False
    began_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: float | None = None
    turns: int = 0
    next_at: datetime | None = None
    failures: int = 0
    error: str | None = None
    error_at: datetime | None = None
    off_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkProcess:
    """A process that does background work, and what it said last."""

    process: str
    started_at: datetime
    seen_at: datetime
    work: list[WorkState]

    def alive(self, now: datetime) -> bool:
        """Whether it has been heard of lately."""
        return now - self.seen_at < GONE_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Work that somebody wanted done at once."""

    work: str
    number: int
    actor: str
    at: datetime
    taken: int
    taken_by: str | None
    taken_at: datetime | None


async def say(tx: Transaction, process: str, work: Iterable[WorkState], *, started_at: datetime, at: datetime) -> None:
    """Let everybody know what a process's work is doing; who has not been heard of for a day is forgotten."""
    text = msgspec.json.encode(list(work)).decode()
    await tx.execute(SAY, {"process": process, "started_at": started_at, "at": at, "work": text})
    await tx.execute("delete from background_processes where seen_at < %s", (at - FORGOTTEN_AFTER,))


async def leave(tx: Transaction, process: str) -> None:
    """A process ends as it should: it is not missed."""
    await tx.execute("delete from background_processes where process = %s", (process,))


async def processes(tx: Transaction) -> list[WorkProcess]:
    """Every process with background work, the one heard of last first."""
    rows = await (
        await tx.execute(
            "select process, started_at, seen_at, work::text from background_processes order by seen_at desc, process"
        )
    ).fetchall()
    return [
        WorkProcess(
            process=process, started_at=started_at, seen_at=seen_at,
            work=msgspec.json.decode(work, type=list[WorkState]),
        )
        for process, started_at, seen_at, work in rows
    ]  # fmt: skip


async def asked(tx: Transaction) -> dict[str, Asking]:
    """What was wanted done at once last, by work."""
    async with tx.cursor(row_factory=class_row(Asking)) as cursor:
        await cursor.execute("select work, number, actor, at, taken, taken_by, taken_at from work_asked")
        return {one.work: one for one in await cursor.fetchall()}


async def ask(tx: Transaction, name: str, *, reason: str, metadata: Metadata, at: datetime) -> int:
    """Let work be done now, once: asked again before it was, it is the same turn; its number.

    Raises: UnknownWork, WorkNotPeriodic, WorkNotThere.
    """
    there = [one for one in await processes(tx) if one.alive(at)]
    if not there:
        raise WorkNotThere("No worker process has been heard of lately, so nobody could do it")
    known = {state.name: state for one in there for state in one.work}
    if name not in known:
        near = extractOne(name[:200], sorted(known), score_cutoff=50)
        remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(known))}"
        raise UnknownWork(f"There is no work {name[:100]!r}. {remedy}", field="name", value=name[:100], remedy=remedy)
    if not known[name].periodic:
        periodic = ", ".join(sorted(one for one, state in known.items() if state.periodic))
        raise WorkNotPeriodic(f"{name} works all the time; those with turns are {periodic}", work=name)
    row = await (await tx.execute(ASK, {"work": name, "actor": metadata.actor, "at": at})).fetchone()
    assert row is not None
    told = WorkAsked(work=name, number=int(row[0]), reason=reason, occurred_at=at)
    await events.append(tx, told, stream=STREAM, metadata=metadata)
    return int(row[0])


async def waiting_for(tx: Transaction, names: Collection[str]) -> list[str]:
    """Which of some work is wanted now."""
    rows = await (
        await tx.execute("select work from work_asked where work = any(%s) and taken < number", (list(names),))
    ).fetchall()
    return [work for (work,) in rows]


async def take(tx: Transaction, names: Collection[str], *, process: str, at: datetime) -> list[str]:
    """Which of some work this process shall do now; no other will."""
    rows = await (await tx.execute(TAKE, {"names": list(names), "process": process, "at": at})).fetchall()
    return [work for (work,) in rows]
