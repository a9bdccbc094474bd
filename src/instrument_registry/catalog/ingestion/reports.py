"""What is told of runs: lists, the full report of one, the rows it set aside, and what other brokers list that it lacks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from instrument_registry.catalog.ingestion.applying import FRESH_DAYS
from instrument_registry.catalog.ingestion.matching import DERIVATIVE
from instrument_registry.catalog.ingestion.model import RunStatus
from instrument_registry.database import Transaction
from instrument_registry.errors import NotFound

EXAMPLES = 20

COLUMNS = """
i.id, i.broker, i.feed, i.market_date, i.status, i.actor, i.correlation_id, i.started_at, i.finished_at, i.reasons, i.warnings, i.files,
i.report, i.released_as, i.released_by, i.release_reason, i.discarded_by, i.discard_reason,
i.status in ('quarantined', 'refused') and exists (select 1 from ingestion_files f where f.ingestion_id = i.id) as kept
"""

LIST = f"""
select {COLUMNS} from ingestions i
 where (%(broker)s::text is null or broker = %(broker)s) and (%(statuses)s::text[] is null or status = any(%(statuses)s))
   and (%(since)s::date is null or market_date >= %(since)s) and (%(until)s::date is null or market_date <= %(until)s)
   and (%(before)s::bigint is null or id < %(before)s)
   and (not %(held)s or (status in ('quarantined', 'refused') and exists (select 1 from ingestion_files f where f.ingestion_id = i.id)))
 order by id desc limit %(limit)s
"""

ROWS = """
select file, line, field, value, reason, dropped from rows_set_aside
 where ingestion_id = %(run)s order by file, line, field, reason, value offset %(after)s limit %(limit)s
"""

# What other brokers whose last run is fresh list on that day at the venues of this run, and this broker does not.
LACKING = f"""
with fresh as materialized (
    select broker, segment from ingestion_segments where broker <> %(broker)s
     group by broker, segment having max(market_date) >= %(day)s::date - {FRESH_DAYS}),
listed as materialized (
    select instrument_id, venue, broker, segment, key from broker_tokens
     where known_to = 'infinity' and valid @> %(day)s::date and venue = any(%(venues)s)),
mine as materialized (select distinct instrument_id from listed where broker = %(broker)s),
lacking as materialized (
    select l.instrument_id, l.venue, l.broker, min(l.key) as key from listed l join fresh f on f.broker = l.broker and f.segment = l.segment
     where not exists (select 1 from mine m where m.instrument_id = l.instrument_id) group by 1, 2, 3),
example as (
    select venue, key from (
        select venue, key, row_number() over (partition by venue order by key) as nth from (select distinct venue, key from lacking) d) n
     where nth <= {EXAMPLES})
select v.venue,
       (select count(distinct instrument_id) from lacking l where l.venue = v.venue) as missing,
       coalesce((select jsonb_object_agg(broker, listed) from (
           select broker, count(*) as listed from lacking l where l.venue = v.venue group by 1) b), '{{}}') as by_broker,
       array(select key from example e where e.venue = v.venue order by key) as examples
  from unnest(%(venues)s::text[]) v (venue) order by 1
"""

# Contracts this broker listed at its run before, that have not expired and that this run no longer lists, by chain.
SHORTENED = f"""
with gone as materialized (
    select b.venue, b.key, b.instrument_id, split_part(split_part(b.key, ':', 2), ';', 1) as underlying, i.expiry
      from broker_tokens b join instruments i on i.id = b.instrument_id
     where b.broker = %(broker)s and b.known_to = 'infinity' and upper(b.valid) = %(day)s::date and b.kind in {DERIVATIVE}
       and b.ingestion_id is distinct from %(run)s and i.expiry >= %(day)s::date
       and not exists (select 1 from broker_tokens t where t.instrument_id = b.instrument_id and t.broker = b.broker
                          and t.known_to = 'infinity' and t.valid @> %(day)s::date)),
chain as (select venue, underlying, expiry, count(*) as contracts from gone group by 1, 2, 3)
select venue, sum(contracts)::int as contracts, count(*)::int as chains,
       (select array(select key from gone g where g.venue = c.venue order by key limit {EXAMPLES})) as examples
  from chain c group by venue order by venue
"""

RUN_OF = "select broker, market_date from ingestions where id = %(run)s"
VENUES_OF = """
select array(select distinct venue from broker_tokens b
              where b.broker = %(broker)s and b.known_to = 'infinity' and b.valid @> %(day)s::date and b.segment in (
                    select segment from ingestion_segments where ingestion_id = %(run)s) order by 1)
"""


class NoSuchRun(NotFound):
    """Take the id from the list of ingestions."""

    title = "There is no such ingestion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why a gate stayed closed, or a warning."""

    gate: str
    detail: str
    facts: dict[str, Any]  # what the gate saw, by its own names


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRead:
    """One source file of a run, by its digest."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingHere:
    """What fresh other brokers list at a venue on that day and this dump does not; coverage differs by broker."""

    venue: str
    missing: int
    by_broker: dict[str, int]
    examples: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortened:
    """Living contracts this broker listed in its run before and no longer does."""

    venue: str
    contracts: int
    chains: int
    examples: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Where a dump falls short of other brokers and of the broker's own run before."""

    against_others: list[MissingHere]
    against_before: list[Shortened]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionRun:
    """One ingestion as its record tells it."""

    id: int
    broker: str
    feed: str
    market_date: date
    date_known_by: str | None
    status: RunStatus
    actor: str
    correlation_id: str
    started_at: datetime
    finished_at: datetime | None
    rows: int
    set_aside: int  # whole rows that were not taken
    values_set_aside: int  # single values taken away from rows that were
    duplicates: int
    counts: dict[str, int]  # facts by kind
    reasons: list[Finding]
    warnings: list[Finding]
    kept: bool  # whether the dump is held for a decision
    released_from: int | None
    released_as: int | None
    released_by: str | None
    release_reason: str | None
    discarded_by: str | None
    discard_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionReport(IngestionRun):
    """Everything that was recorded of one ingestion."""

    files: list[FileRead]
    dialects: list[str]
    segments: dict[str, int]  # rows by the broker's own segment
    counts_by_venue: dict[str, dict[str, int]]  # facts by our venue and kind
    seconds: dict[str, float]  # by step
    gaps: Gaps | None  # null where nothing was applied


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A row, or one value of it, that was not taken."""

    file: str
    line: int
    field: str
    value: str | None
    reason: str
    dropped: bool  # the whole row, not only the value


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs to list."""

    broker: str | None = None
    statuses: Sequence[RunStatus] = field(default_factory=tuple)
    since: date | None = None  # market dates, both included
    until: date | None = None
    held: bool = False  # only dumps that wait for a decision


async def listed(tx: Transaction, wanted: Wanted, *, limit: int, before: int | None = None) -> list[IngestionRun]:
    """Runs, the newest first; `before` goes on after a run that was listed."""
    values = {
        "broker": wanted.broker, "statuses": [status.value for status in wanted.statuses] or None, "since": wanted.since,
        "until": wanted.until, "held": wanted.held, "before": before, "limit": limit,
    }  # fmt: skip
    cursor = await tx.execute(LIST, values)
    return [IngestionRun(**_facts(row)) for row in await cursor.fetchall()]  # type: ignore[arg-type]


async def report(tx: Transaction, run: int) -> IngestionReport:
    """Everything that was recorded of a run; Raises: NoSuchRun."""
    row = await (await tx.execute(f"select {COLUMNS} from ingestions i where i.id = %s".encode(), (run,))).fetchone()
    if row is None:
        raise NoSuchRun(f"No ingestion has the id {run}")
    told = row[12]
    gaps = told.get("gaps")
    return IngestionReport(
        **_facts(row),  # type: ignore[arg-type]
        files=[FileRead(name=file["name"], sha256=file["sha256"], bytes=file["bytes"]) for file in row[11]],
        dialects=told.get("dialects", []),
        segments=told.get("segments", {}),
        counts_by_venue=told.get("counts_by_venue", {}),
        seconds=told.get("seconds", {}),
        gaps=None if gaps is None else Gaps(
            against_others=[MissingHere(**one) for one in gaps["against_others"]],
            against_before=[Shortened(**one) for one in gaps["against_before"]],
        ),
    )  # fmt: skip


async def rows_set_aside(tx: Transaction, run: int, *, limit: int, after: int = 0) -> list[SetAside]:
    """What a run did not take, in the order of files and lines, from the place `after` on; Raises: NoSuchRun."""
    cursor = await tx.execute(ROWS, {"run": run, "after": after, "limit": limit})
    rows = [
        SetAside(file=row[0], line=row[1], field=row[2], value=row[3], reason=row[4], dropped=row[5])
        for row in await cursor.fetchall()
    ]
    if not rows and await (await tx.execute("select 1 from ingestions where id = %s", (run,))).fetchone() is None:
        raise NoSuchRun(f"No ingestion has the id {run}")
    return rows


async def record_gaps(tx: Transaction, run: int) -> Gaps:
    """Compare what a run brought with other brokers and with the run before, and keep the result in its report."""
    values: dict[str, object] = {"run": run}
    row = await (await tx.execute(RUN_OF, values)).fetchone()
    if row is None:
        raise NoSuchRun(f"No ingestion has the id {run}")
    values |= {"broker": row[0], "day": row[1]}
    await tx.execute("set local work_mem = '64MB'")
    venues = await (await tx.execute(VENUES_OF, values)).fetchone()
    values["venues"] = venues[0] if venues else []
    missing = await (await tx.execute(LACKING.encode(), values)).fetchall()
    shortened = await (await tx.execute(SHORTENED.encode(), values)).fetchall()
    gaps = Gaps(
        against_others=[
            MissingHere(venue=venue, missing=count, by_broker=by, examples=some) for venue, count, by, some in missing
        ],
        against_before=[
            Shortened(venue=venue, contracts=count, chains=chains, examples=some)
            for venue, count, chains, some in shortened
        ],
    )
    told = {
        "against_others": [_plain(one) for one in gaps.against_others],
        "against_before": [_plain(one) for one in gaps.against_before],
    }
    await tx.execute(
        "update ingestions set report = report || jsonb_build_object('gaps', %s::jsonb) where id = %s",
        (json.dumps(told), run),
    )
    return gaps


def _plain(part: MissingHere | Shortened) -> dict[str, object]:
    return {name: getattr(part, name) for name in part.__dataclass_fields__}


def _facts(row: tuple) -> dict[str, object]:  # type: ignore[type-arg]
    (
        identifier, broker, feed, day, status, actor, correlation_id, started_at, finished_at, reasons, warnings, _, told,
        released_as, released_by, release_reason, discarded_by, discard_reason, kept,
    ) = row  # fmt: skip
    return {
        "id": identifier, "broker": broker, "feed": feed, "market_date": day, "date_known_by": told.get("date_known_by"),
        "status": RunStatus(status), "actor": actor, "correlation_id": correlation_id, "started_at": started_at,
        "finished_at": finished_at, "rows": told.get("rows", 0), "set_aside": told.get("set_aside", 0),
        "values_set_aside": told.get("values_set_aside", 0), "duplicates": told.get("duplicates", 0),
        "counts": told.get("counts", {}), "reasons": _findings(reasons), "warnings": _findings(warnings), "kept": kept, "released_from": told.get("released_from"), "released_as": released_as,
        "released_by": released_by, "release_reason": release_reason, "discarded_by": discarded_by, "discard_reason": discard_reason,
    }  # fmt: skip


def _findings(found: list[dict[str, object]]) -> list[Finding]:
    return [
        Finding(
            gate=str(one["gate"]),
            detail=str(one["detail"]),
            facts={name: fact for name, fact in one.items() if name not in ("gate", "detail")},
        )
        for one in found
    ]
