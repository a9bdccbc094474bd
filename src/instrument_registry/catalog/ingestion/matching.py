"""Which permanent instrument each changed row means: set-based SQL, one statement a rule, in the order of the rules.

Order: token with unchanged contract; token with an adjusted contract; ISIN at the venue; a declared change; a renamed
token; the contract itself; else a new instrument. Neither a key nor a token alone ever decides: a token counts only
with the contract (or what is left of it after an adjustment), a key only when its holder is not moving away.

Every statement reads `todo` (rows that differ from what this broker said last) and inserts into `matched`.
"""

# Days between a date and a half-open validity; 0 inside it. Infinite ends are never subtracted.
DISTANCE = "case when {at} < {v}.valid_from then {v}.valid_from - {at} when {at} >= {v}.valid_to then {at} - {v}.valid_to + 1 else 0 end"

# Tokens of adjusted contracts live on overnight; a longer gap is more likely another contract.
ADJUSTED_WITHIN_DAYS = 7
# Exchanges move an expiry by some sessions (12-31 to 12-29, Thursday to Tuesday), never to another month.
EXPIRY_MOVES_DAYS = 10

EQUITY_LIKE = "('equity', 'preference_share', 'etf', 'reit', 'invit')"
DERIVATIVE = "('future', 'option', 'crypto_future')"


def distance(at: str, version: str) -> str:
    """SQL for the days between a date and a version's validity."""
    return DISTANCE.format(at=at, v=version)


# `at` is the day a row speaks of: the market date, or the last day of a contract that has expired by then.
TODO = """
create temporary table todo on commit drop as
select row_number() over (order by s.key, s.file, s.line) as rn, s.*, least(%(day)s::date, s.expiry) as at,
       coalesce(s.expiry < %(day)s::date, false) as history, split_part(s.key, ';', 2) as suffix
  from staged s
 where not exists (
       select 1 from broker_tokens b
        where b.token_key = s.token_key and b.known_to = 'infinity' and b.row_hash = s.row_hash
          and b.valid @> least(%(day)s::date, s.expiry)
          and b.broker = %(broker)s and b.segment = s.segment and b.token = s.token)
"""

PREPARE = [
    "create index on staged (key)",
    "create index on staged (root, venue)",
    "create unique index on todo (rn)",
    "create index on todo (key)",
    "analyze todo (rn, key, token_key, exchange_token, venue, kind, isin)",
    "create temporary table matched (rn bigint primary key, iid bigint not null, how text not null) on commit drop",
    "create index on matched (iid)",
]

# Instruments that the row's token means or meant, at this broker or (by the exchange's own number) at any other,
# each with its version nearest to the row's day.
BY_TOKEN = f"""
create temporary table by_token on commit drop as
with pair as (
    select t.rn, b.instrument_id from todo t join broker_tokens b on b.token_key = t.token_key
     where b.known_to = 'infinity' and b.broker = %(broker)s and b.segment = t.segment and b.token = t.token
    union
    select t.rn, b.instrument_id from todo t
      join broker_tokens b on b.exchange_token = t.exchange_token and b.venue = t.venue
     where b.known_to = 'infinity'
)
select distinct on (p.rn, p.instrument_id)
       p.rn, p.instrument_id as iid, v.key, v.kind, v.root, v.expiry, v.strike, v.option_type, v.isin,
       split_part(v.key, ';', 2) as suffix, {distance("t.at", "v")} as distance
  from pair p join todo t on t.rn = p.rn
  join instrument_versions v on v.instrument_id = p.instrument_id and v.known_to = 'infinity'
 order by p.rn, p.instrument_id, distance
"""

_INSERT = "insert into matched (rn, iid, how) select distinct on (t.rn) t.rn, {iid}, '{how}' "
_OPEN = " not exists (select 1 from matched m where m.rn = t.rn) "
_NOT_TAKEN = " not exists (select 1 from matched m join todo o on o.rn = m.rn where m.iid = {iid} and o.key <> t.key) "
_ISSUERS_AGREE = " (t.isin is null or {isin} is null or left(t.isin, 7) = left({isin}, 7)) "
_KEY_GONE = " not exists (select 1 from staged s where s.key = {key}) "
_ROOT_GONE = " not exists (select 1 from staged s where s.root = {root} and s.venue = t.venue) "

TOKEN_AND_CONTRACT = (
    _INSERT.format(iid="c.iid", how="same")
    + f"from todo t join by_token c on c.rn = t.rn and c.key = t.key where (c.distance <= {ADJUSTED_WITHIN_DAYS} or {_ISSUERS_AGREE.format(isin='c.isin')})"
    + " order by t.rn, c.distance, c.iid"
)

TOKEN_AND_ADJUSTED_CONTRACT = (
    _INSERT.format(iid="c.iid", how="adjusted")
    + f"""from todo t join by_token c on c.rn = t.rn
 where t.kind = c.kind and t.kind in {DERIVATIVE} and t.option_type is not distinct from c.option_type
   and c.expiry >= t.at and c.distance <= {ADJUSTED_WITHIN_DAYS} and t.key <> c.key
   and (   (t.root = c.root and t.expiry = c.expiry and t.strike is distinct from c.strike)
        or (t.root = c.root and t.strike is not distinct from c.strike and abs(t.expiry - c.expiry) <= {EXPIRY_MOVES_DAYS})
        or (t.root <> c.root and t.expiry = c.expiry and t.strike is not distinct from c.strike
            and {_ROOT_GONE.format(root="c.root")}))
   and {_OPEN} and {_NOT_TAKEN.format(iid="c.iid")}
 order by t.rn, c.distance, c.iid"""
)

TOKEN_AND_ISIN = (
    _INSERT.format(iid="c.iid", how="renamed")
    + f"""from todo t join by_token c on c.rn = t.rn and c.isin = t.isin
 where t.kind not in {DERIVATIVE} and {_OPEN} and {_NOT_TAKEN.format(iid="c.iid")} and {_KEY_GONE.format(key="c.key")}
 order by t.rn, c.distance, c.iid"""
)

ISIN_AND_VENUE = (
    _INSERT.format(iid="v.instrument_id", how="renamed")
    + f"""from todo t join instrument_versions v on v.isin = t.isin and v.venue = t.venue and v.known_to = 'infinity'
 where t.kind not in {DERIVATIVE} and split_part(v.key, ';', 2) = t.suffix
   and (v.key = t.key or {_KEY_GONE.format(key="v.key")})
   and {_OPEN} and {_NOT_TAKEN.format(iid="v.instrument_id")}
 order by t.rn, v.key = t.key desc, {distance("t.at", "v")}, v.instrument_id"""
)

# Chains of symbol changes are followed to their end in both directions: an old dump names the instrument by a symbol
# that was changed since, a new one by a symbol it did not have yet.
DECLARED_NAMES = """
create temporary table declared_names on commit drop as
with recursive chain as (
    select exchange, old_symbol as earlier, new_symbol as later, effective_date as first_date, effective_date as last_date, 1 as hops
      from declared_changes where what = 'symbol_change' and old_symbol <> new_symbol
    union
    select c.exchange, c.earlier, d.new_symbol, c.first_date, d.effective_date, c.hops + 1
      from chain c join declared_changes d on d.what = 'symbol_change' and d.exchange = c.exchange
       and d.old_symbol = c.later and d.effective_date >= c.last_date and d.new_symbol <> c.earlier
     where c.hops < 10
)
select exchange, earlier, later, min(first_date) as first_date, max(last_date) as last_date from chain group by 1, 2, 3
"""

DECLARED = (
    _INSERT.format(iid="v.instrument_id", how="renamed")
    + f"""from todo t join declared_names d on d.exchange = t.venue
   and ((d.later = t.root and d.first_date <= t.at + 7) or (d.earlier = t.root and d.last_date > t.at))
  join instrument_versions v on v.known_to = 'infinity' and v.venue = t.venue
   and v.root = case when d.later = t.root then d.earlier else d.later end
 where t.kind not in {DERIVATIVE} and split_part(v.key, ';', 2) = t.suffix and v.key <> t.key
   and {_ISSUERS_AGREE.format(isin="v.isin")} and {_KEY_GONE.format(key="v.key")}
   and not exists (select 1 from instrument_versions k where k.key = t.key and k.known_to = 'infinity'
                      and k.valid_from <= t.at and t.at < k.valid_to)
   and {_OPEN} and {_NOT_TAKEN.format(iid="v.instrument_id")}
 order by t.rn, {distance("t.at", "v")}, v.instrument_id"""
)

# A share's token lives as long as the listing. With the old name gone from the dump, the new one unknown and nothing
# against it, the listing was renamed. Bonds and bills get no such benefit: their tokens are handed on.
TOKEN_RENAMED = (
    _INSERT.format(iid="c.iid", how="renamed")
    + f"""from todo t join by_token c on c.rn = t.rn
 where t.kind in {EQUITY_LIKE} and c.kind in {EQUITY_LIKE} and t.suffix = c.suffix
   and {_ISSUERS_AGREE.format(isin="c.isin")} and {_KEY_GONE.format(key="c.key")}
   and not exists (select 1 from instrument_versions k where k.key = t.key and k.known_to = 'infinity')
   and {_OPEN} and {_NOT_TAKEN.format(iid="c.iid")}
 order by t.rn, c.distance, c.iid"""
)

# The contract itself. Not when its holder moves to another key in this very run, not across a declared demerger with
# another token, and not onto another company's share that bore the symbol before.
CONTRACT = (
    _INSERT.format(iid="v.instrument_id", how="same")
    + f"""from todo t join instrument_versions v on v.key = t.key and v.known_to = 'infinity'
 where {_OPEN} and {_NOT_TAKEN.format(iid="v.instrument_id")}
   and (t.kind in {DERIVATIVE} or {_ISSUERS_AGREE.format(isin="v.isin")})
   and not (t.kind in {DERIVATIVE} and not exists (
            select 1 from by_token c where c.rn = t.rn and c.iid = v.instrument_id)
        and exists (select 1 from declared_changes d where d.what in ('demerger', 'merger') and d.old_symbol = t.root
                       and d.effective_date <= t.at and d.effective_date > v.valid_from))
 order by t.rn, {distance("t.at", "v")}, v.instrument_id"""
)

# Two rows of one dump may not rename one instrument to two keys: the first rule that spoke keeps it.
ONE_KEY_EACH = """
delete from matched m using (
    select m.rn, m.iid, t.key, first_value(t.key) over (
           partition by m.iid order by case m.how when 'same' then 0 when 'adjusted' then 1 else 2 end, m.rn) as kept
      from matched m join todo t on t.rn = m.rn) x
 where x.rn = m.rn and x.key <> x.kept
"""

# A key that a matched row bears already is that instrument's, however many tokens the dump gives it.
HOLDER = """
create temporary table holder on commit drop as
select distinct on (t.key) t.key, m.iid from matched m join todo t on t.rn = m.rn order by t.key, m.rn
"""

MINTED = """
create temporary table minted on commit drop as
select row_number() over () as n, key, nextval('instrument_ids') as iid
  from (select distinct t.key from todo t where not exists (select 1 from matched m where m.rn = t.rn)
           and not exists (select 1 from holder h where h.key = t.key)) k
"""

RESOLVED = """
create temporary table resolved on commit drop as
select t.*, coalesce(m.iid, h.iid, n.iid) as iid, case when n.iid is not null then 'new' else coalesce(m.how, 'same') end as how
  from todo t left join matched m on m.rn = t.rn left join holder h on m.rn is null and h.key = t.key
  left join minted n on m.rn is null and h.iid is null and n.key = t.key
"""

STEPS = [
    TODO, *PREPARE, BY_TOKEN, "create index on by_token (rn)", "analyze by_token (rn, iid, key)", DECLARED_NAMES,
    TOKEN_AND_CONTRACT, "analyze matched", TOKEN_AND_ADJUSTED_CONTRACT, TOKEN_AND_ISIN, ISIN_AND_VENUE, DECLARED, TOKEN_RENAMED,
    "analyze matched", CONTRACT, ONE_KEY_EACH, "analyze matched", HOLDER, MINTED, "create unique index on minted (key)", "analyze minted",
    RESOLVED, "create index on resolved (iid)", "create index on resolved (token_key)", "analyze resolved (iid, how, segment)",
]  # fmt: skip
