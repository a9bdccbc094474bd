"""What must hold before a run may touch the catalogue. SQL looks, plain functions judge."""

from dataclasses import dataclass
from datetime import date

from instrument_registry.catalog.ingestion.model import USUAL, Bounds, Reason

# A segment smaller than this may shrink as it likes; small ones do.
SHRINK_FROM_ROWS = 500
# Further apart than this many sessions, a shrunken segment is a warning.
SHRINK_WITHIN_SESSIONS = 5
# Rows of long expired contracts that any dump may carry.
HANDFUL = 5

_TWICE = "token_key in (select token_key from staged group by 1 having count(*) > 1)"
CONFLICTING = f"""
select segment, token, array_agg(distinct key order by key) as keys from staged where {_TWICE}
 group by segment, token having count(distinct key) > 1 order by segment, token limit 20
"""

# Rows that say the same key for a token again with other details: the first is kept.
REPEATED = f"""
with extra as (
    select ctid as place, row_number() over (partition by token_key order by file, line) as nth from staged where {_TWICE})
delete from staged s using extra x where x.nth > 1 and s.ctid = x.place returning s.file, s.line, s.segment, s.token
"""

LAST_OF_FEED = """
select segment from ingestion_segments
 where ingestion_id = (select max(s.ingestion_id) from ingestion_segments s where s.broker = %(broker)s and s.feed = %(feed)s and not s.invented)
"""

LAST_OF_SEGMENT = """
select distinct on (segment) segment, market_date, expired from ingestion_segments
 where broker = %(broker)s and segment = any(%(segments)s) and not invented order by segment, market_date desc, ingestion_id desc
"""

EXPIRED = "select segment, expiry, count(*) as rows from staged where expiry < %(day)s group by 1, 2"

SHRUNK = """
select b.segment, count(*) as listed, count(*) filter (where s.token_key is null) as gone
  from broker_tokens b left join staged s on s.token_key = b.token_key
 where b.broker = %(broker)s and b.segment = any(%(segments)s) and b.known_to = 'infinity'
   and b.valid @> %(day)s::date and lower(b.valid) < %(day)s::date
 group by b.segment order by b.segment
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The newest applied run of one broker segment."""

    market_date: date
    expired: dict[date, int]


def judge_set_aside(*, read: int, dropped: int, bounds: Bounds = USUAL) -> list[Reason]:
    """Too many unreadable rows mean a changed format, not bad rows."""
    percent = bounds.set_aside_percent
    if dropped <= max(HANDFUL, percent / 100 * read):
        return []
    detail = f"{dropped} of {read} rows cannot be read, more than {percent:g} %: the format may have changed"
    return [Reason(gate="rows_unreadable", detail=detail, facts={"dropped": dropped, "read": read})]


def judge_conflicts(conflicts: list[tuple[str, str, list[str]]]) -> list[Reason]:
    """One token with two contracts in one dump: nobody can say which is meant."""
    if not conflicts:
        return []
    segment, token, keys = conflicts[0]
    detail = f"{len(conflicts)} token(s) name more than one contract, first {segment} {token}: {', '.join(keys)}"
    return [
        Reason(gate="conflicting_duplicates", detail=detail, facts={"tokens": [f"{s}:{t}" for s, t, _ in conflicts]})
    ]


def judge_scope(*, expected: set[str], present: set[str]) -> list[Reason]:
    """Every segment that the feed had must be there."""
    missing = sorted(expected - present)
    if not missing:
        return []
    detail = f"segment(s) {', '.join(missing)} are missing; the dump has {', '.join(sorted(present)) or 'none'}"
    return [Reason(gate="segment_missing", detail=detail, facts={"missing": missing})]


def judge_age(day: date, *, last: dict[str, LastRun]) -> list[Reason]:
    """A dump older than the newest applied one of its segment is history."""
    newer = {segment: run.market_date for segment, run in last.items() if run.market_date > day}
    if not newer:
        return []
    segment, newest = max(newer.items(), key=lambda item: item[1])
    detail = (
        f"{day} is older than the last applied run of {segment}, {newest}; --allow-older back-fills history with it"
    )
    return [Reason(gate="older", detail=detail, facts={"segments": {name: str(on) for name, on in newer.items()}})]


def judge_staleness(day: date, *, last: dict[str, LastRun], expired: dict[str, dict[date, int]]) -> list[Reason]:
    """Contracts that expired before the last applied run, and which that run no longer listed, do not come back."""
    reasons = []
    for segment, run in sorted(last.items()):
        back = {
            on: rows for on, rows in expired.get(segment, {}).items() if on < run.market_date and on not in run.expired
        }
        if sum(back.values()) > HANDFUL:
            detail = (
                f"{segment} brings back {sum(back.values())} contracts that expired from {min(back)} to {max(back)}, which the "
                f"run of {run.market_date} no longer listed: the dump is older than its date {day}"
            )
            reasons.append(Reason(gate="stale", detail=detail, facts={"segment": segment, "rows": sum(back.values())}))
    return reasons


def judge_shrinkage(
    shrunk: list[tuple[str, int, int]], *, sessions_since: dict[str, int], bounds: Bounds = USUAL
) -> tuple[list[Reason], list[Reason]]:
    """Unexpired rows gone from a segment: (reasons to keep the dump out, warnings)."""
    closed: list[Reason] = []
    warned: list[Reason] = []
    for segment, listed, gone in shrunk:
        if listed < SHRINK_FROM_ROWS or gone <= bounds.gone_percent / 100 * listed:
            continue
        share = f"{gone / listed:.1%}, the bound is {bounds.gone_percent:g} %"
        detail = f"{gone} of {listed} unexpired rows of {segment} are gone ({share})"
        reason = Reason(gate="shrunk", detail=detail, facts={"segment": segment, "gone": gone, "listed": listed})
        (closed if sessions_since[segment] <= SHRINK_WITHIN_SESSIONS else warned).append(reason)
    return closed, warned
