"""Which instruments a body names: by key, id, token, ISIN or symbol, as the instruments' own door takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import msgspec

from instrument_registry.catalog import history, lookup
from instrument_registry.catalog.search import Index, Query
from instrument_registry.catalog.search.lookup import resolve
from instrument_registry.database import Transaction
from instrument_registry.http.problems import FieldProblem, refused
from instrument_registry.http.shapes import Candidate
from instrument_registry.wiring import Registry

SUGGESTED = 20
PROBLEMS_MAX = 100


@dataclass(frozen=True, slots=True)
class Named:
    """One instrument somebody has named."""

    id: int  # the catalogue's number
    ulid: str
    key: str


async def instruments_named(
    tx: Transaction, registry: Registry, texts: Sequence[str], *, field: str = "body.instruments[{}].instrument"
) -> list[Named]:
    """The instruments that identifiers mean today, in their order; a former or expired name leads to what it named.

    Raises: InvalidRequest naming each that means none or several, with the nearest ones there are.
    """
    index = registry.catalogue.index
    brokers, day = index.view.shelf.brokers.texts[1:], registry.catalogue.today()
    found = [_meant(one, day) for one in await lookup.meanings(tx, texts, brokers=brokers, known_at=history.LATEST)]
    left = [place for place, one in enumerate(found) if not one]
    if left:  # symbols and relative references: memory knows them, the tables know their numbers
        answers = resolve(index.view, [texts[place] for place in left])
        ulids = {
            place: _candidate(index, answer.rows[0]).id
            for place, answer in zip(left, answers, strict=True)
            if answer.rows and (len(answer.rows) == 1 or answer.by == "symbol")
        }
        meanings = await lookup.meanings(tx, list(ulids.values()), brokers=brokers, known_at=history.LATEST)
        for place, one in zip(ulids, meanings, strict=True):
            found[place] = _meant(one, day)
    problems = [
        _problem(index, field.format(place), texts[place], one, suggest=number < SUGGESTED)
        for number, (place, one) in enumerate((at, one) for at, one in enumerate(found) if len(one) != 1)
    ]
    if problems:
        raise refused(problems[:PROBLEMS_MAX])
    return [Named(one[0].id, one[0].ulid, one[0].key) for one in found]


def _meant(meanings: Sequence[lookup.Meaning], day: date) -> list[lookup.Meaning]:
    """What an identifier means on the day, each instrument once; where it means nothing then, what it meant last."""
    told = lookup.joined(meanings)
    now = {one.id: one for one in told if one.at(day)}
    return list(now.values()) or told[-1:]


def _problem(index: Index, field: str, text: str, meanings: Sequence[lookup.Meaning], *, suggest: bool) -> FieldProblem:
    if meanings:
        keys = ", ".join(one.key for one in meanings[:5])
        return FieldProblem(field=field, problem="means several instruments", remedy=f"Send one of {keys}", value=text)
    near = _nearest(index, text) if suggest else []
    remedy = f"Did you mean {' or '.join(near)}?" if near else "Look it up with /search"
    return FieldProblem(field=field, problem="means no instrument", remedy=remedy, value=text[:200])


def _nearest(index: Index, text: str) -> list[str]:
    page = index.search(Query(text=text.replace(":", " ").replace(";", " ")[:100], limit=2))
    return [_candidate(index, hit.row).key for hit in page.hits]


def _candidate(index: Index, row: int) -> Candidate:
    head = index.view.shelf.text(index.view.columns, row).partition(b',"symbol":')[0]
    return msgspec.json.decode(head + b"}", type=Candidate)
