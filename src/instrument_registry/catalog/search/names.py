"""What a text may name: exactly, by its beginning, by the words of a name, or misspelt."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.search.typos import Typos
from instrument_registry.catalog.search.words import SAME, compact, words_of

NameIds = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
AFTER = "\U0010ffff"
NONE: NameIds = np.array([], np.int32)
SHORTEST_STEM = 4
MAX_NEAR = 64
Near = dict[int, list[str]]  # terms by how many slips they are away
Wanted = Callable[["Tier"], bool]  # whether names that fit this well still count, asked before they are looked for


class Tier(IntEnum):
    """How well a row fits, the best first."""

    IDENTIFIER = 0
    EXACT = 1
    CONTRACT = 2  # a future on what was named exactly
    PREFIX = 3
    WORDS = 4
    TYPO = 5
    STEMS = 6
    FAR_TYPO = 7
    SOME_WORDS = 8
    CHAIN = 9  # the other contracts on what was named exactly
    LOOSE = 10  # not what was asked, the nearest there is


class Entry(NamedTuple):
    """One name with everything it is spelt like."""

    name: int
    spelling: str
    titles: tuple[str, ...]
    aliases: tuple[str, ...]
    minor: bool  # debt: found exactly and by words, never guessed from a typo


class Found(NamedTuple):
    """Names that fit in one way."""

    tier: Tier
    why: str
    names: NameIds


class _Starts:
    """Names by what a text of theirs begins with."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        ordered = sorted(pairs)
        self._texts = [text for text, _ in ordered]
        self._names = np.array([name for _, name in ordered], np.int32)

    def find(self, text: str) -> NameIds:
        first = bisect_left(self._texts, text)
        return self._names[first : bisect_left(self._texts, text + AFTER, first)]


class NameSet:
    """Names with their spellings and the words of their titles; immutable."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.spellings: dict[str, list[int]] = {}
        self.aliases: dict[str, list[int]] = {}
        self.titles: dict[str, list[int]] = {}
        self.minor: set[int] = set()
        starts: set[tuple[str, int]] = set()
        joined: set[tuple[str, int]] = set()
        postings: defaultdict[str, set[int]] = defaultdict(set)
        self._guessable: set[str] = set()
        self._guessable_words: set[str] = set()
        for name, spelling, titles, aliases, minor in entries:
            if minor:
                self.minor.add(name)
            spelt = compact(spelling)
            for text in (spelt, spelt.replace("&", "")) if "&" in spelt else (spelt,):
                _append(self.spellings, text, name)
                starts.add((text, name))
                if not minor:
                    self._guessable.add(text)
            for alias in aliases:
                text = compact(alias)
                _append(self.aliases, text, name)
                starts.add((text, name))
                self._guessable.add(text)
            for title in (*titles, *aliases):
                words = words_of(title)
                phrase = "".join(words)
                _append(self.titles, phrase, name)
                starts.add((" ".join(words), name))
                if len(words) > 1:
                    joined.add((phrase, name))
                for word in words:
                    postings[word].add(name)
                if not minor:
                    self._guessable_words.update(word for word in words if word.isalpha())
        self._starts, self._joined = _Starts(starts), _Starts(joined)
        self._words = sorted(postings)
        self._word_ends = list(accumulate((len(postings[word]) for word in self._words), initial=0))
        self._word_names = np.array([name for word in self._words for name in sorted(postings[word])], np.int32)

    @cached_property
    def spellings_near(self) -> Typos:
        """The spellings that may be guessed from a typo."""
        return Typos(self._guessable)

    @cached_property
    def words_near(self) -> Typos:
        """The words of titles that may be guessed from a typo."""
        return Typos(self._guessable_words)

    def spelt(self, text: str) -> list[int]:
        """Names with exactly this spelling or alias."""
        return [*self.spellings.get(text, ()), *self.aliases.get(text, ())]

    def beginning(self, text: str) -> NameIds:
        """Names whose spelling, or title word by word, begins with a text."""
        return self._starts.find(text)

    def beginning_joined(self, text: str) -> NameIds:
        """Names with a title that begins with a text when its words are joined."""
        return self._joined.find(text)

    def with_word(self, word: str) -> NameIds:
        """Names with exactly this word in a title."""
        at = bisect_left(self._words, word)
        if at == len(self._words) or self._words[at] != word:
            return NONE
        return self._word_names[self._word_ends[at] : self._word_ends[at + 1]]

    def with_word_beginning(self, text: str) -> NameIds:
        """Names with a word in a title that begins like this."""
        first = bisect_left(self._words, text)
        last = bisect_left(self._words, text + AFTER, first)
        return self._word_names[self._word_ends[first] : self._word_ends[last]]


class Names:
    """Several sets of names that answer as one set of all would.

    Names in `stale` are left out of the first set, because a later one says what they are now.
    """

    def __init__(self, sets: tuple[NameSet, ...], *, size: int, stale: Bools | None = None) -> None:
        self._sets = sets
        self._size = size
        self._stale = stale

    def named(self, text: str) -> bool:
        """Whether a compact text is the whole symbol, alias or title of something."""
        for names in self._sets:
            for table in (names.spellings, names.aliases, names.titles):
                if (ids := table.get(text)) and any(self._fresh(names, name) for name in ids):
                    return True
        return False

    def spelt(self, text: str) -> list[int]:
        """The names with exactly this symbol or alias."""
        return [name for names in self._sets for name in names.spelt(text) if self._fresh(names, name)]

    def find_plainly(self, words: list[str], wanted: Wanted) -> Iterator[Found]:
        """Names spelt as the words say, whole or in part, the best first."""
        text, words_, single = "".join(words), words_of(" ".join(words)), len(words) == 1
        yield from self._spelt(text, "".join(words_), single=single)
        if wanted(Tier.PREFIX):
            yield from self._begun(text, words_, single=single)

    def find_loosely(self, words: list[str], _: Wanted) -> Iterator[Found]:
        """Names that the words may stand for: shortened, misspelt, or with a word too many."""
        words_ = words_of(" ".join(words))
        near = self._spellings_near("".join(words))
        for term in near.get(1, ()):
            yield Found(Tier.TYPO, f"spelt like {term}", np.array(self.spelt(term), np.int32))
        if len(ids := self._all(lambda names: names.beginning_joined("".join(words_)))):
            yield Found(Tier.STEMS, "beginning of the name", ids)
        every = [self._with_stem(word, alone=len(words_) == 1) for word in words_]
        if len(ids := self._in_all(every)):
            yield Found(Tier.STEMS, "shortened words of the name", ids)
        yield from self._guessed(words_, every)
        for term in near.get(2, ()):
            yield Found(Tier.FAR_TYPO, f"spelt like {term}", np.array(self.spelt(term), np.int32))

    def with_set(self, names: NameSet) -> "Names":
        """These names and further ones."""
        return Names((*self._sets, names), size=self._size, stale=self._stale)

    def _spelt(self, text: str, phrase: str, *, single: bool) -> Iterator[Found]:
        spelt = self._all(lambda names: names.spellings.get(text, ()))
        if len(spelt):
            yield Found(Tier.EXACT, "symbol", spelt)
        if len(ids := self._all(lambda names: names.aliases.get(text, ()))):
            # A word that is a symbol is not first of all a nickname of something else.
            yield Found(Tier.CONTRACT if single and len(spelt) else Tier.EXACT, f"alias {text}", ids)
        if len(ids := self._all(lambda names: names.titles.get(phrase, ()))):
            yield Found(Tier.EXACT, "name", ids)

    def _begun(self, text: str, words: list[str], *, single: bool) -> Iterator[Found]:
        beginning = self._all(lambda names: names.beginning(text))
        if not single:
            beginning = np.concatenate([beginning, self._all(lambda names: names.beginning(" ".join(words)))])
        if len(beginning):
            yield Found(Tier.PREFIX, "beginning of symbol or name", beginning)
        every = [self._all(lambda names: names.with_word_beginning(words[-1]))]
        every += [self._with_word(word) for word in words[:-1]]
        if len(ids := self._in_all(every)):
            yield Found(Tier.WORDS, "words of the name", ids)

    def _guessed(self, words: list[str], every: list[NameIds]) -> Iterator[Found]:
        """Names with all of the words when each that says nothing is taken for the nearest one that does."""
        guesses, far = [], 1
        for place, word in enumerate(words):
            near = {} if len(every[place]) else self._words_near(word)
            for slips, terms in near.items():
                every[place] = np.concatenate([self._with_word(term) for term in terms])
                guesses.append(terms[0])
                far = max(far, slips)
        if guesses and len(ids := self._in_all(every)):
            tier = Tier.STEMS if far == 1 else Tier.FAR_TYPO
            yield Found(tier, f"spelt like {' '.join(guesses)}", ids)
        elif len(words) > 1 and len(ids := self._in_most(every)):
            yield Found(Tier.SOME_WORDS, "some words of the name", ids)

    def _spellings_near(self, text: str) -> Near:
        return self._near(text, lambda names: names.spellings_near, bearers=lambda names, term: names.spelt(term))

    def _words_near(self, word: str) -> Near:
        return self._near(word, lambda names: names.words_near, bearers=lambda names, term: names.with_word(term))

    def _near(
        self, text: str, terms: Callable[[NameSet], Typos], *, bearers: Callable[[NameSet, str], Iterable[int]]
    ) -> Near:
        """The terms fewest slips away, by the number of slips, that a name not stale lets one guess."""
        for slips in (0, 1, 2):
            found = {
                term
                for names in self._sets
                for term in terms(names).near(text, slips=slips)
                if self._stale is None
                or any(self._fresh(names, name) and name not in names.minor for name in bearers(names, term))
            }
            if found:
                return {slips: sorted(found)[:MAX_NEAR]}
        return {}

    def _in_all(self, every: list[NameIds]) -> NameIds:
        if len(every) == 1:
            return every[0]
        count = np.zeros(self._size, np.uint8)
        kept = NONE
        for seen, ids in enumerate(every):
            kept = ids[count[ids] == seen]
            if not len(kept):
                return NONE
            count[kept] = seen + 1
        return kept

    def _in_most(self, every: list[NameIds]) -> NameIds:
        count = np.zeros(self._size, np.uint8)
        for ids in every:
            count[np.unique(ids)] += 1
        most = int(count.max(initial=0))
        return np.flatnonzero(count == most).astype(np.int32) if 2 * most >= len(every) else NONE

    def _with_word(self, word: str) -> NameIds:
        return self._all(lambda names: names.with_word(word))

    def _with_stem(self, word: str, *, alone: bool) -> NameIds:
        return self._all(lambda names: _with_stem(names, word, alone=alone))

    def _all(self, ask: Callable[[NameSet], NameIds | Sequence[int]]) -> NameIds:
        """What all sets say together, without what the first says of stale names."""
        parts = []
        for names in self._sets:
            if len(found := ask(names)):
                ids = np.asarray(found, np.int32)
                parts.append(ids[~self._stale[ids]] if self._stale is not None and names is self._sets[0] else ids)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else NONE

    def _fresh(self, names: NameSet, name: int) -> bool:
        return self._stale is None or names is not self._sets[0] or not self._stale[name]


def _with_stem(names: NameSet, word: str, *, alone: bool) -> NameIds:
    parts = [names.with_word_beginning(word), *(names.with_word(same) for same in SAME.get(word, ()))]
    if not alone:
        parts += [names.with_word(word[:cut]) for cut in range(SHORTEST_STEM, len(word))]
    return np.concatenate(parts)


def _append(table: dict[str, list[int]], text: str, name: int) -> None:
    known = table.setdefault(text, [])
    if not known or known[-1] != name:  # entries come name by name
        known.append(name)
