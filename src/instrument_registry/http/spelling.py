"""Words that callers choose from, in whatever case: `nfo` is NFO, `CE` is C, and what is no word at all is refused."""

from collections.abc import Mapping

from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.model import VENUES, AssetClass, Kind, Status
from instrument_registry.http.problems import FieldProblem, nearest, refused, shown

WORDS: dict[str, tuple[str, ...]] = {
    "venue": tuple(VENUES),
    "exchange": tuple(dict.fromkeys(exchange for _, exchange, _ in VENUES.values())),
    "segment": tuple(dict.fromkeys([*(segment for _, _, segment in VENUES.values()), *VENUES])),
    "kind": tuple(Kind),
    "asset_class": tuple(AssetClass),
    "option_type": ("C", "P"),
    "broker": tuple(BROKERS),
    "status": tuple(Status),
}
IN_CAPITALS = ("underlying", "series")  # of which no list is kept
ALSO = {"option_type": {"CE": "C", "PE": "P", "CALL": "C", "PUT": "P"}}


def spelt(given: Mapping[str, tuple[str, ...]], *, where: str) -> dict[str, tuple[str, ...]]:
    """The words of some fields as the catalogue spells them; `where` is what the fields are named after.

    Raises: InvalidRequest, naming each word that is not known with the likeliest one.
    """
    told: dict[str, tuple[str, ...]] = {}
    problems: list[FieldProblem] = []
    for field, values in given.items():
        if field in IN_CAPITALS:
            told[field] = tuple(value.upper() for value in values)
            continue
        known = {word.upper(): word for word in WORDS[field]} | ALSO.get(field, {})
        problems += [
            _unknown(f"{where}.{field}", value, WORDS[field]) for value in values if value.upper() not in known
        ]
        told[field] = tuple(known.get(value.upper(), value) for value in values)
    if problems:
        raise refused(problems)
    return told


def _unknown(field: str, value: str, words: tuple[str, ...]) -> FieldProblem:
    guess = nearest(value, words)
    remedy = (f"Did you mean {guess}? " if guess else "") + f"Choose from: {', '.join(words)}"
    return FieldProblem(field=field, problem="is not one of the known values", remedy=remedy, value=shown(value))
