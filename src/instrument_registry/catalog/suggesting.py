"""Completions while somebody types: names, best first, from the index in memory."""

from collections.abc import Iterator

import numpy as np

from instrument_registry.catalog.search.names import Tier
from instrument_registry.catalog.search.view import View
from instrument_registry.catalog.search.words import compact, upper

LONGEST = 60


def suggest(view: View, text: str, *, limit: int) -> list[int]:
    """The rows a beginning of a name, symbol or alias may grow into, one a name, what is traded most first."""
    words = [word for word in map(compact, upper(text[:LONGEST]).split()) if word]
    if not words:
        return []
    found: list[int] = []
    seen: set[int] = set()
    for row in _ranked(view, words, limit=limit):
        name = view.columns.name.item(row)
        if name not in seen:
            seen.add(name)
            found.append(row)
        if len(found) == limit:
            break
    return found


def _ranked(view: View, words: list[str], *, limit: int) -> Iterator[int]:
    """The first row of each name that fits, as well as the way it fits, then in standing order."""
    standing = view.standing
    for found in view.names.find_plainly(words, wanted=lambda tier: tier <= Tier.WORDS):
        ids = np.unique(found.names)
        ids = ids[standing.live[ids] > standing.first[ids]]
        rows = standing.by_name[standing.first[ids]]
        places = standing.place[rows]
        # Names that fitted better already may be among these: at most `limit` of them.
        best = np.argpartition(places, 2 * limit)[: 2 * limit] if len(rows) > 2 * limit else np.arange(len(rows))
        yield from rows[best[np.argsort(places[best])]].tolist()
