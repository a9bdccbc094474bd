"""From what somebody names (paths, addresses, a folder, nothing) to dumps with a market date, and into the catalogue."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from instrument_registry.breakers import Breakers
from instrument_registry.catalog.brokers import BROKERS, manifest
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.calendars import CalendarUnknown, calendar_of, market_today
from instrument_registry.catalog.ingestion.fetch import fetch
from instrument_registry.catalog.ingestion.file_names import date_in_name
from instrument_registry.catalog.ingestion.files import open_dumps
from instrument_registry.catalog.ingestion.model import USUAL, Bounds, Order, Outcome
from instrument_registry.catalog.ingestion.service import Progress, ingest
from instrument_registry.clock import MARKET_ZONE, Clock
from instrument_registry.database import Database
from instrument_registry.errors import Conflict, Invalid
from instrument_registry.outbound.addresses import Network


class SeveralDates(Conflict):
    """Files of one run carry different dates."""

    title = "The files are of different days"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody wants ingested."""

    broker: str
    sources: tuple[str, ...] = ()  # paths or addresses; empty: the broker's public ones
    market_date: date | None = None
    scope: tuple[str, ...] = ()
    allow_older: bool = False
    dry_run: bool = False
    invented: bool = False  # the demo universe
    bounds: Bounds = USUAL
    actor: str = "unknown"
    correlation_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One file of a folder and what the manifest says of it."""

    path: Path
    broker: str | None
    market_date: date | None
    in_scope: bool
    reason: str | None


def sessions_between(earlier: date, later: date) -> int:
    """Trading sessions after one date up to another; beyond what the calendar knows, weekdays."""
    if later <= earlier:
        return 0
    try:
        return calendar_of("NSE").sessions_apart(earlier, later)
    except CalendarUnknown:
        days = (date.fromordinal(day) for day in range(earlier.toordinal() + 1, later.toordinal() + 1))
        return sum(1 for day in days if day.weekday() < 5)


async def take_in(
    database: Database,
    asked: Asked,
    *,
    clock: Clock,
    allowed: Sequence[Network] = (),
    breakers: Breakers | None = None,
    progress: Progress = lambda step, share: None,
) -> Outcome:
    """Fetch or open what was asked for and ingest it as one run.

    Raises: Invalid, NotFound, Unreadable (a file that cannot be opened), FetchFailed, SeveralDates, and what `ingest`
    raises.
    """
    if asked.broker not in BROKERS:
        known = ", ".join(sorted(BROKERS))
        raise Invalid(f"{asked.broker} is not a known broker; known are {known}", field="broker", value=asked.broker)
    with tempfile.TemporaryDirectory(prefix="instrument-registry-") as folder:
        dumps, dates = await _collect(asked, Path(folder), allowed=allowed, breakers=breakers, progress=progress)
    day, known_by = _market_date(asked, dates, clock=clock)
    order = Order(
        broker=asked.broker, market_date=day, date_known_by=known_by, actor=asked.actor, correlation_id=asked.correlation_id,
        scope=asked.scope, allow_older=asked.allow_older, dry_run=asked.dry_run, invented=asked.invented,
        bounds=asked.bounds,
    )  # fmt: skip
    return await ingest(database, order, dumps, clock=clock, sessions_between=sessions_between, progress=progress)


def plan_folder(folder: Path) -> list[Planned]:
    """Every file under a folder with what the manifest says, runs in market-date order, official lists first in a day.

    Raises: NotFound for a folder that is not there.
    """
    if not folder.is_dir():
        raise Invalid(f"{folder} is not a folder", field="folder", value=str(folder))
    planned = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        row = manifest.match(path)
        if row is None:
            planned.append(
                Planned(
                    path=path,
                    broker=None,
                    market_date=None,
                    in_scope=False,
                    reason="No row of the manifest knows this file",
                )
            )
            continue
        day = manifest.market_date(path, row) or date_in_name(path.name)
        in_scope = row.in_scope and row.broker is not None
        planned.append(Planned(path=path, broker=row.broker, market_date=day, in_scope=in_scope, reason=row.reason))
    return sorted(
        planned, key=lambda one: (one.market_date or date.max, not _official(one.broker), one.broker or "", one.path)
    )


def runs_of(planned: Sequence[Planned], asked: Asked) -> list[Asked]:
    """The files in scope as runs: those of one broker and day belong together."""
    runs: dict[tuple[date | None, str], list[Planned]] = {}
    for one in planned:
        if one.in_scope and one.broker:
            runs.setdefault((one.market_date, one.broker), []).append(one)
    return [
        replace(asked, broker=broker, market_date=day, sources=tuple(str(one.path) for one in files))
        for (day, broker), files in runs.items()
    ]


def _official(broker: str | None) -> bool:
    return broker is not None and (BROKERS[broker].official or broker == "iso10383")


async def _collect(
    asked: Asked, folder: Path, *, allowed: Sequence[Network], breakers: Breakers | None, progress: Progress
) -> tuple[list[Dump], list[tuple[date | None, datetime | None]]]:
    dumps: list[Dump] = []
    dates: list[tuple[date | None, datetime | None]] = []
    for number, (source, name, content_types) in enumerate(_sources(asked)):
        modified = None
        path = Path(source)
        if "://" in source:
            progress(f"fetch {name or source}", 0.0)
            place = folder / str(number)
            place.mkdir()
            fetched = await fetch(
                source, place, name=name, content_types=content_types, allowed=allowed, breakers=breakers
            )
            path, modified = fetched.path, fetched.last_modified
        opened = open_dumps(path)
        dumps += [one.dump for one in opened]
        if asked.market_date is None:  # else names may say what they like
            named = date_in_name(path.name)
            dates += [(date_in_name(one.dump.name) or named, modified) for one in opened]
    return dumps, dates


def _sources(asked: Asked) -> list[tuple[str, str | None, tuple[str, ...]]]:
    if asked.sources:
        return [(source, None, ()) for source in asked.sources]
    public = BROKERS[asked.broker].sources
    if not public:
        raise Invalid(f"{asked.broker} has no public address; name a file", field="sources", broker=asked.broker)
    return [(source.url, source.name, source.content_types) for source in public]


def _market_date(
    asked: Asked, dates: Sequence[tuple[date | None, datetime | None]], *, clock: Clock
) -> tuple[date, str]:
    if asked.market_date is not None:
        return asked.market_date, "given"
    named = {day for day, _ in dates if day is not None}
    if len(named) > 1:
        listed = ", ".join(sorted(map(str, named)))
        raise SeveralDates(
            f"The file names say {listed}; ingest them one day at a time, or give the date", dates=listed
        )
    if named:
        return named.pop(), "file name"
    modified = [at for _, at in dates if at is not None]
    if modified:
        return max(modified).astimezone(MARKET_ZONE).date(), "last modified"
    return market_today(clock()), "today"
