"""From the text a trader types to its possible readings, the likeliest first."""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Protocol

from instrument_registry.catalog.model import Kind
from instrument_registry.catalog.search.dates import dated, nearness
from instrument_registry.catalog.search.lexicon import (
    CALL,
    CASH_SERIES,
    CONTRACT_VENUES,
    CONTRACTS,
    FUTURE,
    KINDS,
    MONTHS,
    OPTION,
    PUT,
    SERIES,
    SHORT_CONTRACTS,
    VENUE_WORDS,
    Sort,
    Word,
    meaning,
)
from instrument_registry.catalog.search.reading import Reading
from instrument_registry.catalog.search.symbols import contract_readings
from instrument_registry.catalog.search.words import compact, upper

MAX_CHARACTERS, MAX_WORDS, MAX_READINGS = 200, 24, 12
SPLIT = re.compile(r"[\s|;_()\[\]{}\"“”=]+|,(?!\d)")
JOINT = re.compile(r"[-/+*.]+")
RUN = re.compile(r"\d+(?:\.\d+)?|[^\d]+")
FIGURE = re.compile(r"\d")
INITIALS = 2
ANY = "D"
NO_VENUES: frozenset[str] = frozenset()


class Known(Protocol):
    """What the parser asks of the vocabulary."""

    def named(self, text: str) -> bool:
        """Whether a compact text is the whole name, symbol or alias of something."""

    def tradable(self, text: str) -> bool:
        """Whether contracts are written on what has this symbol or alias."""


def read(text: str, *, known: Known, as_of: date) -> Iterator[Reading]:
    """The readings of a query; the last always takes all of it for a name."""
    text = upper(text[:MAX_CHARACTERS])
    chunks = [chunk.strip(".,'-:") for chunk in SPLIT.split(text) if chunk][:MAX_WORDS]
    chunks = _with_ampersands([chunk for chunk in chunks if chunk], known=known)
    names = tuple(name for name in map(compact, chunks) if name)
    if not names:
        return
    whole = Reading(words=names)
    if known.named("".join(names)):
        yield whole
        return
    given: set[Reading] = set()
    for reading in _readings(chunks, known=known, as_of=as_of):
        if reading not in given:
            given.add(reading)
            yield reading
        if len(given) == MAX_READINGS:
            break
    if whole not in given:
        yield whole


def plain(text: str) -> Iterator[Reading]:
    """A query as nothing but words of a name."""
    names = tuple(name for name in map(compact, SPLIT.split(upper(text[:MAX_CHARACTERS]))[:MAX_WORDS]) if name)
    if names:
        yield Reading(words=names)


def _with_ampersands(chunks: list[str], *, known: Known) -> list[str]:
    """`M AND M` and `M & M` as the one word they are; between real words the joint says nothing."""
    if "&" not in chunks and "AND" not in chunks:
        return chunks
    joined: list[str] = []
    rest = iter(chunks)
    for chunk in rest:
        if chunk not in {"&", "AND"}:
            joined.append(chunk)
        elif joined and (following := next(rest, "")):
            pair = f"{joined[-1]}&{following}"
            if len(following) <= INITIALS or known.named(compact(pair)):
                joined[-1] = pair
            else:
                joined.append(following)
    return joined


def _readings(chunks: list[str], *, known: Known, as_of: date) -> Iterator[Reading]:
    head, colon, tail = chunks[0].partition(":")
    venues = NO_VENUES
    if colon and tail and head in VENUE_WORDS:
        venues, chunks = VENUE_WORDS[head], [tail, *chunks[1:]]
    if len(chunks) == 1 or any(FIGURE.search(chunk) and not FIGURE.match(chunk) for chunk in chunks):
        yield from _contracts(chunks, known=known, venues=venues)
    if chunks[0] in VENUE_WORDS and len(chunks) > 1:
        if known.named(chunks[0]):
            yield from _said([Word(Sort.NAME, chunks[0])], chunks[1:], known=known, as_of=as_of, venues=venues)
        yield from _said([], chunks[1:], known=known, as_of=as_of, venues=venues | VENUE_WORDS[chunks[0]])
    yield from _said([], chunks, known=known, as_of=as_of, venues=venues)


def _contracts(chunks: list[str], *, known: Known, venues: frozenset[str]) -> Iterator[Reading]:
    """The query as a compact symbol, whatever its parts are parted by."""
    said = venues.union(*(VENUE_WORDS[chunk] for chunk in chunks[1:] if chunk in VENUE_WORDS))
    joined = "".join(chunk for number, chunk in enumerate(chunks) if not number or chunk not in VENUE_WORDS)
    for text in dict.fromkeys((re.sub(r"[^A-Z0-9&.-]", "", joined), compact(joined))):
        for reading in contract_readings(text, tradable=known.tradable):
            yield reading._replace(venues=said)


def _said(
    words: list[Word], chunks: list[str], *, known: Known, as_of: date, venues: frozenset[str]
) -> Iterator[Reading]:
    """Readings in which every word says something or belongs to the name."""
    first_named = bool(words)  # a venue word taken for a name has to be right with all the others
    chunks, when = nearness(chunks, as_of=as_of)
    for chunk in chunks:
        words = words + _words(chunk, known=known, first=not words)
    words = [word for word in _short_contracts(words) if word.sort is not Sort.NOISE]
    said: dict[Sort, list[str]] = {}
    for word in words:
        said.setdefault(word.sort, []).append(word.text)
    contract = _contract(said.get(Sort.CONTRACT, ()))
    venues = venues.union(*[VENUE_WORDS[text] for text in said.get(Sort.VENUE, ())])
    if not contract and venues and venues <= CONTRACT_VENUES:
        contract = ANY
    kinds = frozenset[str]().union(*[KINDS[text] for text in said.get(Sort.KIND, ())])
    series = said.get(Sort.SERIES, ("",))[0]
    if series == "INDEX":
        kinds, series = frozenset({Kind.INDEX}), ""
    names = len(said.get(Sort.NAME, ())) + len(said.get(Sort.NUMBER, ()))
    plain = when._replace(
        exact=first_named and names > 1,
        contract=contract,
        venues=venues,
        kinds=frozenset() if contract else kinds,
        series="" if series in CASH_SERIES else series,
    )
    yield from dated([word for word in words if word.sort not in SPENT], plain=plain)
    if Sort.KIND in said or Sort.SERIES in said:
        plain = plain._replace(kinds=frozenset(), series="")
        yield from dated([_as_name(word) for word in words if word.sort is not Sort.VENUE], plain=plain)


SPENT = (Sort.VENUE, Sort.KIND, Sort.SERIES)


def _as_name(word: Word) -> Word:
    return Word(Sort.NAME, word.text) if word.sort in SPENT else word


def _words(chunk: str, *, known: Known, first: bool) -> list[Word]:
    chunk = chunk.replace("'", "")
    if word := meaning(chunk):
        return [word]
    name = compact(chunk)
    if not name:
        return []
    if known.named(name):
        return [Word(Sort.NAME, name)]
    if not first and SERIES.fullmatch(chunk):
        return [Word(Sort.SERIES, chunk)]
    if JOINT.search(chunk):
        head, _, tail = chunk.rpartition("-")
        if SERIES.fullmatch(tail) and known.named(compact(head)):
            return [Word(Sort.NAME, compact(head)), Word(Sort.SERIES, tail)]
        return [word for part in JOINT.split(chunk) if part for word in _words(part, known=known, first=first)]
    return _glued(name, known=known) or [Word(Sort.NAME, name)]


def _glued(text: str, *, known: Known) -> list[Word]:
    """The words of a text written without spaces, such as 25AUG26 or BANKNIFTYAUG; nothing if it is one word."""
    if words := _runs(text):
        return words
    for cut in range(len(text) - 1, 1, -1):
        if known.tradable(text[:cut]) and (words := _runs(text[cut:])):
            return [Word(Sort.NAME, text[:cut]), *words]
    return []


def _runs(text: str) -> list[Word]:
    words: list[Word] = []
    runs = RUN.findall(text)
    for run in runs:
        word = meaning(run)
        if word is None and len(runs) > 1 and run in SHORT_CONTRACTS:
            word = Word(Sort.CONTRACT, SHORT_CONTRACTS[run])
        if word is None and (parts := _two(run)):
            words += parts
            continue
        if word is None or word.sort in SPENT:
            return []
        words.append(word)
    return words


def _two(run: str) -> list[Word]:
    """A month and a contract word written together: AUGFUT."""
    for cut in range(3, len(run)):
        if run[:cut] in MONTHS and run[cut:] in CONTRACTS:
            return [Word(Sort.MONTH, run[:cut], MONTHS[run[:cut]]), Word(Sort.CONTRACT, CONTRACTS[run[cut:]])]
    return []


def _short_contracts(words: list[Word]) -> list[Word]:
    """C, P and F stand for a kind of contract beside a number."""
    numbers = {place for place, word in enumerate(words) if word.sort is Sort.NUMBER}
    if not numbers:
        return words
    return [
        Word(Sort.CONTRACT, SHORT_CONTRACTS[word.text])
        if word.sort is Sort.NAME and word.text in SHORT_CONTRACTS and {place - 1, place + 1} & numbers
        else word
        for place, word in enumerate(words)
    ]


def _contract(said: Sequence[str]) -> str:
    if CALL in said and PUT in said:
        return OPTION
    return next((contract for contract in (CALL, PUT, FUTURE, OPTION) if contract in said), "")
