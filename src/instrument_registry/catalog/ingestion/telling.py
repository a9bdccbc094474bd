"""The facts a run tells, read off what it changed; one row of `change` is one fact about one instrument.

Counted facts about instruments: listed (every new one), and besides it underlying_added, expiry_added (one each) or
strike_added (each option of a chain that existed). A contract that had expired by the market date is history, no news.
"""

from instrument_registry.catalog.ingestion.matching import DERIVATIVE

LISTED = """
insert into change (iid, fact, effective_date, file, line, key, new)
select distinct on (iid) iid, 'listed', at, file, line, key,
       json_strip_nulls(json_build_object('kind', kind, 'name', name, 'isin', isin, 'series', series, 'lot_size', lot_size,
         'tick_size', trim_scale(tick_size)::text, 'segment', segment, 'token', token, 'history', nullif(history, false)))
  from resolved where how = 'new' order by iid, rn
"""

# Chains that grew. A venue's first load has no chains to grow. Each part is a table of its own, so that the planner
# knows its size. New instruments have the highest ids of all.
FRESH = f"""
create temporary table fresh on commit drop as
select distinct on (r.iid) r.iid, r.venue, r.root, r.expiry, r.kind, r.at, r.file, r.line, r.key
  from resolved r join run_segment g on g.segment = r.segment
 where r.how = 'new' and r.kind in {DERIVATIVE} and not r.history and g.next_day is null
   and r.venue = any (array(select distinct v.venue from instrument_versions v where v.known_from < %(known)s))
 order by r.iid, r.file, r.line
"""

EARLIER = f"""
create temporary table earlier on commit drop as
select v.venue, v.root, v.expiry from instrument_versions v
  join (select distinct venue, root from fresh) f on f.venue = v.venue and f.root = v.root
 where v.known_to = 'infinity' and v.kind in {DERIVATIVE} and v.valid_to > %(day)s::date - 7
   and v.instrument_id < (select min(iid) from minted)
 group by 1, 2, 3
"""

GROWTH = """
with graded as (
    select f.*, row_number() over (partition by f.venue, f.root order by f.key) as of_root,
           row_number() over (partition by f.venue, f.root, f.expiry order by f.key) as of_expiry,
           r.root is not null as root_known, e.root is not null as expiry_known
      from fresh f
      left join (select distinct venue, root from earlier) r on r.venue = f.venue and r.root = f.root
      left join earlier e on e.venue = f.venue and e.root = f.root and e.expiry = f.expiry)
insert into change (iid, fact, effective_date, file, line, key, new)
select iid, 'underlying_added', at, file, line, key, jsonb_build_object('underlying', root) from graded where not root_known and of_root = 1
union all
select iid, 'expiry_added', at, file, line, key, jsonb_build_object('underlying', root, 'expiry', expiry) from graded
 where root_known and not expiry_known and of_expiry = 1
union all
select iid, 'strike_added', at, file, line, key, null from graded where expiry_known and kind = 'option'
"""


def _changed(fact: str, field: str, *, new: str | None = None, text: str = "{}", where: str = "true") -> str:
    """One arm: `fact` wherever a field's new value differs from its old one."""
    new = new or f"new_{field}"
    return f"""
select iid, '{fact}', at, file, line, said_key, jsonb_build_object('{field}', {text.format(field)}), jsonb_build_object('{field}', {text.format(new)})
  from becomes where position <> 'before' and {new} is distinct from {field} and {where}"""


_PLAIN = "trim_scale({})::text"
_DERIVED = f"kind in {DERIVATIVE}"

ATTRIBUTES = "insert into change (iid, fact, effective_date, file, line, key, old, new)" + " union all ".join(
    [
        # A new name may come with a new series: one fact tells both.
        """
select iid, 'renamed', at, file, line, said_key, jsonb_strip_nulls(jsonb_build_object('key', key, 'series', case when new_series is distinct from series then series end)),
       jsonb_strip_nulls(jsonb_build_object('key', said_key, 'series', case when new_series is distinct from series then new_series end))
  from becomes where position <> 'before' and said_root <> root""",
        _changed("strike_adjusted", "strike", new="said_strike", text=_PLAIN, where=f"{_DERIVED} and said_root = root"),
        _changed("expiry_moved", "expiry", new="said_expiry", where=f"{_DERIVED} and said_root = root"),
        _changed("group_moved", "series", where="venue = 'BSE' and said_root = root"),
        _changed("series_moved", "series", where="venue <> 'BSE' and said_root = root"),
        _changed("name_changed", "name", where="name is not null"),
        _changed("kind_changed", "kind"),
        _changed("isin_changed", "isin", where="isin is not null"),
        _changed("isin_learned", "isin", where="isin is null"),
        _changed("name_learned", "name", where="name is null"),
        _changed("face_value_changed", "face_value", text=_PLAIN, where="face_value is not null"),
        _changed("lot_changed", "lot_size", where="lot_size is not null"),
        _changed("tick_changed", "tick_size", text=_PLAIN, where="tick_size is not null"),
        _changed("freeze_qty_changed", "freeze_qty", where="freeze_qty is not null"),
        _changed("surveillance_changed", "surveillance"),
        _changed("suspended", "suspended", where="new_suspended"),
        _changed("resumed", "suspended", where="not new_suspended"),
        # Whatever else a version gained: figures nobody had said before, multiplier, quote unit, streamability.
        """
select iid, 'terms_learned', at, file, line, said_key, null, jsonb_strip_nulls(jsonb_build_object(
         'lot_size', case when lot_size is null then new_lot_size end, 'tick_size', case when tick_size is null then trim_scale(new_tick_size)::text end,
         'freeze_qty', case when freeze_qty is null then new_freeze_qty end, 'face_value', case when face_value is null then trim_scale(new_face_value)::text end,
         'multiplier', case when new_multiplier is distinct from multiplier then trim_scale(new_multiplier)::text end,
         'quote_unit', case when new_quote_unit is distinct from quote_unit then new_quote_unit end,
         'streamable', case when new_streamable <> streamable then new_streamable end))
  from becomes where position <> 'before' and (
       (lot_size is null and new_lot_size is not null) or (tick_size is null and new_tick_size is not null)
    or (freeze_qty is null and new_freeze_qty is not null) or (face_value is null and new_face_value is not null)
    or new_multiplier is distinct from multiplier or new_quote_unit is distinct from quote_unit or new_streamable <> streamable)""",
        """
select iid, 'history_added', at, file, line, said_key, null, jsonb_build_object('valid_from', at, 'valid_to', valid_from)
  from becomes where position = 'before'""",
    ]
)

_TOKEN = "jsonb_build_object('broker', %(broker)s::text, 'segment', {0}.segment, 'token', {0}.token)"

# A token that meant another instrument before; withdrawn and assigned within one run is re-tokenised, unless it is the
# new token that comes with a series move.
TOKENS = [
    f"""
insert into change (iid, fact, effective_date, file, line, key, old, new)
select distinct on (c.rn) c.iid, 'token_reused', c.at, c.file, c.line, c.key,
       {_TOKEN.format("b")} || jsonb_build_object('instrument', i.ulid, 'key', b.key), {_TOKEN.format("c")}
  from claim c join by_token p on p.rn = c.rn and p.iid <> c.iid
  join broker_tokens b on b.instrument_id = p.iid and b.token_key = c.token_key and b.broker = %(broker)s and b.segment = c.segment and b.token = c.token
  join instruments i on i.id = b.instrument_id
 where lower(b.valid) < c.lo and not c.history
 order by c.rn, lower(b.valid) desc
""",
    """
create temporary table retokenised on commit drop as
select distinct on (c.rn) c.rn, c.iid, w.token_key as old_key, w.segment as old_segment, w.token as old_token
  from claim c join withdrawn w on w.instrument_id = c.iid and w.venue = c.venue and w.token_key <> c.token_key
 where c.how <> 'new' and not exists (select 1 from overlapped o where o.rn = c.rn and o.instrument_id = c.iid)
 order by c.rn, w.token
""",
    f"""
insert into change (iid, fact, effective_date, file, line, key, old, new)
select c.iid, case when exists (select 1 from change x where x.iid = c.iid and x.fact in ('series_moved', 'group_moved', 'isin_changed')) then 'token_changed' else 'retokenised' end,
       c.at, c.file, c.line, c.key, jsonb_build_object('broker', %(broker)s::text, 'segment', r.old_segment, 'token', r.old_token), {_TOKEN.format("c")}
  from retokenised r join claim c on c.rn = r.rn
""",
    f"""
insert into change (iid, fact, effective_date, file, line, key, new)
select c.iid, 'token_assigned', c.at, c.file, c.line, c.key, {_TOKEN.format("c")}
  from claim c where c.how <> 'new' and not c.history and not exists (select 1 from overlapped o where o.rn = c.rn and o.instrument_id = c.iid)
   and not exists (select 1 from retokenised r where r.rn = c.rn)
""",
    """
insert into change (iid, fact, effective_date, file, line, key, old, new)
select c.iid, 'broker_terms_changed', c.at, c.file, c.line, c.key,
       jsonb_strip_nulls(jsonb_build_object('symbol', o.symbol, 'key', o.key, 'lot_size', o.lot_size, 'tick_size', trim_scale(o.tick_size)::text, 'exchange_token', o.exchange_token)),
       jsonb_strip_nulls(jsonb_build_object('symbol', c.symbol, 'key', c.key, 'lot_size', c.lot_size, 'tick_size', trim_scale(c.tick_size)::text, 'exchange_token', c.exchange_token))
         || jsonb_build_object('broker', %(broker)s::text, 'segment', c.segment, 'token', c.token)
  from claim c join overlapped o on o.rn = c.rn and o.instrument_id = c.iid
 where lower(o.valid) < c.lo and not exists (select 1 from change x where x.iid = c.iid and x.fact not in ('token_reused', 'token_assigned'))
""",
    """
insert into change (iid, fact, effective_date, key, old)
select w.instrument_id, 'token_withdrawn', %(day)s, w.key, jsonb_build_object('broker', w.broker, 'segment', w.segment, 'token', w.token)
  from withdrawn w where not exists (select 1 from ended e where e.iid = w.instrument_id)
   and not exists (select 1 from retokenised r where r.old_key = w.token_key)
""",
]

STEPS = [
    LISTED,
    FRESH,
    "analyze fresh",
    EARLIER,
    "analyze earlier",
    GROWTH,
    ATTRIBUTES,
    "analyze change (iid, fact)",
    *TOKENS,
]

DRAFT = """
insert into told (subject, type, data, occurred_at)
select i.ulid, 'instrument.' || c.fact,
       json_build_object('instrument_id', i.ulid, 'key', c.key, 'effective_date', c.effective_date, 'source', %(broker)s::text,
         'ingestion', %(run)s::bigint,
         'evidence', case when c.line is not null then json_build_object('file', (%(files)s::text[])[c.file + 1], 'line', c.line) end,
         'old', c.old, 'new', c.new)::text,
       %(occurred_at)s
  from change c join instruments i on i.id = c.iid
"""
