"""What happens between the two days of the demo: one of every kind of change the catalogue tells."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from instrument_registry.catalog.demo.fiction import COARSE, FINE, FIRST_TOKEN, checked
from instrument_registry.catalog.demo.listing import Listing, Market, Name
from instrument_registry.catalog.demo.universe import contract_names, first_tokens, numbered

NEWCOMERS: Final = (
    Listing("NSE", "ANAMIKASOL", "Anamika Solar Limited", "EQ", checked("INEX0010101"), "950001", 1, FINE),
    Listing("NSE", "NIRJHARBIO", "Nirjhar Biotech Limited", "SM", checked("INEX0020101"), "950002", 800, COARSE),
)
MOVED_BY: Final = 40_000  # a listing that moves to another series gets another token
DIVIDEND_SHARE: Final = "HINDPETRO"
DIVIDEND: Final = Decimal("19.25")  # large enough that the exchange takes it off every strike
RELISTED: Final = 10  # contracts listed anew under names the adjusted ones have given up
FARTHER: Final = {"NIFTY": 6, "SENSEX": 6, "CRUDEOIL": 8}  # strikes added above the highest of the nearest expiry
REUSED_TOKENS: Final = 12  # of each venue's tokens whose contracts have expired


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The invented companies to which something happens."""

    renamed: Listing
    watched: Listing  # EQ to BE
    trusted: Listing  # BE to EQ
    split: Listing
    gone: Listing
    grown: Listing  # its lot doubles
    small_watched: Listing  # SM to ST


def story(market: Market) -> Story:
    """Who the changes of the coming night befall."""
    invented = [row for row in market.listings if row.exchange == "NSE" and row.token.startswith(str(FIRST_TOKEN)[:3])]
    shares, small, watched = (
        [row for row in invented if row.series == series and row.isin.startswith("INE")]
        for series in ("EQ", "SM", "BE")
    )
    return Story(
        renamed=shares[0], watched=shares[1], split=shares[2], gone=shares[3],
        trusted=watched[0], grown=small[0], small_watched=small[1],
    )  # fmt: skip


def next_day(before: Market, day: date) -> Market:
    """The market one session later."""
    names = contract_names(day, expiring=before.day)
    had = {contract.name: contract.token for contract in before.contracts}
    adjusted = {name: _less_dividend(name) for name in names if name in had and _adjustable(name)}
    kept = had | {after: had[name] for name, after in adjusted.items()}
    given_up = list(adjusted)
    middle = len(given_up) // 2 if len({name.expiry for name in given_up}) == 1 else RELISTED
    relisted = given_up[max(0, middle - RELISTED) : middle]
    for name in given_up:
        del kept[name]
    contracts = numbered(
        [*(adjusted.get(name, name) for name in names), *relisted, *_farther(names)],
        taken=kept,
        free=_freed(before),
        following=first_tokens(before.contracts),
    )
    return Market(
        day=day, indices=before.indices, listings=list(_listings(before.listings, story(before))), contracts=contracts
    )


def _adjustable(name: Name) -> bool:
    return name.product.root == DIVIDEND_SHARE and name.strike is not None


def _less_dividend(name: Name) -> Name:
    assert name.strike is not None
    return name._replace(strike=name.strike - DIVIDEND)


def _farther(names: list[Name]) -> Iterator[Name]:
    for root, count in FARTHER.items():
        options = [name for name in names if name.product.root == root and name.strike is not None]
        nearest = min(name.expiry for name in options)
        strikes = sorted({name.strike for name in options if name.expiry == nearest and name.strike is not None})
        pattern = next(name for name in options if name.expiry == nearest)
        for away in range(1, count + 1):
            strike = strikes[-1] + (strikes[-1] - strikes[-2]) * away
            for side in ("CE", "PE"):
                yield pattern._replace(strike=strike, side=side)


def _freed(before: Market) -> dict[str, list[int]]:
    """Tokens of contracts that expired on the first day, by venue: the exchange gives them to others."""
    free: dict[str, list[int]] = {}
    for name, token in before.contracts:
        if name.expiry <= before.day and len(tokens := free.setdefault(name.product.venue, [])) < REUSED_TOKENS:
            tokens.append(token)
    return free


def _listings(listings: list[Listing], told: Story) -> Iterator[Listing]:
    for row in listings:
        if row.isin and row.isin == told.gone.isin:
            continue
        yield _changed(row, told)
    yield from NEWCOMERS


def _changed(row: Listing, told: Story) -> Listing:
    if row.isin == told.renamed.isin:
        place = row.name.split()[0]
        return row._replace(symbol=f"{row.symbol[:7]}GLOB", name=f"{place} Global Limited")
    if row.isin == told.split.isin:
        return row._replace(isin=checked(f"{row.isin[:9]}02"))
    if row is told.watched:
        return _moved(row, "BE")
    if row is told.trusted:
        return _moved(row, "EQ")
    if row is told.small_watched:
        return _moved(row, "ST")
    if row is told.grown:
        return row._replace(lot=row.lot * 2)
    return row


def _moved(row: Listing, series: str) -> Listing:
    return row._replace(series=series, token=str(int(row.token) + MOVED_BY))
