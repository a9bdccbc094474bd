"""Which expiry a query means, and which of its numbers is the strike."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

from instrument_registry.catalog.search.lexicon import FUTURE, OPTION, Sort, Word
from instrument_registry.catalog.search.reading import Reading
from instrument_registry.catalog.search.words import compact

DAYS_IN_MONTH = 31
CENTURY, FIRST_YEAR, LAST_YEAR = 2_000, 20, 60  # years that two figures beside a month may mean

WEEKLY, MONTHLY = "weekly", "monthly"
CYCLES = {"WEEKLY": WEEKLY, "WEEKLIES": WEEKLY, "MONTHLY": MONTHLY, "MONTHLIES": MONTHLY}
ORDINALS = {"THIS": 1, "CURRENT": 1, "NEAR": 1, "NEAREST": 1, "FRONT": 1, "NEXT": 2, "MID": 2, "FAR": 3, "LAST": -1}
CALENDAR = {"THIS": 0, "CURRENT": 0, "NEXT": 1}
DAYS_AHEAD = {"TODAY": 0, "0DTE": 0, "TODAYS": 0, "TOMORROW": 1}
CONTRACT_WORDS = frozenset({"FUT", "FUTURE", "FUTURES"})
NAMING = (Sort.NAME, Sort.NUMBER, Sort.NOISE)
NOTHING = Reading()


class Day(NamedTuple):
    """One way to take the numbers beside a month; `used` are their places."""

    used: frozenset[int]
    day: int = 0
    year: int = 0


def nearness(chunks: list[str], *, as_of: date) -> tuple[list[str], Reading]:
    """The words that say an expiry relative to today, taken out and as a reading."""
    kept: list[str] = []
    when = NOTHING
    place = 0
    while place < len(chunks):
        chunk, following = chunks[place], chunks[place + 1] if place + 1 < len(chunks) else ""
        place += 1
        if chunk in CYCLES:
            when = when._replace(cycle=CYCLES[chunk])
        elif chunk in DAYS_AHEAD and len(chunks) > 1:
            day = as_of + timedelta(days=DAYS_AHEAD[chunk])
            when = when._replace(within=(day, day))
        elif chunk in ORDINALS and (said := _relative(chunk, following, as_of=as_of)):
            when = said
            place += following not in CONTRACT_WORDS
        else:
            kept.append(chunk)
    return kept, when


def dated(words: list[Word], *, plain: Reading) -> Iterator[Reading]:
    """Readings of words whose numbers may be days, years, strikes or parts of a name."""
    first: dict[Sort, int] = {}
    for place, word in enumerate(words):
        first.setdefault(word.sort, place)
    month, said_day = first.get(Sort.MONTH), first.get(Sort.DAY)
    if Sort.DATE in first:
        day = date.fromordinal(int(words[first[Sort.DATE]].number))
        exact = plain._replace(year=day.year, month=day.month, day=day.day)
        yield from _struck([word for word in words if word.sort is not Sort.DATE], plain=exact)
    elif month is not None:
        for guess in _days(words, month=month):
            rest = [word for place, word in enumerate(words) if place != month and place not in guess.used]
            said = plain._replace(month=int(words[month].number), day=guess.day, year=guess.year)
            yield from _struck(rest, plain=said)
    elif said_day is not None:
        rest = [*words[:said_day], *words[said_day + 1 :]]
        yield from _struck(rest, plain=plain._replace(day=int(words[said_day].number)))
    else:
        yield from _struck(words, plain=plain)


def _relative(word: str, following: str, *, as_of: date) -> Reading | None:
    if following in {"EXPIRY", "SERIES"} or following in CONTRACT_WORDS:
        return Reading(nth=ORDINALS[word])
    if following in {"WEEK", "WEEKS", "WEEKLY"} and word in CALENDAR:
        monday = as_of - timedelta(days=as_of.weekday()) + timedelta(weeks=CALENDAR[word])
        return Reading(within=(max(monday, as_of), monday + timedelta(days=6)))
    if following in {"MONTH", "MONTHS", "MONTHLY"}:
        if word not in CALENDAR:
            return Reading(cycle=MONTHLY, nth=ORDINALS[word])
        months = as_of.year * 12 + as_of.month - 1 + CALENDAR[word]
        return Reading(year=months // 12, month=months % 12 + 1)
    return None


def _days(words: list[Word], *, month: int) -> Iterator[Day]:
    """The ways to take the numbers around a month, the usual one first."""
    said = next(((place, int(word.number)) for place, word in enumerate(words) if word.sort is Sort.DAY), None)
    before, after, behind = (_whole(words, month + step) for step in (-1, 1, 2))
    year_after = _year(after)
    if said:
        if year_after:
            yield Day(frozenset({said[0], month + 1}), said[1], year_after)
        yield Day(frozenset({said[0]}), said[1])
        return
    if 0 < before <= DAYS_IN_MONTH:
        if year_after:
            yield Day(frozenset({month - 1, month + 1}), before, year_after)
        yield Day(frozenset({month - 1}), before)
    if year := _year(before):
        yield Day(frozenset({month - 1}), year=year)
    if 0 < after <= DAYS_IN_MONTH:
        if year := _year(behind):
            yield Day(frozenset({month + 1, month + 2}), after, year)
        yield Day(frozenset({month + 1}), after)
    if year_after:
        yield Day(frozenset({month + 1}), year=year_after)
    yield Day(frozenset())


def _whole(words: list[Word], place: int) -> int:
    return words[place].whole if 0 <= place < len(words) and words[place].sort is Sort.NUMBER else -1


def _year(number: int) -> int:
    if FIRST_YEAR <= number <= LAST_YEAR:
        return CENTURY + number
    return number if CENTURY + FIRST_YEAR <= number <= CENTURY + LAST_YEAR else 0


def _struck(words: list[Word], *, plain: Reading) -> Iterator[Reading]:
    """Readings with one of the numbers as the strike, then with none."""
    numbers = [place for place, word in enumerate(words) if word.sort is Sort.NUMBER]
    if numbers and plain.contract != FUTURE and not plain.kinds:
        contracts = [place for place, word in enumerate(words) if word.sort is Sort.CONTRACT]
        for strike in sorted(numbers, key=lambda place: _distance(place, contracts)):
            yield plain._replace(
                words=_name(words, without=strike),
                strike=words[strike].number,
                contract=plain.contract if plain.contract in {"C", "P"} else OPTION,
                exact=plain.exact or not (plain.contract or plain.dated),
            )
    yield plain._replace(words=_name(words))


def _distance(place: int, contracts: list[int]) -> tuple[int, int]:
    return min((abs(place - contract) for contract in contracts), default=0), -place


def _name(words: list[Word], *, without: int = -1) -> tuple[str, ...]:
    named = [compact(word.text) for place, word in enumerate(words) if place != without and word.sort in NAMING]
    return tuple([name for name in named if name])
