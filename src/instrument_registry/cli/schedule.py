"""`instrument-registry schedule`: when each broker's dump is fetched by itself."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import typer

from instrument_registry import events
from instrument_registry.catalog.ingestion import schedule
from instrument_registry.catalog.ingestion.schedule import Morning, ScheduleState
from instrument_registry.cli import completing, tables
from instrument_registry.cli.connected import Result, caused_here, in_transaction, with_database
from instrument_registry.clock import MARKET_ZONE, now
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Invalid

app = typer.Typer(name="schedule", help="When each broker's dump is fetched by itself.", no_args_is_help=True)

COMMAND = "schedule"
Broker = Annotated[str, typer.Argument(help="The broker's id, for example zerodha.", autocompletion=completing.brokers)]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every schedule, when it is due next and how the last time went; times are those of the market."""

    async def work(tx: Transaction) -> list[ScheduleState]:
        return await schedule.states(tx, now=now())

    states = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"schedules": states})
        return
    if not states:
        typer.echo(
            "Nothing is fetched by itself; `instrument-registry schedule set zerodha '40 8 * * *'` would change that."
        )
        return
    columns = ("broker", "cron", "on", "grace", "next", "last", "went")
    tables.table(columns, [_row(one) for one in states])


@app.command("set")
def set_(
    broker: Broker,
    cron: Annotated[
        str, typer.Argument(help="Five fields in market time: minute hour day month weekday; '40 8 * * *'.")
    ],
    venue: Annotated[
        str | None, typer.Option(help="Fetch on sessions of this venue; left out: of the usual one.")
    ] = None,
    every_day: Annotated[
        bool, typer.Option("--every-day", help="Fetch on every day, whatever the calendar says.")
    ] = False,
    grace: Annotated[
        int, typer.Option(help="Minutes until a morning without a dump counts as missed.")
    ] = schedule.GRACE_MINUTES,
    as_json: AsJson = False,
) -> None:
    """Fetch a broker's dump by itself from now on, in place of what was set before."""
    if venue is not None and every_day:
        raise Invalid("--venue and --every-day exclude each other")
    followed = None if every_day else venue or schedule.usual_venue(broker)

    async def work(tx: Transaction) -> ScheduleState:
        saved = await schedule.save(
            tx, broker, cron, venue=followed, grace_minutes=grace, paused=False, metadata=caused_here(), at=now()
        )
        return await schedule.state(tx, saved, now=now())

    _told(_changed(work), as_json=as_json)


@app.command("pause")
def pause(broker: Broker, as_json: AsJson = False) -> None:
    """Stop fetching for a while."""
    _told(_paused(broker, paused=True), as_json=as_json)


@app.command("resume")
def resume(broker: Broker, as_json: AsJson = False) -> None:
    """Go on fetching."""
    _told(_paused(broker, paused=False), as_json=as_json)


@app.command("remove")
def remove(broker: Broker) -> None:
    """Fetch no longer by itself."""

    async def work(tx: Transaction) -> None:
        await schedule.remove(tx, broker, metadata=caused_here(), at=now())

    _changed(work)
    typer.echo(f"{broker} is fetched by itself no longer.")


def _paused(broker: str, *, paused: bool) -> ScheduleState:
    async def work(tx: Transaction) -> ScheduleState:
        saved = await schedule.pause(tx, broker, paused=paused, metadata=caused_here(), at=now())
        return await schedule.state(tx, saved, now=now())

    return _changed(work)


def _changed(work: Callable[[Transaction], Awaitable[Result]]) -> Result:
    async def committed(database: Database) -> Result:
        async with database.transaction() as tx:
            result = await work(tx)
        await events.wake(database)
        return result

    return with_database(committed, command=COMMAND)


def _told(state: ScheduleState, *, as_json: bool) -> None:
    if as_json:
        tables.document(state)
    elif state.paused:
        typer.echo(f"{state.broker} is paused.")
    else:
        typer.echo(f"{state.broker} is fetched at {state.cron}; next at {_minute(state.next_due)}.")


def _row(one: ScheduleState) -> tuple[str | None, ...]:
    sessions = f"{one.venue} sessions" if one.venue else "every day"
    due = "paused" if one.paused else _minute(one.next_due)
    last = _minute(one.last.due_at) if one.last else None
    return one.broker, one.cron, sessions, f"{one.grace_minutes} min", due, last, _went(one.last)


def _went(morning: Morning | None) -> str:
    if morning is None:
        return ""
    return "done" if morning.done else "missed" if morning.missed else "under way"


def _minute(instant: datetime | None) -> str:
    return f"{instant.astimezone(MARKET_ZONE):%Y-%m-%d %H:%M}" if instant else "never"
