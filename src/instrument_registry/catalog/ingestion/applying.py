"""What a run changes, set-based: broker tokens, attribute versions, ends of life, and the facts that tell of it.

Input is `resolved` (matching.py): every row that differs from what the broker said last, with its instrument.
`change` collects one row for each fact. Nothing is updated in place but the end of knowing: a superseded row gets
known_to, its remainders and its successor are inserted.
"""

from instrument_registry.catalog.ingestion.matching import DERIVATIVE

# A broker whose last run lies further back no longer votes and keeps nothing alive.
FRESH_DAYS = 7

# Where brokers cannot be counted (spelling, detail), the first in this order that says anything is believed.
SPEAKERS = ("nse", "bse", "upstox", "dhan", "fyers", "nuvama", "aliceblue", "angel", "shoonya", "zerodha", "bybit")
OFFICIAL = ("nse", "bse")

TOKEN_COLUMNS = (
    "instrument_id, broker, segment, token, exchange_token, venue, valid, known_from, known_to, ingestion_id, file, line, row_hash, key, symbol, kind, "
    "name, isin, series, lot_size, multiplier, quote_unit, tick_size, freeze_qty, face_value, surveillance, streamable, suspended"
)
VERSION_COLUMNS = (
    "instrument_id, valid_from, valid_to, known_from, known_to, ingestion_id, key, root, kind, asset_class, venue, series, expiry, strike, option_type, "
    "name, isin, currency, lot_size, multiplier, quote_unit, tick_size, freeze_qty, face_value, surveillance, is_test, streamable, suspended"
)


def _copied_token(valid: str) -> str:
    """The columns of a superseded row's remainder: all as they were, but its validity and when we knew."""
    return TOKEN_COLUMNS.replace("valid, known_from, known_to,", f"{valid}, %(known)s, 'infinity',", 1)


# What a version says, beside when.
_SAID = VERSION_COLUMNS.split("ingestion_id, ")[1]


def _prefixed(columns: str) -> str:
    return ", ".join(f"v.{name}" for name in columns.split(", "))


def _copied_version(valid_from: str, valid_to: str) -> str:
    return _prefixed(VERSION_COLUMNS).replace(
        "v.valid_from, v.valid_to, v.known_from, v.known_to,", f"{valid_from}, {valid_to}, %(known)s, 'infinity',", 1
    )


CHANGE = """
create temporary table change (
    iid bigint not null, fact text not null, effective_date date not null,
    file smallint, line integer, old json, new json, key text) on commit drop
"""

# Of each segment of this run: the applied runs of the same broker around the market date.
SEGMENTS = """
create temporary table run_segment on commit drop as
select g.segment, count(*) as rows,
       (select min(i.market_date) from ingestion_segments i where i.broker = %(broker)s and i.segment = g.segment and i.market_date > %(day)s) as next_day,
       (select max(i.market_date) from ingestion_segments i where i.broker = %(broker)s and i.segment = g.segment and i.market_date <= %(day)s) as last_day
  from staged g group by g.segment
"""

LAST_RUN = f"""
create temporary table last_run on commit drop as
select broker, segment, max(market_date) as day, max(market_date) >= %(day)s::date - {FRESH_DAYS} as fresh
  from ingestion_segments group by 1, 2
"""

# --- instruments ---------------------------------------------------------------------------------------------------

MINT_INSTRUMENTS = """
insert into instruments (id, ulid, listed_on, expiry, ended_on, ended_as)
select n.iid, u.ulid, r.at, r.expiry, case when r.history then r.expiry + 1 end, case when r.history then 'expired' end
  from minted n join minted_ulid u on u.n = n.n
  join (select distinct on (iid) iid, at, expiry, history from resolved where how = 'new' order by iid, rn) r on r.iid = n.iid
"""

MINT_VERSIONS = f"""
insert into instrument_versions ({VERSION_COLUMNS})
select distinct on (r.iid) r.iid, r.at,
       least(coalesce(r.expiry + 1, 'infinity'),
             (select min(k.valid_from) from instrument_versions k where k.key = r.key and k.known_to = 'infinity' and k.valid_from > r.at)),
       %(known)s, 'infinity', %(run)s, key, root, kind, asset_class, venue, series, expiry, strike, option_type,
       name, isin, currency, lot_size, multiplier, quote_unit, tick_size, freeze_qty, face_value, surveillance, is_test, streamable, suspended
  from resolved r where how = 'new' order by r.iid, r.rn
"""

# A new instrument whose key is another's later on (back-filled history) has ended by then.
END_MINTED = f"""
update instruments i set ended_on = v.valid_to, ended_as = case when v.kind in {DERIVATIVE} then 'removed' else 'delisted' end
  from minted n join instrument_versions v on v.instrument_id = n.iid
 where i.id = n.iid and i.ended_on is null and v.valid_to < coalesce(v.expiry + 1, 'infinity')
"""

# --- broker tokens -------------------------------------------------------------------------------------------------

# Each changed row claims its token from its day until the contract ends or, for a day in the past, until this
# broker's next run. History (contracts expired by the market date) claims its last day only, if nobody holds it.
CLAIM = """
create temporary table claim on commit drop as
select r.*, r.at as lo,
       least(coalesce(r.expiry + 1, 'infinity'::date), coalesce(g.next_day, 'infinity'::date)) as hi, g.next_day
  from resolved r join run_segment g on g.segment = r.segment
 where not (r.history and exists (
       select 1 from broker_tokens b where b.token_key = r.token_key and b.known_to = 'infinity'
          and b.valid && daterange(r.at, r.at + 1)))
"""

OVERLAPPED = """
create temporary table overlapped on commit drop as
select b.*, b.ctid as place, c.rn, c.lo, c.hi, c.next_day
  from claim c join broker_tokens b on b.token_key = c.token_key and b.known_to = 'infinity' and b.valid && daterange(c.lo, c.hi)
"""

SUPERSEDE_TOKENS = "update broker_tokens b set known_to = %(known)s from overlapped o where b.ctid = o.place"

TOKENS_BEFORE = f"""
insert into broker_tokens ({TOKEN_COLUMNS})
select {_copied_token("daterange(lower(valid), lo)")} from overlapped where lower(valid) < lo
"""

TOKENS_AFTER = f"""
insert into broker_tokens ({TOKEN_COLUMNS})
select {_copied_token("daterange(hi, upper(valid))")} from overlapped
 where next_day is not null and coalesce(upper(valid), 'infinity') > hi
"""

WRITE_TOKENS = f"""
insert into broker_tokens ({TOKEN_COLUMNS})
select iid, %(broker)s, segment, token, exchange_token, venue, daterange(lo, nullif(hi, 'infinity')), %(known)s, 'infinity', %(run)s, file, line,
       row_hash, key, symbol, kind, name, isin, series, lot_size, multiplier, quote_unit, tick_size, freeze_qty, face_value, surveillance,
       streamable, suspended
  from claim order by token_key
"""

# Tokens this broker listed until now, in segments this dump covers, and no longer does. Only the newest run of a
# segment may withdraw; an older one knows nothing of what came after it.
WITHDRAWN = """
create temporary table withdrawn on commit drop as
select b.*, b.ctid as place from broker_tokens b
  join run_segment g on g.segment = b.segment and g.next_day is null
 where b.broker = %(broker)s and b.known_to = 'infinity' and b.valid @> %(day)s::date and lower(b.valid) < %(day)s::date
   and not exists (select 1 from staged s where s.token_key = b.token_key)
"""

SUPERSEDE_WITHDRAWN = "update broker_tokens b set known_to = %(known)s from withdrawn w where b.ctid = w.place"

TRIM_WITHDRAWN = f"""
insert into broker_tokens ({TOKEN_COLUMNS})
select {_copied_token("daterange(lower(valid), %(day)s::date)")} from withdrawn
"""

# --- versions ------------------------------------------------------------------------------------------------------

# Attribute votes: an official file wins; then, for figures, the value most fresh brokers give, the later run on a tie;
# for words, the first speaker in the declared order.
_SPEAKER = "array_position(array[" + ", ".join(f"'{name}'" for name in SPEAKERS) + "], b.broker)"
_OFFICIAL = "b.broker in (" + ", ".join(f"'{name}'" for name in OFFICIAL) + ")"
VOTED = f"""
create temporary table voted on commit drop as
with vote as (
    select m.iid, a.attribute, a.value, a.counted, {_OFFICIAL} as official, b.broker, {_SPEAKER} as speaker, l.day,
           a.attribute = 'kind' and a.value = 'equity' as weak
      from met m
      join broker_tokens b on b.instrument_id = m.iid and b.known_to = 'infinity' and b.valid @> m.at
      join last_run l on l.broker = b.broker and l.segment = b.segment and l.fresh
     cross join lateral (values
        ('kind', b.kind, false), ('name', b.name, false), ('isin', b.isin, true), ('series', b.series, true), ('lot_size', b.lot_size::text, true),
        ('multiplier', b.multiplier::text, true), ('quote_unit', b.quote_unit, false), ('tick_size', nullif(b.tick_size, 0)::text, true),
        ('freeze_qty', b.freeze_qty::text, true), ('face_value', b.face_value::text, true), ('surveillance', b.surveillance, false),
        ('suspended', nullif(b.suspended, false)::text, true), ('streamable', b.streamable::text, true)) a (attribute, value, counted)
     where m.differs and a.value is not null),
tally as (
    select iid, attribute, value, bool_or(official) as official, bool_and(weak) as weak,
           case when bool_or(counted) then count(distinct broker) else 0 end as votes,
           case when bool_or(counted) then 0 else min(speaker) end as speaker, max(day) as day
      from vote group by 1, 2, 3),
chosen as (
    select distinct on (iid, attribute) iid, attribute, value from tally
     order by iid, attribute, weak, official desc, votes desc, speaker, day desc, value)
select iid, max(value) filter (where attribute = 'kind') as kind, max(value) filter (where attribute = 'name') as name,
       max(value) filter (where attribute = 'isin') as isin, max(value) filter (where attribute = 'series') as series,
       (max(value) filter (where attribute = 'lot_size'))::bigint as lot_size, (max(value) filter (where attribute = 'multiplier'))::numeric as multiplier,
       max(value) filter (where attribute = 'quote_unit') as quote_unit, (max(value) filter (where attribute = 'tick_size'))::numeric as tick_size,
       (max(value) filter (where attribute = 'freeze_qty'))::bigint as freeze_qty, (max(value) filter (where attribute = 'face_value'))::numeric as face_value,
       max(value) filter (where attribute = 'surveillance') as surveillance, coalesce((max(value) filter (where attribute = 'suspended'))::boolean, false) as suspended,
       (max(value) filter (where attribute = 'streamable'))::boolean as streamable
  from chosen group by iid
"""

# What the version becomes: the contract as this dump says it, each attribute as voted, else as it was.
BECOMES = """
create temporary table becomes on commit drop as
select m.*, coalesce(w.kind, m.kind) as new_kind, coalesce(w.name, m.name) as new_name, coalesce(w.isin, m.isin) as new_isin,
       coalesce(w.series, m.series) as new_series, coalesce(w.lot_size, m.lot_size) as new_lot_size, coalesce(w.multiplier, m.multiplier) as new_multiplier,
       coalesce(w.quote_unit, m.quote_unit) as new_quote_unit, coalesce(w.tick_size, m.tick_size) as new_tick_size,
       coalesce(w.freeze_qty, m.freeze_qty) as new_freeze_qty, coalesce(w.face_value, m.face_value) as new_face_value,
       case when w.iid is null then m.surveillance else w.surveillance end as new_surveillance,
       coalesce(w.suspended, m.suspended) as new_suspended, coalesce(w.streamable, m.streamable) as new_streamable,
       coalesce(m.said_expiry + 1, 'infinity'::date) as ends
  from met m left join voted w on w.iid = m.iid
"""

UNCHANGED_VERSIONS = """
delete from becomes where position = 'within' and said_key = key and new_kind = kind and new_name is not distinct from name and new_isin is not distinct from isin
   and new_series is not distinct from series and new_lot_size is not distinct from lot_size and new_multiplier is not distinct from multiplier
   and new_quote_unit is not distinct from quote_unit and new_tick_size is not distinct from tick_size and new_freeze_qty is not distinct from freeze_qty
   and new_face_value is not distinct from face_value and new_surveillance is not distinct from surveillance and new_suspended = suspended
   and new_streamable = streamable
"""

# All that is to be believed of the instruments that change: what stays, what is left of the superseded version, and
# its successor, forward to the end of the contract, into a gap only up to the version that follows it.
PIECE = f"""
create temporary table piece on commit drop as
select v.ctid as place, instrument_id, valid_from, valid_to, ingestion_id, {_SAID}
  from instrument_versions v
 where v.known_to = 'infinity' and exists (select 1 from becomes b where b.iid = v.instrument_id)
   and not exists (select 1 from becomes b where b.place = v.ctid and b.position = 'within')
union all
select null, v.instrument_id, v.valid_from, b.at, v.ingestion_id, {_prefixed(_SAID)}
  from becomes b join instrument_versions v on v.ctid = b.place where b.position = 'within' and b.valid_from < b.at
union all
select null, iid, at,
       case when position = 'within' and said_key = key then valid_to
            else least(ends, (select min(k.valid_from) from instrument_versions k where k.instrument_id = iid and k.known_to = 'infinity' and k.valid_from > at)) end,
       %(run)s, said_key, said_root, new_kind, asset_class, venue, new_series, said_expiry, said_strike, option_type,
       new_name, new_isin, currency, new_lot_size, new_multiplier, new_quote_unit, new_tick_size, new_freeze_qty, new_face_value, new_surveillance,
       is_test, new_streamable, new_suspended
  from becomes
"""

# Pieces that follow one another and say the same are one stretch.
STRETCH = f"""
create temporary table stretch on commit drop as
with follows as (
    select *, (lag(valid_to) over w = valid_from and row({_SAID}) is not distinct from lag(row({_SAID})) over w) is true as goes_on
      from piece window w as (partition by instrument_id order by valid_from)),
numbered as (
    select *, count(*) filter (where not goes_on) over (partition by instrument_id order by valid_from) as n from follows)
select *, max(valid_to) over stretch as ends, count(*) over stretch > 1 or place is null as written
  from numbered window stretch as (partition by instrument_id, n)
"""

SUPERSEDE_VERSIONS = """
update instrument_versions v set known_to = %(known)s
  from (select place from becomes where position = 'within' union select place from stretch where written) s
 where v.ctid = s.place
"""

WRITE_VERSIONS = f"""
insert into instrument_versions ({VERSION_COLUMNS})
select instrument_id, valid_from, ends, %(known)s, 'infinity', ingestion_id, {_SAID} from stretch where written and not goes_on
"""

MOVE_EXPIRY = """
update instruments i set expiry = b.said_expiry from becomes b where i.id = b.iid and b.position <> 'before' and i.expiry is distinct from b.said_expiry
"""

# A contract that ends on another day than some broker says: what he calls it ends with it.
OUTLIVING = """
create temporary table outliving on commit drop as
select b.*, b.ctid as place, l.ends
  from (select m.iid, (select max(v.valid_to) from instrument_versions v where v.instrument_id = m.iid and v.known_to = 'infinity') as ends
          from met m where m.said_expiry is distinct from m.expiry
            or exists (select 1 from claim c where c.iid = m.iid and c.expiry is distinct from m.said_expiry)) l
  join broker_tokens b on b.instrument_id = l.iid and b.known_to = 'infinity' and coalesce(upper(b.valid), 'infinity') > l.ends
"""

SUPERSEDE_OUTLIVING = "update broker_tokens b set known_to = %(known)s from outliving o where b.ctid = o.place"

TRIM_OUTLIVING = f"""
insert into broker_tokens ({TOKEN_COLUMNS})
select {_copied_token("daterange(lower(valid), ends)")} from outliving where lower(valid) < ends
"""

# Whoever types the former name finds the instrument.
FORMER_NAMES = f"""
insert into aliases (alias, target, reason, valid_from, actor, created_at)
select distinct lower(root), said_root, 'former name', at, 'ingestion ' || %(run)s, %(known)s from becomes
 where position <> 'before' and said_root <> root and kind not in {DERIVATIVE}
    on conflict do nothing
"""

FIRST_SEEN = "update instruments i set listed_on = b.at from becomes b where i.id = b.iid and b.position = 'before' and b.at < i.listed_on"

RELIST = """
with again as (
    update instruments i set ended_on = null, ended_as = null from becomes b
     where i.id = b.iid and b.position = 'after' and i.ended_on <= b.at and i.ended_as <> 'expired' returning i.id)
insert into change (iid, fact, effective_date, file, line, key)
select b.iid, 'relisted', b.at, b.file, b.line, b.said_key from again join becomes b on b.iid = again.id
"""

# --- ends of life --------------------------------------------------------------------------------------------------

EXPIRE = """
with gone as (
    update instruments set ended_on = expiry + 1, ended_as = 'expired'
     where ended_on is null and expiry < %(horizon)s returning id, expiry)
insert into change (iid, fact, effective_date, key)
select g.id, 'expired', g.expiry + 1, v.key
  from gone g left join instrument_versions v on v.instrument_id = g.id and v.known_to = 'infinity' and v.valid_to = g.expiry + 1
"""

# Withdrawn by this broker, carried by no other that is fresh and seen by none later: it has left the market before any
# expiry. Those who are no longer fresh do not keep it, and what they called it ends with it.
ENDED = """
create temporary table ended on commit drop as
select distinct on (w.instrument_id) w.instrument_id as iid, w.line, w.file, v.ctid as place, v.key, v.kind, v.root, v.venue, v.valid_from,
       exists (select 1 from declared_changes d where d.what in ('demerger', 'merger') and d.old_symbol = v.root
                  and d.effective_date between %(day)s::date - 10 and %(day)s) as declared
  from withdrawn w
  join instruments i on i.id = w.instrument_id and i.ended_on is null
  join instrument_versions v on v.instrument_id = w.instrument_id and v.known_to = 'infinity' and v.valid_from <= %(day)s and v.valid_to > %(day)s
 where not exists (
       select 1 from broker_tokens b join last_run l on l.broker = b.broker and l.segment = b.segment
        where b.instrument_id = w.instrument_id and b.known_to = 'infinity'
          and ((b.valid @> %(day)s::date and l.fresh) or lower(b.valid) > %(day)s))
 order by w.instrument_id
"""


# What is left of a version is written before the row is superseded: an update moves the row its place pointed at.
def close_versions(table: str) -> list[str]:
    """SQL that ends the life of the instruments in a table, and what brokers call them, on the day of the run."""
    return [
        f"""create temporary table {table}_token on commit drop as
            select b.*, b.ctid as place from {table} e join broker_tokens b on b.instrument_id = e.iid and b.known_to = 'infinity'
             where b.valid && daterange(%(day)s, null)""",
        f"update broker_tokens b set known_to = %(known)s from {table}_token t where b.ctid = t.place",
        f"""insert into broker_tokens ({TOKEN_COLUMNS})
            select {_copied_token("daterange(lower(valid), %(day)s::date)")} from {table}_token where lower(valid) < %(day)s""",
        f"""insert into instrument_versions ({VERSION_COLUMNS})
            select {_copied_version("v.valid_from", "%(day)s::date")}
              from {table} e join instrument_versions v on v.ctid = e.place where v.valid_from < %(day)s""",
        f"update instrument_versions v set known_to = %(known)s from {table} e where v.ctid = e.place",
        f"""update instruments i set ended_on = %(day)s, ended_as = case when e.declared then 'closed_early'
                  when e.kind in {DERIVATIVE} then 'removed' else 'delisted' end
             from {table} e where i.id = e.iid""",
        f"""insert into change (iid, fact, effective_date, key)
            select iid, case when declared then 'closed_early' when kind = 'option' then 'strike_removed' else 'delisted' end, %(day)s, key from {table}""",
    ]


# What foreign keys would ask row by row.
ORPHANS = "select count(*) from claim c where not exists (select 1 from instruments i where i.id = c.iid)"

RECORD_SEGMENTS = """
insert into ingestion_segments (ingestion_id, broker, feed, segment, market_date, invented, rows, expired)
select %(run)s, %(broker)s, %(feed)s, g.segment, %(day)s, %(invented)s, g.rows,
       coalesce((select jsonb_object_agg(x.expiry, x.rows) from (
                   select s.expiry, count(*) as rows from staged s where s.segment = g.segment and s.expiry < %(day)s group by 1) x), '{}')
  from run_segment g
"""

TOKENS = [
    CLAIM, "create index on claim (token_key)", "create index on claim (iid)", "analyze claim (token_key, rn, iid, how)", OVERLAPPED, SUPERSEDE_TOKENS, TOKENS_BEFORE, TOKENS_AFTER, WRITE_TOKENS,
    WITHDRAWN, SUPERSEDE_WITHDRAWN, TRIM_WITHDRAWN, "create index on withdrawn (instrument_id)", "analyze withdrawn (instrument_id)",
]  # fmt: skip

VERSIONS = [
    VOTED, "analyze voted (iid)", BECOMES, UNCHANGED_VERSIONS,
    "analyze becomes (iid, position)", PIECE, STRETCH, SUPERSEDE_VERSIONS, WRITE_VERSIONS, MINT_VERSIONS, END_MINTED,
    OUTLIVING, SUPERSEDE_OUTLIVING, TRIM_OUTLIVING, RELIST, MOVE_EXPIRY, FORMER_NAMES, FIRST_SEEN,
    EXPIRE, ENDED, *close_versions("ended"),
]  # fmt: skip
