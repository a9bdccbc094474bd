"""Is this process alive, is it ready, does it answer: each check touches the real thing, within a time.

A check passes, fails, or could not tell; only *passed* opens the gate.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog.ingestion import demonstration, schedule
from instrument_registry.catalog.live import Proof
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.configuration.parameters import CONFIG_SERVICE_REFRESH, CONSUMER_SILENT_DAYS
from instrument_registry.configuration.toggles import TOGGLES, overdue
from instrument_registry.database import migrations
from instrument_registry.errors import RegistryError, Unavailable
from instrument_registry.events import measures
from instrument_registry.events.audit import measures as audit
from instrument_registry.events.streams import consumers, relay_storage
from instrument_registry.events.streams.relay_storage import RelayState
from instrument_registry.http.auth import KeyRing
from instrument_registry.http.encoding import json_response
from instrument_registry.http.health_page import page, wants_page
from instrument_registry.http.openapi import describe
from instrument_registry.http.problems import problem
from instrument_registry.http.routes import needs, public, room, root
from instrument_registry.operations import maintenance, work
from instrument_registry.operations.work import WorkDoing
from instrument_registry.wiring import Registry

CHECK_TIMEOUT_SECONDS = 2.0
DISK_FREE_BYTES = 256 * 1024 * 1024
INDEX_BEHIND_SECONDS = 10.0
FACTS_WAIT_SECONDS = 30.0
RELAY_BEHIND_SECONDS = 30.0
RELAY_WAITS = (RelayState.PAUSED, RelayState.UNREACHABLE)
DEMO_WAIT_SECONDS = 120.0
AUDIT_WAIT_SECONDS = 60.0
AUDIT_UNSIGNED_SECONDS = 180.0
STARTED = time.monotonic()


class Verdict(StrEnum):
    """What a check found."""

    PASSED = "passed"
    FAILED = "failed"
    COULD_NOT_TELL = "could_not_tell"


class CheckFailed(Unavailable):
    """The thing was looked at and is not as it should be."""

    title = "A health check failed"


class NotReady(Unavailable):
    """Look at `checks` for what is missing; ask again in a moment."""

    title = "This process is not ready"


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found, how long it took, and why."""

    check: str
    verdict: Verdict
    reason: str
    duration_ms: float


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`ready`: all is well. `degraded`: requests are answered, but somebody should look at what `checks` says.

    Where the database is away that is: what is of now is read from memory, everything else is answered 503.
    """

    status: str
    checks: list[CheckReport]


Check = Callable[[Registry], Awaitable[str]]  # what it saw; Raises: CheckFailed

router = root(tag="health")
actuators = room(tag="actuators")


@router.get("/health/live", **describe(answer=Health, means="The process is alive"))
@public
async def live() -> Response:
    """Whether the process answers at all; restart it when not."""
    return json_response(Health(status="alive", checks=[]))


@router.get("/health/ready", **describe(answer=Health, means="Send requests here"))
@public
async def ready(request: Request) -> Response:
    """Whether requests should be sent here: every check passes, or only the database, which all share, is away."""
    if request.app.state.stopping:
        raise NotReady("stopping: this process ends what it has begun and takes nothing more", checks=[])
    return await _answer(request, READY)


@router.get(
    "/health",
    **describe(answer=Health, media={"text/html": {"schema": {"type": "string"}}}, means="Searches are answered"),
)
@public
async def health(request: Request) -> Response:
    """Whether searches are answered, an empty catalogue's too; a page for browsers."""
    if not wants_page(request.headers.get("accept", "")):
        return await _answer(request, ANSWERS)
    try:
        answer = await _answer(request, ANSWERS)
    except NotReady as error:
        answer = problem(request.scope, error)
    return page(bytes(answer.body), answer.status_code)


@actuators.get("/actuator/health", **describe(answer=Health, means="All is well, or `checks` says what is not"))
@needs(Scope.OPERATOR)
async def all_checks(request: Request) -> Response:
    """Every check there is."""
    return await _answer(request, READY)


async def _answer(request: Request, checks: Iterable[str]) -> Response:
    registry: Registry = request.app.state.registry
    reports = await asyncio.gather(*(run_check(name, registry) for name in (*checks, *NOTED)))
    wrong = [report for report in reports if report.verdict is not Verdict.PASSED]
    missing = [report for report in wrong if report.check not in NOTED]
    if missing and not _answers_from_memory(request, missing):
        detail = "; ".join(f"{report.check}: {report.reason}" for report in missing)
        raise NotReady(detail, checks=reports)
    status = "degraded" if wrong else "ready"
    return json_response(Health(status=status, checks=list(reports)), headers={"cache-control": "no-store"})


def _answers_from_memory(request: Request, missing: Sequence[CheckReport]) -> bool:
    """Whether the database being away is all that is wrong, and reading goes on without it.

    Every worker has the same database: to send requests nowhere would help nobody, and lose the reads.
    """
    away = [report.check for report in missing if report.verdict is Verdict.COULD_NOT_TELL]
    of_that = all(report.check in (*away, "caught_up") and report.check in ASKS_TABLES for report in missing)
    ring: KeyRing = request.app.state.key_ring
    return "database" in away and of_that and ring.trusted()


async def run_check(name: str, registry: Registry, *, timeout_seconds: float = CHECK_TIMEOUT_SECONDS) -> CheckReport:
    """Run one check within a time."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_seconds):
            verdict, reason = Verdict.PASSED, await CHECKS[name](registry)
    except CheckFailed as error:
        verdict, reason = Verdict.FAILED, str(error)
    except TimeoutError:
        verdict, reason = Verdict.COULD_NOT_TELL, f"no answer within {timeout_seconds} s"
    except (RegistryError, OSError) as error:
        verdict, reason = Verdict.COULD_NOT_TELL, str(error)
    duration_ms = round((time.perf_counter() - started) * 1000, 2)
    return CheckReport(check=name, verdict=verdict, reason=reason, duration_ms=duration_ms)


async def _database(registry: Registry) -> str:
    async with registry.database.transaction(read_only=True) as tx:
        await tx.execute("select 1")
    return "answers"


async def _migrations(registry: Registry) -> str:
    async with registry.database.transaction(read_only=True) as tx:
        row = await (await tx.execute("select max(version_num) from alembic_version")).fetchone()
    lacking = migrations.pending(row[0] if row else None)
    needed = [revision.number for revision in lacking if revision.half == "pre"]
    if needed:
        raise CheckFailed(f"migrations {', '.join(needed)} are not applied; run `instrument-registry migrate`")
    return f"at {row[0]}" if row else "nothing to apply"


async def _disk(registry: Registry) -> str:
    free_bytes = shutil.disk_usage(registry.settings.data_dir).free
    if free_bytes < DISK_FREE_BYTES:
        raise CheckFailed(f"{free_bytes // 2**20} MiB free in the data folder, {DISK_FREE_BYTES // 2**20} are needed")
    return f"{free_bytes // 2**20} MiB free"


async def _index(registry: Registry) -> str:
    view = registry.catalogue.index.view  # Raises: NotSearchable
    return f"as of {view.as_of} at position {view.position}"


async def _proved(registry: Registry) -> str:
    """An index that differs from the tables is built anew by itself; somebody should ask why it did."""
    proof, position = registry.catalogue.proof, registry.catalogue.proved_position
    if proof is Proof.DIFFERENT:
        raise CheckFailed(f"the index differed from the tables at position {position} and has been built anew")
    return f"{proof.value.replace('_', ' ')} at position {position}" if proof else "not compared with the tables yet"


async def _caught_up(registry: Registry) -> str:
    if registry.catalogue.age_seconds > INDEX_BEHIND_SECONDS:
        raise CheckFailed(f"the index has been behind the facts for {registry.catalogue.age_seconds} s")
    return f"at position {registry.catalogue.position}"


async def _facts(registry: Registry) -> str:
    """Facts can be written next month too."""
    async with registry.database.transaction(read_only=True) as tx:
        ahead = await events.months_ahead(tx)
    if ahead < 1:
        raise CheckFailed("the fact log has no room for next month; a running worker makes room by itself")
    return f"room for {ahead} months"


async def _sequenced(registry: Registry) -> str:
    """What is written is soon in order; until then nobody hears of it."""
    async with registry.database.transaction(read_only=True) as tx:
        seen = await measures.measure(tx)
    if seen.waiting_seconds > FACTS_WAIT_SECONDS:
        raise CheckFailed(f"facts have waited for {seen.waiting_seconds:.0f} s for their order: is a worker running?")
    return f"at position {seen.position}"


async def _audit(registry: Registry) -> str:
    """What is recorded is soon in the tree and signed for; until then it could be taken back unseen."""
    now = registry.clock()
    async with registry.database.transaction(read_only=True) as tx:
        seen = await audit.measure(tx, at=now)
    if seen.months_ahead < 1:
        raise CheckFailed("the audit has no room for next month: is a worker running?")
    if seen.waiting_seconds > AUDIT_WAIT_SECONDS:
        raise CheckFailed(f"records have waited for {seen.waiting_seconds:.0f} s to be sealed: is a worker running?")
    signed_long_ago = seen.last is None or (now - seen.last.at).total_seconds() > AUDIT_UNSIGNED_SECONDS
    if seen.uncovered and seen.uncovered_seconds > AUDIT_UNSIGNED_SECONDS and signed_long_ago:
        raise CheckFailed(
            f"{seen.uncovered} records have not been signed for in {seen.uncovered_seconds:.0f} s: "
            "see the worker's log, and run `instrument-registry audit verify`"
        )
    return f"{seen.last.size} records signed for" if seen.last else "nothing signed for yet"


async def _consumers(registry: Registry) -> str:
    """Somebody who asked for facts does not fetch them any more."""
    days = registry.configuration.now[CONSUMER_SILENT_DAYS]
    async with registry.database.transaction(read_only=True) as tx:
        silent = await consumers.silent(tx, days=days)
    if silent:
        raise CheckFailed(f"not heard of for {days:g} days: {', '.join(silent[:10])}; remove who will not come again")
    return "none silent"


async def _relay(registry: Registry) -> str:
    """Redis has what the log has; until it has again, whoever reads there reads the store."""
    if registry.settings.event_broker_url is None:
        return "not wanted"
    async with registry.database.transaction(read_only=True) as tx:
        relay, head = await relay_storage.get(tx), await events.head_position(tx)
    if relay.state in RELAY_WAITS:
        raise CheckFailed(f"{relay.state} since {relay.since:%Y-%m-%d %H:%M:%S} UTC: {relay.reason}")
    if head > relay.position and (registry.clock() - relay.seen_at).total_seconds() > RELAY_BEHIND_SECONDS:
        raise CheckFailed(f"at position {relay.position} of {head}: is a worker running?")
    return f"at position {relay.position}"


async def _configuration_service(registry: Registry) -> str:
    """Whether what an external configuration service said is of now."""
    external = registry.configuration.external
    if external is None:
        return "not wanted"
    well, said = external.report(refresh_seconds=float(registry.configuration.now[CONFIG_SERVICE_REFRESH]))
    if not well:
        raise CheckFailed(said)
    return said


async def _demo(registry: Registry) -> str:
    """Whoever starts with the demo waits until it can be searched, but not for ever."""
    if not registry.settings.demo:
        return "not wanted"
    async with registry.database.transaction(read_only=True) as tx:
        demo = await demonstration.state(tx)
        wanted = demo is None and await demonstration.wanted(tx)
    if demo is None and not wanted:
        return "not wanted: the catalogue is in use"
    if demo is not None and demo.status == demonstration.FAILED:
        return "not waited for: it could not be loaded"
    if demo is not None and len(registry.catalogue.index.view.columns):
        return f"{demo.status}, as of {demo.day}"
    if time.monotonic() - STARTED > DEMO_WAIT_SECONDS:
        return f"not waited for: it was not there after {DEMO_WAIT_SECONDS:g} s"
    raise CheckFailed("the demo universe is being loaded")


async def _demo_loaded(registry: Registry) -> str:
    if not registry.settings.demo:
        return "not wanted"
    async with registry.database.transaction(read_only=True) as tx:
        demo = await demonstration.state(tx)
    if demo is not None and demo.status == demonstration.FAILED:
        raise CheckFailed(f"the demo universe could not be loaded: {demo.detail}")
    return "not begun" if demo is None else demo.status


async def _mornings(registry: Registry) -> str:
    async with registry.database.transaction(read_only=True) as tx:
        schedules = await schedule.states(tx, now=registry.clock())
    mornings = [(one.broker, one.last) for one in schedules if one.last]
    missed = [
        f"{broker}: nothing applied for {last.due_at:%Y-%m-%d, due %H:%M}" for broker, last in mornings if last.missed
    ]
    if missed:
        raise CheckFailed("; ".join(missed))
    unsure = "; ".join(f"{broker}: {last.warning}" for broker, last in mornings if last.warning)
    return unsure or (f"{len(schedules)} schedules, none missed" if schedules else "no schedules")


async def _maintenance(registry: Registry) -> str:
    """Read-only on purpose is still something to know of."""
    async with registry.database.transaction(read_only=True) as tx:
        there = await maintenance.state(tx, registry.configuration.now)
    if there.on:
        raise CheckFailed(f"read-only by {there.by or there.source}: {there.reason}")
    return "off"


async def _toggles(registry: Registry) -> str:
    late = overdue(TOGGLES.values(), registry.clock().astimezone(MARKET_ZONE).date())
    if late:
        told = ", ".join(f"{one.feature} ({one.owner}, {one.expires_on})" for one in late)
        raise CheckFailed(f"overdue, to be taken out of the program: {told}")
    return f"{len(TOGGLES)} toggles, none overdue"


async def _background(registry: Registry) -> str:
    now = registry.clock()
    async with registry.database.transaction(read_only=True) as tx:
        processes = await work.processes(tx)
    if not processes:
        return "no worker process has said anything yet"
    alive = [one for one in processes if one.alive(now)]
    if not alive:
        raise CheckFailed(f"no worker process has been heard of since {processes[0].seen_at:%Y-%m-%d %H:%M:%S} UTC")
    failing = [f"{one.name}: {one.error}" for process in alive for one in process.work if one.state is WorkDoing.FAILED]
    if failing:
        raise CheckFailed("; ".join(failing))
    return f"{len(alive)} worker {'process' if len(alive) == 1 else 'processes'}"


def _condition(name: str) -> Check:
    async def check(registry: Registry) -> str:
        condition = registry.conditions.get(name)
        if condition is None:
            return "not watched by this process"
        well, said = condition()
        if not well:
            raise CheckFailed(said)
        return said

    return check


CHECKS: dict[str, Check] = {
    "features": _condition("features"), "memory": _condition("memory"), "sla": _condition("sla"),
    "database": _database, "migrations": _migrations, "index": _index, "caught_up": _caught_up, "proved": _proved,
    "facts": _facts,
    "sequenced": _sequenced, "disk": _disk, "demo": _demo, "demo_loaded": _demo_loaded, "mornings": _mornings,
    "consumers": _consumers, "relay": _relay, "audit": _audit,
    "configuration_service": _configuration_service,
    "maintenance": _maintenance, "toggles": _toggles, "background": _background,
}  # fmt: skip
READY = ("database", "migrations", "index", "caught_up", "facts", "disk", "demo")
ANSWERS = ("database", "index", "demo")
ASKS_TABLES = ("database", "migrations", "caught_up", "facts", "demo")
# A dump that did not come is somebody's to look at, and no reason to stop answering with what is there.
NOTED = (
    "features", "memory", "sla",
    "proved", "sequenced", "demo_loaded", "mornings", "consumers", "relay", "audit", "configuration_service",
    "maintenance", "toggles",
    "background",
)  # fmt: skip
