"""Many exact identifiers of every sort at once: keys, ids, tokens, ISINs, symbols and relative references."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from instrument_registry.catalog.model import VENUES
from instrument_registry.catalog.search.chains import relative
from instrument_registry.catalog.search.exact import Buckets, TokenBuckets, token_hash
from instrument_registry.catalog.search.identifiers import ISIN, ULID
from instrument_registry.catalog.search.view import View
from instrument_registry.catalog.search.words import upper


class Resolved(NamedTuple):
    """What an identifier means: no row, one, or several between which the caller has to choose."""

    rows: tuple[int, ...]
    by: str  # key, id, isin, token, symbol or relative


class _Wanted(NamedTuple):
    by: str
    hash: int
    member: bytes | None  # that the row's JSON must hold
    segment: int | None = None


NOTHING = Resolved((), "")


def resolve(view: View, identifiers: Sequence[str]) -> list[Resolved]:
    """What each identifier means, in order; rows that are not shown by default count too.

    An identifier is a key `NSE:RELIANCE`, a relative reference `NFO:NIFTY;F;@1`, `broker:token`,
    `broker:SEGMENT:token`, `isin:INE002A01018`, an id, or a compact symbol.
    """
    answers = [NOTHING] * len(identifiers)
    left: dict[int, list[_Wanted]] = {}
    for place, text in enumerate(identifiers):
        if "@" in text and (row := relative(view, upper(text))) is not None:
            answers[place] = Resolved((row,), "relative")
        elif wanted := _wanted(view, text.strip()):
            left[place] = wanted
    while left:
        for place, rows, by in _found(view, [(place, wanted[0]) for place, wanted in left.items()]):
            answers[place] = Resolved(rows, by)
        left = {place: wanted[1:] for place, wanted in left.items() if not answers[place].rows and wanted[1:]}
    return answers


def _wanted(view: View, text: str) -> list[_Wanted]:
    """The ways to take an identifier, the likeliest first."""
    head, colon, rest = text.partition(":")
    folded = upper(text)
    if not colon:
        if ULID.fullmatch(folded):
            return [_Wanted("id", hash(folded), b'"id":"' + folded.encode() + b'"')]
        symbol = _Wanted("symbol", hash(folded), None)
        if ISIN.fullmatch(folded):
            return [_Wanted("isin", hash(folded), b'"isin":"' + folded.encode() + b'"'), symbol]
        return [symbol]
    if head.lower() == "isin":
        isin = upper(rest)
        return [_Wanted("isin", hash(isin), b'"isin":"' + isin.encode() + b'"')]
    ways = []
    if head.upper() in VENUES:
        ways.append(_Wanted("key", hash(folded), b'"key":"' + folded.encode() + b'"'))
    broker = head.lower()
    if view.shelf.brokers.find(broker) > 0:
        ways.append(_Wanted("token", token_hash(broker, rest), None))
        segment, colon, token = rest.partition(":")
        if colon and (code := view.shelf.broker_segments.find(segment)) > 0:
            ways.append(_Wanted("token", token_hash(broker, token), None, code))
    return ways


def _found(view: View, wanted: list[tuple[int, _Wanted]]) -> list[tuple[int, tuple[int, ...], str]]:
    found = []
    exact = view.exact
    tables: dict[str, Buckets | TokenBuckets] = {
        "key": exact.key, "id": exact.ulid, "isin": exact.isin, "symbol": exact.symbol, "token": exact.token,
    }  # fmt: skip
    for by, table in tables.items():
        asked = [(place, want) for place, want in wanted if want.by == by]
        if not asked:
            continue
        first, last = table.spans(np.array([want.hash for _, want in asked], np.int64))
        for (place, want), low, high in zip(asked, first, last, strict=True):
            if high > low and (rows := _rows(view, table, range(low, high), want)):
                found.append((place, rows, by))
    return found


def _rows(view: View, table: Buckets | TokenBuckets, span: range, want: _Wanted) -> tuple[int, ...]:
    rows = []
    for at in span:
        row = table.rows.item(at)
        if not view.present.item(row) or row in rows:
            continue
        if want.segment is not None and isinstance(table, TokenBuckets) and table.segments.item(at) != want.segment:
            continue
        if want.member is None or view.shelf.holds(view.columns, row, want.member):
            rows.append(row)
    return tuple(sorted(rows, key=view.standing.place.item)) if len(rows) > 1 else tuple(rows)
