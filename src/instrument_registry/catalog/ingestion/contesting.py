"""Who may bear a key from the run's day on, decided before anything is written: set-based SQL.

A row may give an instrument a key that another one bears: strikes adjusted over a whole chain, a symbol handed on.
The holder gives the key up if it moves itself, or if nobody speaks for it any more (no row of a run of that day or
later). Otherwise the claimant keeps the key it had, its row staying visible as that broker's own view; a claimant
without a key to keep is set aside with its rows.
"""

from instrument_registry.catalog.ingestion.applying import close_versions
from instrument_registry.catalog.ingestion.matching import distance

REASON = "Its key belongs to another instrument that day, which other rows speak for"

# For each instrument met again: its version at the row's day, else the nearest, and what this dump says.
MET = f"""
create temporary table met on commit drop as
select distinct on (r.iid) r.iid, r.at, r.how, r.file, r.line, r.history, v.ctid as place, v.valid_from, v.valid_to, v.known_from as version_known,
       r.key as said_key, r.root as said_root, r.series as said_series, r.expiry as said_expiry, r.strike as said_strike,
       v.key, v.root, v.kind, v.asset_class, v.venue, v.series, v.expiry, v.strike, v.option_type, v.name, v.isin, v.currency, v.lot_size, v.multiplier,
       v.quote_unit, v.tick_size, v.freeze_qty, v.face_value, v.surveillance, v.is_test, v.streamable, v.suspended,
       case when r.at < v.valid_from then 'before' when r.at >= v.valid_to then 'after' else 'within' end as position,
       (r.kind is distinct from v.kind or r.name is distinct from v.name or r.isin is distinct from v.isin or r.series is distinct from v.series
        or r.lot_size is distinct from v.lot_size or r.multiplier is distinct from v.multiplier or r.quote_unit is distinct from v.quote_unit
        or r.tick_size is distinct from v.tick_size or r.freeze_qty is distinct from v.freeze_qty or r.face_value is distinct from v.face_value
        or r.surveillance is distinct from v.surveillance or r.streamable <> v.streamable or r.suspended <> v.suspended or r.key <> v.key) as differs
  from resolved r join instrument_versions v on v.instrument_id = r.iid and v.known_to = 'infinity'
 where r.how <> 'new' and not r.history
 order by r.iid, {distance("r.at", "v")}, (r.key = v.key) desc, (r.series is not distinct from 'EQ') desc, r.rn
"""

# A version that somebody observed later stays as it is: an older dump fills gaps, it does not rewrite.
SETTLED = """
delete from met m
 where position = 'within' and (not differs or exists (
       select 1 from broker_tokens b join last_run l on l.broker = b.broker and l.segment = b.segment
        where b.instrument_id = m.iid and b.known_to = 'infinity' and b.valid @> m.at and l.day > m.at and b.valid @> l.day))
"""

# What asks for a key: instruments that change theirs or have none on the day, and new ones whose key somebody bears or
# asks for. `upto` is where the version that would be written ends.
CLAIMANT = """
create temporary table claimant on commit drop as
select m.iid, m.said_key as key, m.at, m.position, m.how, m.key as own_key,
       least(coalesce(m.said_expiry + 1, 'infinity'), (select min(k.valid_from) from instrument_versions k
              where k.instrument_id = m.iid and k.known_to = 'infinity' and k.valid_from > m.at)) as upto,
       m.position = 'within' and m.valid_from = m.at and m.how <> 'renamed' as settled_today
  from met m where m.said_key <> m.key or m.position <> 'within'
union all
select distinct on (r.iid) r.iid, r.key, r.at, 'new', 'new', null, r.at + 1, false from resolved r
 where r.how = 'new' and (exists (select 1 from instrument_versions k where k.key = r.key and k.known_to = 'infinity')
                       or exists (select 1 from met m where m.said_key = r.key))
 order by iid
"""

# Who bears what is asked for, and whether anybody speaks for him.
RIVAL = """
create temporary table rival on commit drop as
select c.iid, c.key, k.instrument_id as holder, k.ctid as place, k.kind, k.root, k.valid_from,
       k.valid_from > c.at or c.at < %(day)s or exists (
         select 1 from broker_tokens b join last_run l on l.broker = b.broker and l.segment = b.segment
          where b.instrument_id = k.instrument_id and b.known_to = 'infinity' and b.valid @> c.at and l.day >= c.at and b.key = c.key
            and (b.broker <> %(broker)s or not exists (select 1 from run_segment g where g.segment = b.segment)
                 or exists (select 1 from staged s where s.token_key = b.token_key and s.key = b.key))) as spoken_for
  from claimant c join instrument_versions k on k.key = c.key and k.known_to = 'infinity' and k.instrument_id <> c.iid
   and k.valid_from < c.upto and k.valid_to > c.at
"""

# Those who do not get the key, and then those who wanted what they therefore keep.
DENIED = """
create temporary table denied on commit drop as
with recursive denied as (
    select c.iid, c.own_key from claimant c
     where (c.settled_today and c.key <> c.own_key)
        or exists (select 1 from rival r where r.iid = c.iid and r.spoken_for
                      and not exists (select 1 from claimant o where o.iid = r.holder and o.position = 'within'))
        or exists (select 1 from claimant o where o.key = c.key and o.iid < c.iid)
    union
    select c.iid, c.own_key from denied d join rival r on r.holder = d.iid join claimant c on c.iid = r.iid
)
select d.iid, c.position, c.key from denied d join claimant c on c.iid = d.iid
"""

KEEP_KEY = """
update met m set said_key = m.key, said_root = m.root, said_expiry = m.expiry, said_strike = m.strike, said_series = m.series
  from denied d where d.iid = m.iid and d.position = 'within'
"""

SET_ASIDE = """
create temporary table contested on commit drop as
select r.rn, r.iid, r.file, r.line, r.key from resolved r join denied d on d.iid = r.iid and d.position <> 'within'
 where not r.history or r.how = 'new'
"""

NO_LONGER = [
    "delete from resolved r using contested c where c.rn = r.rn",
    "delete from met m using contested c where c.iid = m.iid",
    "delete from minted m using contested c where c.iid = m.iid",
]

YIELDED = """
create temporary table yielded on commit drop as
select distinct on (r.holder) r.holder as iid, r.place, r.key, r.kind, r.root, r.valid_from,
       exists (select 1 from declared_changes d where d.what in ('demerger', 'merger') and d.old_symbol = r.root
                  and d.effective_date between %(day)s::date - 10 and %(day)s) as declared
  from rival r join claimant c on c.iid = r.iid
 where not exists (select 1 from denied d where d.iid = r.iid)
   and not exists (select 1 from claimant o where o.iid = r.holder and o.position = 'within')
 order by r.holder
"""

STEPS = [
    MET, "create unique index on met (iid)", "analyze met (iid, differs)", SETTLED,
    CLAIMANT, "create index on claimant (iid)", "create index on claimant (key)", "analyze claimant", RIVAL, "create index on rival (iid)",
    "create index on rival (holder)", "analyze rival", DENIED, KEEP_KEY, SET_ASIDE, *NO_LONGER, YIELDED, *close_versions("yielded"),
]  # fmt: skip
