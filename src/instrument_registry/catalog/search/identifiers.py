"""Exact lookups: ids, keys, tokens, ISINs and symbols; and queries that are one of them."""

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.search.conditions import kept
from instrument_registry.catalog.search.exact import token_hash
from instrument_registry.catalog.search.matching import Group, Matcher
from instrument_registry.catalog.search.names import Tier
from instrument_registry.catalog.search.view import View
from instrument_registry.catalog.search.words import upper

Rows = npt.NDArray[np.int32]
NO_ROWS: Rows = np.array([], np.int32)

ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}\d")
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
TOKEN = re.compile(r"\d{2,20}")
LONGEST = 100

# The instrument token of Kite is the exchange's own token times 256 plus a number for the segment.
KITE_SEGMENTS = {1: "NSE", 2: "NFO", 3: "CDS", 4: "BSE", 5: "BFO", 6: "BCD", 7: "MCX"}
KITE_RADIX = 256


def identified(matcher: Matcher, text: str) -> list[Group]:
    """The rows a query names by an exact identifier; nothing if it is none."""
    view = matcher.view
    if len(text) > LONGEST or " " in text:
        return []
    for why, rows in _candidates(view, text):
        rows = rows if matcher.hidden_too else rows[shown(view, rows)]
        rows = kept(view, rows, mask=matcher.mask, filters=matcher.filters)
        if len(rows):
            return [Group(Tier.IDENTIFIER, why, np.unique(rows))]
    return []


def shown(view: View, rows: Rows) -> npt.NDArray[np.bool_]:
    """Which rows are shown by default."""
    place = view.standing.place[rows]
    return (place >= 0) & (place < view.standing.shown)


def _candidates(view: View, text: str) -> Iterable[tuple[str, Rows]]:
    folded = upper(text)
    if ISIN.fullmatch(folded):
        yield "isin", by_isin(view, folded)
    if ULID.fullmatch(folded):
        yield "id", by_ulid(view, folded)
    if ":" in text:
        yield "key", by_key(view, folded)
        head, _, rest = text.partition(":")
        yield f"{head.lower()} token", by_token(view, head.lower(), rest)
    if TOKEN.fullmatch(text) or "|" in text or "_" in text:
        for broker in view.shelf.brokers.texts[1:]:
            yield f"{broker} token", by_token(view, broker, text)
    if TOKEN.fullmatch(text):
        yield "exchange token", by_exchange_token(view, text)
        yield "zerodha token by its arithmetic", _by_kite_arithmetic(view, int(text))


def by_ulid(view: View, ulid: str) -> Rows:
    """The row of an id."""
    return _having(view, view.exact.ulid.find(hash(ulid)), b'"id":"' + ulid.encode() + b'"')


def by_key(view: View, key: str) -> Rows:
    """The row of a canonical key."""
    return _having(view, view.exact.key.find(hash(key)), _member("key", key))


def by_isin(view: View, isin: str) -> Rows:
    """The rows of an ISIN, in standing order."""
    return view.sorted(_having(view, view.exact.isin.find(hash(isin)), b'"isin":"' + isin.encode() + b'"'))


def by_token(view: View, broker: str, token: str, *, segment: str | None = None) -> Rows:
    """The rows a broker has a token for; without the broker's segment there may be several."""
    code = None
    if segment is not None and (code := view.shelf.broker_segments.find(segment)) < 0:
        return NO_ROWS
    rows = view.exact.token.find(token_hash(broker, token), segment=code)
    return view.sorted(_having(view, np.unique(rows), None))


def by_exchange_token(view: View, token: str) -> Rows:
    """The rows an exchange has this token for, in whatever segment."""
    return view.sorted(_having(view, np.unique(view.exact.exchange_token.find(hash(token))), None))


def _by_kite_arithmetic(view: View, token: int) -> Rows:
    exchange_token, segment = divmod(token, KITE_RADIX)
    venue = KITE_SEGMENTS.get(segment)
    if venue is None or not exchange_token:
        return NO_ROWS
    rows = by_exchange_token(view, str(exchange_token))
    there = view.cohorts.venue[view.columns.cohort[rows]] == view.shelf.book.venues.find(venue)
    found: Rows = rows[there]
    return found


def _having(view: View, rows: Rows, member: bytes | None) -> Rows:
    """The present ones of some rows, whose JSON has a member."""
    rows = rows[view.present[rows]]
    if member is None or not len(rows):
        return rows
    return rows[[view.shelf.holds(view.columns, row, member) for row in rows.tolist()]]


def _member(name: str, value: str) -> bytes:
    return f'"{name}":"{value}"'.encode()
