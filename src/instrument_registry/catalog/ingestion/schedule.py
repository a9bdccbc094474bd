"""When each broker's dump is fetched by itself: on sessions, again while the morning lasts, and missed out loud."""

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

from croniter import CroniterError, croniter  # type: ignore[import-untyped]
from psycopg.rows import class_row

from instrument_registry import events
from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.calendars import CalendarUnknown, calendar_of
from instrument_registry.catalog.events import ScheduleRemoved, ScheduleSet
from instrument_registry.catalog.ingestion import jobs
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.database import Transaction
from instrument_registry.errors import Invalid, NotFound

CRON_FIELDS = 5
CRON_CHARACTERS = 100
GRACE_MINUTES = 60  # where nobody says otherwise
# Waits between tries of one morning; after the last one an operator has to look.
RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (2, 5, 10, 20, 30, 30, 30))
# A due time further back is history: nobody fetches yesterday's dump today.
MORNING = timedelta(hours=6)
DUE_TIMES_MAX = 400
EVERY_DAY = frozenset({"bybit"})

COLUMNS = "broker, cron, venue, grace_minutes, paused, actor, changed_at"

SAVE = f"""
insert into schedules ({COLUMNS}) values
       (%(broker)s, %(cron)s, %(venue)s, %(grace)s, %(paused)s, %(actor)s, %(at)s)
    on conflict (broker) do update set cron = excluded.cron, venue = excluded.venue, grace_minutes = excluded.grace_minutes,
       paused = excluded.paused, actor = excluded.actor, changed_at = excluded.changed_at
returning {COLUMNS}
"""

DONE = """
select 1 from ingestions where broker = %(broker)s and market_date >= %(day)s and status in ('applied', 'unchanged') limit 1
"""

# A dump that was kept out waits for an operator: fetching it again would not change its mind.
HELD = """
select 1 from ingestions where broker = %(broker)s and market_date >= %(day)s and status in ('quarantined', 'refused')
   and started_at >= %(due)s limit 1
"""

LAST_ATTEMPT = """
select a.attempt, j.status, coalesce(j.finished_at, j.created_at) from schedule_attempts a join jobs j on j.id = a.job_id
 where a.broker = %(broker)s and a.due_at = %(due)s order by a.attempt desc limit 1
"""

ATTEMPT = (
    "insert into schedule_attempts (broker, due_at, attempt, job_id) values (%(broker)s, %(due)s, %(attempt)s, %(job)s)"
)


class NoSchedule(NotFound):
    """Set one first."""

    title = "The broker has no schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When one broker's dump is fetched; `cron` has five fields, read in the market's time zone."""

    broker: str
    cron: str
    venue: str | None  # whose sessions count; null: every day
    grace_minutes: int  # after the due time, until the morning counts as missed
    paused: bool
    actor: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Morning:
    """How the last due fetching of a schedule went."""

    due_at: datetime
    done: bool
    missed: bool  # due, past its grace, and nothing applied
    warning: str | None  # why it is only assumed that the day trades


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState(Schedule):
    """A schedule, when it is due next, and how the last due time went."""

    next_due: datetime | None  # null while it is paused, and where it is never due
    last: Morning | None  # null while it is paused, and before the first due time


def check(broker: str, cron: str, *, venue: str | None, grace_minutes: int) -> None:
    """See that a schedule makes sense; Raises: Invalid."""
    if broker not in BROKERS:
        raise Invalid(
            f"{broker} is not a known broker; known are {', '.join(sorted(BROKERS))}", field="broker", value=broker
        )
    if not BROKERS[broker].sources:
        raise Invalid(f"{broker} has no public address to fetch from", field="broker", value=broker)
    if len(cron) > CRON_CHARACTERS or len(cron.split()) != CRON_FIELDS or not croniter.is_valid(cron):
        raise Invalid(
            "A cron expression has five fields: minute hour day month weekday",
            field="cron",
            value=cron[:CRON_CHARACTERS],
        )
    if venue is not None:
        try:
            calendar_of(venue)
        except CalendarUnknown as error:
            raise Invalid(str(error), field="venue", value=venue) from error
    if not 1 <= grace_minutes <= 1440:
        raise Invalid("Grace lasts 1 to 1440 minutes", field="grace_minutes", value=grace_minutes)


def usual_venue(broker: str) -> str | None:
    """Whose sessions a broker's dump follows, where nobody says otherwise."""
    return None if broker in EVERY_DAY else "NSE"


def trades(schedule: Schedule, day: date) -> tuple[bool, str | None]:
    """Whether a day counts, and a warning where the calendar does not say: then it counts."""
    if schedule.venue is None:
        return True, None
    try:
        return calendar_of(schedule.venue).is_session(day), None
    except CalendarUnknown as error:
        return True, f"{error}; it is taken for a session"


def last_due(schedule: Schedule, *, now: datetime) -> tuple[datetime, str | None] | None:
    """The latest due time on a session since the schedule was set, with a warning where the calendar does not say."""
    times = croniter(schedule.cron, now.astimezone(MARKET_ZONE) + timedelta(microseconds=1))
    for _ in range(DUE_TIMES_MAX):
        try:
            due: datetime = times.get_prev(datetime)
        except CroniterError:  # never due
            return None
        if due < schedule.changed_at:
            return None
        counts, warning = trades(schedule, due.date())
        if counts:
            return due, warning
    return None


def next_due(schedule: Schedule, *, now: datetime) -> datetime | None:
    """The next time on a session, as far as the calendar says."""
    times = croniter(schedule.cron, now.astimezone(MARKET_ZONE))
    for _ in range(DUE_TIMES_MAX):
        try:
            due: datetime = times.get_next(datetime)
        except CroniterError:
            return None
        if trades(schedule, due.date())[0]:
            return due
    return None


async def save(
    tx: Transaction,
    broker: str,
    cron: str,
    *,
    venue: str | None,
    grace_minutes: int,
    paused: bool,
    metadata: events.Metadata,
    at: datetime,
) -> Schedule:
    """Set a broker's schedule in place of the one it had; Raises: Invalid."""
    cron = " ".join(cron.split())
    check(broker, cron, venue=venue, grace_minutes=grace_minutes)
    values = {
        "broker": broker, "cron": cron, "venue": venue, "grace": grace_minutes, "paused": paused, "actor": metadata.actor, "at": at,
    }  # fmt: skip
    async with tx.cursor(row_factory=class_row(Schedule)) as cursor:
        await cursor.execute(SAVE.encode(), values)
        saved = await cursor.fetchone()
    assert saved is not None
    fact = ScheduleSet(
        occurred_at=at, broker=broker, cron=cron, venue=venue, grace_minutes=grace_minutes, paused=paused
    )
    await events.append(tx, fact, stream=f"schedule-{broker}", metadata=metadata)
    return saved


async def pause(tx: Transaction, broker: str, *, paused: bool, metadata: events.Metadata, at: datetime) -> Schedule:
    """Stop a schedule for a while, or let it go on; Raises: NoSchedule."""
    known = await find(tx, broker)
    return await save(
        tx,
        broker,
        known.cron,
        venue=known.venue,
        grace_minutes=known.grace_minutes,
        paused=paused,
        metadata=metadata,
        at=at,
    )


async def remove(tx: Transaction, broker: str, *, metadata: events.Metadata, at: datetime) -> None:
    """End a schedule; Raises: NoSchedule."""
    if not (await tx.execute("delete from schedules where broker = %s", (broker,))).rowcount:
        raise NoSchedule(f"{broker} has no schedule", broker=broker)
    await events.append(
        tx, ScheduleRemoved(occurred_at=at, broker=broker), stream=f"schedule-{broker}", metadata=metadata
    )


async def find(tx: Transaction, broker: str) -> Schedule:
    """The schedule of a broker; Raises: NoSchedule."""
    for schedule in await listed(tx):
        if schedule.broker == broker:
            return schedule
    raise NoSchedule(f"{broker} has no schedule", broker=broker)


async def listed(tx: Transaction) -> list[Schedule]:
    """Every schedule, by broker."""
    async with tx.cursor(row_factory=class_row(Schedule)) as cursor:
        await cursor.execute(f"select {COLUMNS} from schedules order by broker".encode())
        return await cursor.fetchall()


async def states(tx: Transaction, *, now: datetime) -> list[ScheduleState]:
    """Every schedule, by broker, with what is due next and how the last due time went."""
    return [await state(tx, schedule, now=now) for schedule in await listed(tx)]


async def state(tx: Transaction, schedule: Schedule, *, now: datetime) -> ScheduleState:
    """A schedule with what is due next and how the last due time went."""
    due = None if schedule.paused else last_due(schedule, now=now)
    last = None
    if due is not None:
        at, warning = due
        done = await _done(tx, schedule.broker, at)
        missed = not done and now >= at + timedelta(minutes=schedule.grace_minutes)
        last = Morning(due_at=at, done=done, missed=missed, warning=warning)
    following = None if schedule.paused else next_due(schedule, now=now)
    return ScheduleState(**asdict(schedule), next_due=following, last=last)


async def queue_due(tx: Transaction, *, now: datetime) -> list[tuple[str, datetime, int, str | None]]:
    """Make jobs of whatever is due and not done: (broker, due time, attempt, warning) of each.

    To be called again and again; two callers at once make one job.
    """
    made = []
    await tx.execute("select pg_advisory_xact_lock(%s)", (jobs.LOCK + 1,))
    for schedule in await listed(tx):
        due = None if schedule.paused else last_due(schedule, now=now)
        if due is None or now - due[0] > MORNING:
            continue
        at, warning = due
        attempt = await _next_attempt(tx, schedule.broker, at, now=now)
        if attempt is None:
            continue
        metadata = events.Metadata(
            actor="schedule", correlation_id=f"schedule-{schedule.broker}-{at:%Y%m%dT%H%M}-{attempt}", source="schedule"
        )
        job, _ = await jobs.submit(tx, jobs.INGEST, {"broker": schedule.broker}, metadata=metadata, at=now)
        await tx.execute(ATTEMPT, {"broker": schedule.broker, "due": at, "attempt": attempt, "job": job.id})
        made.append((schedule.broker, at, attempt, warning))
    return made


async def _next_attempt(tx: Transaction, broker: str, due: datetime, *, now: datetime) -> int | None:
    """The number of the attempt that is due now, if one is."""
    values = {"broker": broker, "due": due, "day": due.date()}
    row = await (await tx.execute(LAST_ATTEMPT, values)).fetchone()
    if row is None:
        return None if await _done(tx, broker, due) else 1
    attempt, status, ended_at = row
    if status in (jobs.JobStatus.QUEUED, jobs.JobStatus.RUNNING) or attempt > len(RETRY_AFTER):
        return None
    if now < ended_at + RETRY_AFTER[attempt - 1] or await _done(tx, broker, due):
        return None
    held = await (await tx.execute(HELD, values)).fetchone()
    return None if held else int(attempt) + 1


async def _done(tx: Transaction, broker: str, due: datetime) -> bool:
    values = {"broker": broker, "day": due.date()}
    return await (await tx.execute(DONE, values)).fetchone() is not None
