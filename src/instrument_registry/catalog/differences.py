"""What changed in the catalogue between two market dates, each change named like the fact that told it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from instrument_registry.database import Transaction
from instrument_registry.errors import Invalid

PAGE_MAX = 10_000

# What a changed column is called: (column, change, change where nobody had said it before).
NAMED = (
    ("isin", "isin_changed", "isin_learned"),
    ("name", "name_changed", "name_learned"),
    ("kind", "kind_changed", "kind_changed"),
    ("lot_size", "lot_changed", "terms_learned"),
    ("tick_size", "tick_changed", "terms_learned"),
    ("freeze_qty", "freeze_qty_changed", "terms_learned"),
    ("face_value", "face_value_changed", "terms_learned"),
    ("multiplier", "terms_learned", "terms_learned"),
    ("quote_unit", "terms_learned", "terms_learned"),
    ("currency", "terms_learned", "terms_learned"),
    ("asset_class", "terms_learned", "terms_learned"),
    ("streamable", "terms_learned", "terms_learned"),
    ("surveillance", "surveillance_changed", "surveillance_changed"),
)
DECIMALS = ("tick_size", "face_value", "multiplier", "strike")


def _arm(column: str, change: str) -> str:
    old, new = (f"trim_scale({side}.{column})" if column in DECIMALS else f"{side}.{column}" for side in "ba")
    return f"('{column}', {change}, {old}::text, {new}::text)"


ARMS = ",\n           ".join(
    [
        """('key', case when a.root = b.root and (a.strike, a.expiry) is distinct from (b.strike, b.expiry) then null else 'renamed' end,
            b.key, a.key)""",
        _arm("strike", "case when a.root = b.root then 'strike_adjusted' end"),
        _arm("expiry", "case when a.root = b.root then 'expiry_moved' end"),
        _arm("series", "case when a.venue = 'BSE' then 'group_moved' else 'series_moved' end"),
        _arm("suspended", "case when a.suspended then 'suspended' else 'resumed' end"),
        *(
            _arm(column, f"case when b.{column} is null then '{learned}' else '{change}' end")
            for column, change, learned in NAMED
        ),
    ]
)

KNOWN = "{0}.known_from <= %(known_at)s and {0}.known_to > %(known_at)s"

EARLIER = f"""exists (select 1 from instrument_versions e where e.instrument_id = a.instrument_id and {KNOWN.format("e")}
                                         and e.valid_from <= %(first)s)"""
# An instrument remembers one end and its reason. Of another that was known once, the declarations known then tell.
DECLARED = """exists (select 1 from declared_changes d where d.what in ('demerger', 'merger') and d.old_symbol = e.root
                                         and d.effective_date between e.valid_to - 10 and e.valid_to and d.declared_at <= %(known_at)s)"""

# A version that covers both days has not changed between them: only those that end or begin in between are compared.
DIFFERENCES = f"""
with before as materialized (
    select v.* from instrument_versions v
     where {KNOWN.format("v")} and v.valid_from <= %(first)s and v.valid_to > %(first)s and v.valid_to <= %(last)s),
after as materialized (
    select v.* from instrument_versions v
     where {KNOWN.format("v")} and v.valid_from > %(first)s and v.valid_from <= %(last)s and v.valid_to > %(last)s),
overridden (iid, field, old, new) as (
    select iid, field, f.value, l.value
      from (select instrument_id as iid, field, value from overrides where {{in_force_first}}) f
      full join (select instrument_id as iid, field, value from overrides where {{in_force_last}}) l using (iid, field)
     where f.value is distinct from l.value),
gone as (
    select b.*, row_number() over (partition by b.instrument_id, b.broker, b.segment order by b.token) as nth
      from broker_tokens b
     where b.broker = any(%(brokers)s) and {KNOWN.format("b")} and b.valid @> %(first)s::date and not b.valid @> %(last)s::date
       and not exists (select 1 from broker_tokens t where t.token_key = b.token_key and t.instrument_id = b.instrument_id
                          and {KNOWN.format("t")} and t.valid @> %(last)s::date)),
came as (
    select b.*, row_number() over (partition by b.instrument_id, b.broker, b.segment order by b.token) as nth
      from broker_tokens b
     where b.broker = any(%(brokers)s) and {KNOWN.format("b")} and b.valid @> %(last)s::date and not b.valid @> %(first)s::date
       and not exists (select 1 from broker_tokens t where t.token_key = b.token_key and t.instrument_id = b.instrument_id
                          and {KNOWN.format("t")} and t.valid @> %(first)s::date)),
besides (iid, change, broker, segment, field, old, new) as (
    select iid, case when new is null then 'override_ended' else 'overridden' end, null, null, field, old, new from overridden
    union all
    select coalesce(c.instrument_id, g.instrument_id),
           case when g.token is null then 'token_assigned' when c.token is null then 'token_withdrawn' else 'token_changed' end,
           coalesce(c.broker, g.broker), coalesce(c.segment, g.segment), 'token', g.token, c.token
      from gone g full join came c on c.instrument_id = g.instrument_id and c.broker = g.broker and c.segment = g.segment and c.nth = g.nth
    union all
    select c.instrument_id, 'token_reused', c.broker, c.segment, 'token ' || c.token, g.key, c.key
      from came c join gone g on g.token_key = c.token_key and g.instrument_id <> c.instrument_id),
difference (iid, change, key, venue, kind, root, old_root, broker, segment, field, old, new) as (
    select a.instrument_id, case when {EARLIER} then 'relisted' else 'listed' end, a.key, a.venue, a.kind, a.root, a.root,
           null, null, null, null, null
      from after a
     where not exists (select 1 from before b where b.instrument_id = a.instrument_id)
    union all
    select b.instrument_id, case when e.valid_to > e.expiry then 'expired'
                                 when case when i.ended_on = e.valid_to then i.ended_as = 'closed_early' else {DECLARED} end then 'closed_early'
                                 when b.kind = 'option' then 'strike_removed' else 'delisted' end,
           b.key, b.venue, b.kind, b.root, b.root, null, null, null, null, null
      from before b join instruments i on i.id = b.instrument_id join lateral (
           select v.valid_to, v.expiry, v.root from instrument_versions v
            where v.instrument_id = b.instrument_id and {KNOWN.format("v")} and v.valid_from <= %(last)s
            order by v.valid_from desc limit 1) e on true
     where not exists (select 1 from after a where a.instrument_id = b.instrument_id)
    union all
    select a.instrument_id, f.change, a.key, a.venue, a.kind, a.root, b.root, null, null, f.field, f.old, f.new
      from after a join before b on b.instrument_id = a.instrument_id
     cross join lateral (values
           {ARMS}) f (field, change, old, new)
     where f.change is not null and f.old is distinct from f.new
    union all
    select o.iid, o.change, v.key, v.venue, v.kind, v.root, v.root, o.broker, o.segment, o.field, o.old, o.new
      from besides o join lateral (
           select * from instrument_versions v where v.instrument_id = o.iid and {KNOWN.format("v")} and v.valid_from <= %(last)s
            order by v.valid_from desc limit 1) v on true),
asked as materialized (
    select i.ulid as id, d.change, d.key, d.venue, d.kind, d.broker, d.segment, d.field, d.old, d.new,
           array[d.key, i.ulid, d.change, coalesce(d.field, ''), coalesce(d.broker, ''), coalesce(d.segment, ''),
                 coalesce(d.new, d.old, '')] collate "C" as place
      from difference d join instruments i on i.id = d.iid
     where (%(venues)s::text[] is null or d.venue = any(%(venues)s))
       and (%(kinds)s::text[] is null or d.kind = any(%(kinds)s))
       and (%(underlyings)s::text[] is null or d.root = any(%(underlyings)s) or d.old_root = any(%(underlyings)s))
       and (%(changes)s::text[] is null or d.change = any(%(changes)s)))
"""

IN_FORCE = """valid_from <= {day} and valid_to > {day} and created_at <= %(known_at)s
            and (withdrawn_at is null or withdrawn_at > %(known_at)s)"""

WITH = DIFFERENCES.format(
    in_force_first=IN_FORCE.format(day="%(first)s"), in_force_last=IN_FORCE.format(day="%(last)s")
)
COUNTED = WITH + "select change, count(*) from asked group by change order by count(*) desc, change"
LISTED = (
    WITH
    + "select * from asked where %(after)s::text[] is null or place > %(after)s::text[] order by place limit %(limit)s"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Two market dates, and which part of the catalogue is compared; tokens only of the brokers that are named."""

    first: date
    last: date
    known_at: datetime
    venues: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    underlyings: tuple[str, ...] = ()
    brokers: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One change of one instrument, with what was and what is; `place` is its place among all."""

    id: str | None
    change: str
    key: str
    venue: str
    kind: str
    broker: str | None
    segment: str | None
    field: str | None
    old: str | None
    new: str | None
    place: tuple[str, ...] = ()


async def now_known(tx: Transaction) -> datetime:
    """The instant of what is known now, by the clock that dates what becomes known."""
    row = await (await tx.execute("select clock_timestamp()")).fetchone()
    assert row is not None
    instant: datetime = row[0]
    return instant


async def count(tx: Transaction, span: Span) -> dict[str, int]:
    """How many changes there are of each sort, the most frequent first; Raises: Invalid."""
    cursor = await tx.execute(COUNTED.encode(), _values(span))
    return dict(await cursor.fetchall())


async def page(tx: Transaction, span: Span, *, limit: int, after: Sequence[str] | None = None) -> list[Difference]:
    """The changes behind a place, by key; Raises: Invalid."""
    async with tx.cursor(row_factory=class_row(Difference)) as cursor:
        await cursor.execute(LISTED.encode(), _values(span) | {"after": after and list(after), "limit": limit})
        return await cursor.fetchall()


def _values(span: Span) -> dict[str, object]:
    if span.last < span.first:
        raise Invalid(
            f"{span.last} lies before {span.first}; give the earlier date first", field="to", value=str(span.last)
        )
    asked = {"venues": span.venues, "kinds": span.kinds, "underlyings": span.underlyings, "changes": span.changes}
    return {
        "first": span.first, "last": span.last, "known_at": span.known_at, "brokers": list(span.brokers),
        **{name: list(values) or None for name, values in asked.items()},
    }  # fmt: skip
