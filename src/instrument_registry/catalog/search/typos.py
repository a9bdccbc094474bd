"""Terms close to a misspelt one: a dictionary of deletions finds one slip, a scan of alike terms two."""

from collections.abc import Iterable
from itertools import chain

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import OSA

SHORTEST, SHORTEST_FOR_TWO = 4, 6


class Typos:
    """A set of terms that can be found with a letter too many, too few, wrong or swapped."""

    def __init__(self, terms: Iterable[str]) -> None:
        self.terms = sorted({term for term in terms if len(term) >= SHORTEST - 1})
        hashes = np.fromiter(chain.from_iterable(map(_deletions, self.terms)), np.int64)
        owners = np.repeat(np.arange(len(self.terms), dtype=np.int32), [len(term) + 1 for term in self.terms])
        order = np.argsort(hashes)
        self._hashes: npt.NDArray[np.int64] = hashes[order]
        self._owners: npt.NDArray[np.int32] = owners[order]
        initials = [term[0] for term in self.terms]
        self._initials = {
            letter: [term for term in self.terms if term[0] == letter] for letter in dict.fromkeys(initials)
        }

    def near(self, text: str, *, slips: int) -> list[str]:
        """The terms exactly so many slips away: none, one or two."""
        if len(text) < (SHORTEST if slips < 2 else SHORTEST_FOR_TWO):
            return []
        hashes = np.array(_deletions(text), np.int64)
        first, last = self._hashes.searchsorted(hashes), self._hashes.searchsorted(hashes, "right")
        owners = {
            owner
            for low, high in zip(first.tolist(), last.tolist(), strict=True)
            if high > low
            for owner in self._owners[low:high].tolist()
        }
        near = [self.terms[owner] for owner in owners]
        if slips == 2:
            near += self._initials.get(text[0], ())
        alike = process.extract(text, near, scorer=OSA.distance, processor=None, score_cutoff=slips, limit=None)
        return [term for term, distance, _ in alike if distance == slips]


def _deletions(term: str) -> list[int]:
    return [hash(term), *(hash(term[:cut] + term[cut + 1 :]) for cut in range(len(term)))]
