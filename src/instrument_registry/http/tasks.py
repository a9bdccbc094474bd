"""Background work: what each piece is for, what it does now, how its last turn went, and having one at once."""

from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.http.actuators import ReasonBody
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.routes import needs, room
from instrument_registry.operations import work
from instrument_registry.operations.work import (
    Asking,
    UnknownWork,
    WorkDoing,
    WorkNotPeriodic,
    WorkNotThere,
    WorkProcess,
    WorkState,
)
from instrument_registry.wiring import Registry


class TaskShown(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of background work in one process; with turns, `next_at` says when the next one is due.

    Work without turns goes on all the time: `began_at` says since when. `asked_at` says when a turn was last asked for
    at once, by whom, and when some process took it.
    """

    name: str
    process: str
    does: str
    state: WorkDoing
    off_by: str | None
    periodic: bool
    began_at: datetime | None
    ended_at: datetime | None
    duration_seconds: float | None
    turns: int
    next_at: datetime | None
    failures: int
    error: str | None
    error_at: datetime | None
    asked_at: datetime | None
    asked_by: str | None
    taken_at: datetime | None


class TaskProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that does background work; one that is not alive has not been heard of for a while."""

    process: str
    alive: bool
    started_at: datetime
    seen_at: datetime


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """All background work of all processes as they said last: at once when it matters, else four times a minute."""

    processes: list[TaskProcess]
    tasks: list[TaskShown]


class TaskAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that some process will have in a moment; asked again before that, it is the same one."""

    name: str
    number: int


router = room(tag="actuators")


@router.get("/actuator/tasks", **describe(answer=TaskList, means="Background work"))
@needs(Scope.OPERATOR)
async def list_tasks(request: Request) -> Response:
    """What background work is doing, in every process."""
    registry: Registry = request.app.state.registry
    now = registry.clock()
    async with registry.database.transaction(read_only=True) as tx:
        processes, asked = await work.processes(tx), await work.asked(tx)
    tasks = [_task(process, state, asked.get(state.name)) for process in processes for state in process.work]
    shown = [
        TaskProcess(process=one.process, alive=one.alive(now), started_at=one.started_at, seen_at=one.seen_at)
        for one in processes
    ]
    return json_response(TaskList(processes=shown, tasks=tasks), headers={"cache-control": "no-store"})


@router.post(
    "/actuator/tasks/{name}/run",
    **describe(
        body=ReasonBody, answer=TaskAsked, status=202, means="It will be done",
        problems=(UnknownWork, WorkNotPeriodic, WorkNotThere),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def run_task(request: Request) -> Response:
    """Let work that has turns have one now, in whichever process comes first."""
    registry: Registry = request.app.state.registry
    name, asked = named(request.scope, "name"), await read_json(request, ReasonBody)
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        number = await work.ask(tx, name, reason=asked.reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    return json_response(TaskAsked(name=name, number=number), 202)


def _task(process: WorkProcess, state: WorkState, asking: Asking | None) -> TaskShown:
    return TaskShown(
        process=process.process,
        asked_at=asking.at if asking else None,
        asked_by=asking.actor if asking else None,
        taken_at=asking.taken_at if asking and asking.taken == asking.number else None,
        **msgspec.structs.asdict(state),
    )
