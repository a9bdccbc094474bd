"""Queries of every kind that traders type, over a generated universe."""

from collections.abc import Callable
from random import Random

from instrument_registry.catalog.search import Filters, Query
from searching.universe import Universe


def queries(universe: Universe, *, each: int, seed: int = 2) -> dict[str, list[Query]]:
    """So many distinct queries of each kind."""
    chance = Random(seed)
    options = [row for row in universe.rows if row.kind == "option"]
    futures = [row for row in universe.rows if row.kind == "future"]
    company = lambda: chance.choice(universe.companies)  # noqa: E731
    option = lambda: chance.choice(options)  # noqa: E731
    kinds: dict[str, Callable[[], str]] = {
        "symbol": lambda: company().symbol.lower(),
        "name": lambda: company().name.lower(),
        "beginning": lambda: company().symbol[: chance.randint(1, 4)],
        "words": lambda: " ".join(company().name.lower().split()[:2]),
        "typo": lambda: _slip(chance, company().symbol),
        "typo in a name": lambda: _slip(chance, company().name),
        "symbol and venue": lambda: f"{company().symbol} bse",
        "isin": lambda: company().isin,
        "token": lambda: chance.choice(universe.rows).tokens[0].token,
        "key": lambda: chance.choice(universe.rows).key,
        "option": lambda: (row := option()) and f"{row.underlying} {row.strike} {row.option_type}e".lower(),
        "option of a month": lambda: (
            (row := option()) and f"{row.underlying} {row.strike} {row.option_type}e {row.expiry:%b}"
        ),
        "option of a day": lambda: (
            (row := option()) and f"{row.underlying} {row.expiry:%d %b} {row.strike} {row.option_type}e"
        ),
        "compact option": lambda: option().symbol,
        "option, name misspelt": lambda: (
            (row := option()) and f"{_slip(chance, str(row.underlying))} {row.strike} {row.option_type}e"
        ),
        "future": lambda: f"{chance.choice(futures).underlying} fut",
        "future of a month": lambda: (row := chance.choice(futures)) and f"{row.underlying} {row.expiry:%b} fut",
        "strike alone": lambda: (row := option()) and f"{row.strike} {row.option_type}e",
        "nothing": lambda: "".join(chance.choices("qxzjvw", k=10)),
    }
    made = {kind: [Query(text=make()) for _ in range(each)] for kind, make in kinds.items()}
    made["browse with facets"] = [
        Query(filters=Filters(venue=(chance.choice(["NFO", "BFO", "MCX"]),), kind=("option",)), facets=True)
        for _ in range(each)
    ]
    made["chain of an underlying"] = [
        Query(filters=Filters(underlying=(chance.choice(universe.underlyings),), option_type=("C",)), facets=True)
        for _ in range(each)
    ]
    return made


def _slip(chance: Random, text: str) -> str:
    at = chance.randrange(1, len(text) - 1)
    return chance.choice(
        [
            text[:at] + text[at + 1 :],
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            text[:at] + chance.choice("AEIOURST") + text[at:],
        ]
    )
