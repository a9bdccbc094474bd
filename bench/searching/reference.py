# ruff: noqa: E501 - SQL reads better in its own lines
"""PostgreSQL as the reference: trigrams, full text and materialised steps, behind the same parser.

It is given every advantage: the reading that fits is chosen beforehand, names have a table of their own with the
standing order beside them, the answer is one prepared statement over a pooled connection, and JSON is stored ready.
"""

from dataclasses import dataclass

import psycopg

from instrument_registry.catalog.search import Index, Query
from instrument_registry.catalog.search.identifiers import ISIN, TOKEN
from instrument_registry.catalog.search.matching import Matcher
from instrument_registry.catalog.search.parser import read
from instrument_registry.catalog.search.reading import Reading
from instrument_registry.catalog.search.words import words_of

TABLES = """
create extension if not exists pg_trgm;
create table names (id int primary key, spelling text not null, titles text not null, words tsvector not null);
create table instruments (place int primary key, name int not null, key text not null, isin text, venue text not null,
    kind text not null, option_type text, expiry date, strike float8, underlying text, cash boolean not null, body text not null);
create table tokens (token text not null, place int not null);
"""
INDEXES = """
create index on names (spelling text_pattern_ops);
create index on names using gin (spelling gin_trgm_ops);
create index on names using gin (words);
create index on instruments (name, cash, place);
create index on instruments (name, option_type, strike, expiry, place);
create index on instruments (key);
create index on instruments (isin);
create index on instruments (underlying, option_type);
create index on instruments (venue, kind, place);
create index on instruments (strike, option_type, place) where strike is not null;
create index on tokens (token);
vacuum analyze names; vacuum analyze instruments; vacuum analyze tokens;
"""
PLAINLY = """
    select id, 1 as tier from names where spelling = %(text)s
    union all select id, 3 from names where spelling like %(text)s || '%%'
    union all select id, 4 from names where words @@ to_tsquery('simple', %(words)s)
"""
LOOSELY = "select id, 5 as tier from names where spelling %% %(text)s"
FOUND = """
with found as materialized ({names}),
best as materialized (select id, min(tier) as tier from found group by id),
hits as materialized (select i.place, i.body, b.tier from best b join instruments i on i.name = b.id where {where})
select body, (select count(*) from hits) from hits order by tier, place limit %(limit)s
"""
NAMELESS = "select body, 0 from instruments where {where} order by place limit %(limit)s"
FACETS = """
with hits as materialized (select place, body, venue, kind, option_type, expiry from instruments where {where}),
counts as materialized (
    select grouping(venue, kind, option_type, expiry), venue, kind, option_type, expiry, count(*) from hits
     group by grouping sets ((venue), (kind), (option_type), (expiry)))
select body, (select json_agg(counts)::text from counts) from hits order by place limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One prepared question."""

    sql: str
    values: dict[str, object]


def load(connection: psycopg.Connection, index: Index) -> None:
    """Copy the index's live rows into tuned tables."""
    view, book = index.view, index.view.shelf.book
    _run(connection, TABLES)
    with connection.cursor() as cursor:
        with cursor.copy("copy names from stdin") as copy:
            for name, spelling in enumerate(book.names.texts):
                rows = view.standing.by_name[view.standing.first[name] : view.standing.live[name]]
                titles = {title for row in rows[:2].tolist() for title in view.shelf.titles(view.columns, row)}
                words = {word.lower() for title in titles for word in words_of(title.upper())}
                vector = " ".join(f"'{word}'" for word in sorted(words))
                copy.write_row((name, spelling, " ".join(titles), vector))
        with cursor.copy("copy instruments from stdin") as copy, connection.cursor():
            for place, row in enumerate(view.shown.tolist()):
                cohort = book.members[view.columns.cohort[row]]
                body = (view.fragment(row) + b"}").decode()
                strike = view.columns.strike[row].item()
                key = body.partition('"key":"')[2].partition('"')[0]
                isin = body.partition('"isin":')[2].partition(",")[0].strip('"')
                values = (place, int(view.columns.name[row]), key, isin, cohort.venue, cohort.kind, cohort.option_type)
                contract = (
                    cohort.expiry,
                    strike if strike == strike else None,
                    cohort.underlying,
                    cohort.expiry is None,
                )
                copy.write_row((*values, *contract, body))
        with cursor.copy("copy tokens from stdin") as copy:
            by_token = index.view.exact.token
            for row in range(len(view.columns)):
                body = view.fragment(row).decode().partition('"tokens":{')[2].partition("}")[0]
                for pair in filter(None, body.split(",")):
                    copy.write_row((pair.rpartition(":")[2].strip('"'), int(view.standing.place[row])))
            del by_token
    _run(connection, INDEXES)


def _run(connection: psycopg.Connection, script: str) -> None:
    for statement in filter(None, map(str.strip, script.split(";"))):
        connection.execute(statement.encode())


def statement(index: Index, query: Query) -> Statement:
    """The question that answers a query, by the reading that fits it."""
    text = query.text.strip()
    if not text:
        return _filtered(query)
    if ":" in text:
        return Statement(NAMELESS.format(where="key = %(key)s"), {"key": text, "limit": query.limit})
    if ISIN.fullmatch(text):
        return Statement(NAMELESS.format(where="isin = %(isin)s"), {"isin": text, "limit": query.limit})
    if TOKEN.fullmatch(text):
        where = "place in (select place from tokens where token = %(token)s)"
        return Statement(NAMELESS.format(where=where), {"token": text, "limit": query.limit})
    matcher = Matcher.of(index.view, query.filters)
    readings = list(read(text, known=index.view, as_of=index.view.as_of))
    plainly = index.view.names.find_plainly
    fitting = next((reading for reading in readings if matcher._groups(reading, plainly)), None)
    loose = (
        next((reading for reading in readings if matcher.match([reading])), readings[-1]) if fitting is None else None
    )
    return _read(fitting or loose or readings[-1], loose=fitting is None, limit=query.limit)


def _read(reading: Reading, *, loose: bool, limit: int) -> Statement:
    conditions, values = ["true"], {"limit": limit}
    if reading.derivative:
        conditions = ["not cash"]
        if reading.contract in ("C", "P"):
            conditions.append("option_type = %(side)s")
        elif reading.contract == "F":
            conditions.append("kind = 'future'")
        for asked, condition in (
            (reading.strike, "strike = %(strike)s"),
            (reading.month, "extract(month from expiry) = %(month)s"),
            (reading.day, "extract(day from expiry) = %(day)s"),
            (reading.year, "extract(year from expiry) = %(year)s"),
        ):
            if asked:
                conditions.append(condition)
        values |= {"side": reading.contract, "strike": reading.strike, "month": reading.month}
        values |= {"day": reading.day, "year": reading.year}
    elif reading.words:
        conditions = ["cash"]
    if reading.venues:
        conditions.append("venue = any(%(venues)s)")
        values["venues"] = sorted(reading.venues)
    where = " and ".join(conditions)
    if not reading.words:
        return Statement(NAMELESS.format(where=where), values)
    values["text"] = "".join(reading.words)
    *whole, last = [word.lower() for word in words_of(" ".join(reading.words))]
    values["words"] = " & ".join([*(f"'{word}'" for word in whole), f"'{last}':*"])
    return Statement(FOUND.format(names=LOOSELY if loose else PLAINLY, where=where), values)


def _filtered(query: Query) -> Statement:
    filters = query.filters
    conditions = ["true"]
    if filters.venue:
        conditions.append("venue = any(%(venue)s)")
    if filters.kind:
        conditions.append("kind = any(%(kind)s)")
    if filters.underlying:
        conditions.append("underlying = any(%(underlying)s)")
    if filters.option_type:
        conditions.append("option_type = any(%(option_type)s)")
    values: dict[str, object] = {
        "venue": list(filters.venue), "kind": list(filters.kind), "underlying": list(filters.underlying),
        "option_type": list(filters.option_type), "limit": query.limit,
    }  # fmt: skip
    return Statement((FACETS if query.facets else NAMELESS).format(where=" and ".join(conditions)), values)
