"""Terms close to a misspelt one: a dictionary of deletions finds one slip, a scan of alike terms two."""

from collections.abc import Iterable
from itertools import chain

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import OSA

SHORTEST, SHORTEST_FOR_TWO = 4, 6
MAX_CANDIDATES = 64


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

    def near(self, text: str) -> list[tuple[int, str]]:
        """The nearest terms with their distance: those one slip away, else those two slips away."""
        if len(text) < SHORTEST:
            return []
        hashes = np.array(_deletions(text), np.int64)
        first, last = self._hashes.searchsorted(hashes), self._hashes.searchsorted(hashes, "right")
        owners = {
            owner
            for low, high in zip(first.tolist(), last.tolist(), strict=True)
            if high > low
            for owner in self._owners[low:high].tolist()
        }
        most = 1 if len(text) < SHORTEST_FOR_TWO else 2
        found = [(OSA.distance(text, self.terms[owner], score_cutoff=most), self.terms[owner]) for owner in owners]
        near = sorted(pair for pair in found if pair[0] <= most)
        if near and near[0][0] <= 1:
            return [pair for pair in near if pair[0] <= 1]
        if most == 1:
            return near
        alike = process.extract(
            text,
            self._initials.get(text[0], ()),
            scorer=OSA.distance,
            processor=None,
            score_cutoff=most,
            limit=MAX_CANDIDATES,
        )
        return sorted({*near, *((int(distance), term) for term, distance, _ in alike)})


def _deletions(term: str) -> list[int]:
    return [hash(term), *(hash(term[:cut] + term[cut + 1 :]) for cut in range(len(term)))]
