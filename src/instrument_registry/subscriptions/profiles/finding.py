"""What the instruments of a request mean now: from the index in memory, and from the tables what has left it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from instrument_registry.catalog import history, lookup
from instrument_registry.catalog.model import Status
from instrument_registry.catalog.search import Index, Query
from instrument_registry.catalog.search.lookup import resolve
from instrument_registry.database import Database
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.profiles.admission import Asked, Found

SUGGESTED, SUGGESTIONS, CANDIDATES = 20, 3, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An instrument as a request names it."""

    text: str
    mode: Mode | None = None
    pinned: bool | None = None


class _Row(msgspec.Struct, frozen=True):
    """What of an index row's JSON decides."""

    id: str
    key: str
    status: Status
    streamable: bool
    tokens: dict[str, str] = {}
    expires_at: datetime | None = None


_ROW = msgspec.json.Decoder(_Row)


async def look_up(database: Database, index: Index, named: Sequence[Named]) -> tuple[Asked, ...]:
    """What each name means: memory first; the tables are asked only for what memory does not know."""
    asked = [_in_memory(index, name, rows) for name, rows in zip(named, _rows(index, named), strict=True)]
    left = [place for place, one in enumerate(asked) if one.found is None and not one.nearest]
    if left:
        former = await _former(database, index, [asked[place].text for place in left])
        for suggested, place in enumerate(left):
            found, one = former[asked[place].text], asked[place]
            nearest = _nearest(index, one.text) if found is None and suggested < SUGGESTED else ()
            asked[place] = Asked(
                text=one.text, mode=one.mode, pinned=one.pinned, found=found, nearest=nearest, why=one.why
            )
    return tuple(asked)


def _rows(index: Index, named: Sequence[Named]) -> list[tuple[int, ...]]:
    answers = resolve(index.view, [name.text for name in named])
    return [answer.rows[:1] if answer.by == "symbol" else answer.rows for answer in answers]


def _in_memory(index: Index, name: Named, rows: tuple[int, ...]) -> Asked:
    if len(rows) == 1:
        return Asked(text=name.text, mode=name.mode, pinned=name.pinned, found=_found(index, rows[0]))
    if not rows:
        return Asked(text=name.text, mode=name.mode, pinned=name.pinned, why="Nothing is meant by it")
    keys = tuple(_found(index, row).key for row in rows[:CANDIDATES])
    why = f"It means {len(rows)} instruments: name one of them by its key"
    return Asked(text=name.text, mode=name.mode, pinned=name.pinned, nearest=keys, why=why)


def _found(index: Index, row: int) -> Found:
    shown = _ROW.decode(index.view.fragment(row) + b"}")
    return Found(
        number=index.view.columns.id.item(row), id=shown.id, key=shown.key, status=shown.status,
        streamable=shown.streamable, has_token=bool(shown.tokens), ends_at=shown.expires_at,
    )  # fmt: skip


async def _former(database: Database, index: Index, texts: Sequence[str]) -> dict[str, Found | None]:
    """What names meant once: an instrument that is here under another name, or that has ended."""
    brokers = index.view.shelf.brokers.texts[1:]
    async with database.transaction(read_only=True) as tx:
        meanings = await lookup.meanings(tx, texts, brokers=brokers, known_at=history.LATEST)
        lives = {one.id: await history.life(tx, one.id) for known in meanings for one in _last(known)}
    return {text: _formerly(index, _last(known), lives) for text, known in zip(texts, meanings, strict=True)}


def _last(known: Sequence[lookup.Meaning]) -> list[lookup.Meaning]:
    """The newest meaning, where all of them are one instrument."""
    if len({one.id for one in known}) != 1:
        return []
    return [max(known, key=lambda one: one.valid_from)]


def _formerly(index: Index, known: Sequence[lookup.Meaning], lives: dict[int, history.Life]) -> Found | None:
    for one in known:
        rows = resolve(index.view, [one.ulid])[0].rows
        if rows:
            return _found(index, rows[0])
        ended = lives[one.id].ended_as
        status = Status(ended) if ended else Status.DELISTED
        return Found(number=one.id, id=one.ulid, key=one.key, status=status, streamable=True, has_token=False)
    return None


def _nearest(index: Index, text: str) -> tuple[str, ...]:
    page = index.search(Query(text=text.replace(":", " ").replace(";", " ")[:100], limit=SUGGESTIONS))
    return tuple(_found(index, hit.row).key for hit in page.hits)
