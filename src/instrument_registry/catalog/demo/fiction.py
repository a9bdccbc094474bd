"""Invented companies and bonds; their ISINs have the right shape and check digit and belong to nobody we know."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import product
from random import Random
from typing import Final

from instrument_registry.catalog.demo.listing import Listing
from instrument_registry.catalog.isin import is_isin

PLACES: Final = (
    "Aravan", "Belvana", "Chitravan", "Devgaon", "Ekpura", "Firozgarh", "Gomtara", "Himvani", "Indrasar", "Jalveni",
    "Kaveripur", "Lohagiri", "Madhuvan", "Nandigiri", "Omkarpur", "Palashan", "Rajvela", "Sindhura", "Tapovan",
    "Udaysar", "Vindhara", "Yamgiri", "Zaveriwal",
)  # fmt: skip
TRADES: Final = (
    "Foods", "Textiles", "Cements", "Pharma", "Steels", "Motors", "Chemicals", "Papers", "Fintech", "Logistics",
    "Energy", "Ceramics", "Agro", "Castings", "Infotech", "Hotels", "Cables", "Dairy", "Polymers", "Realty",
    "Jewels", "Plastics", "Tyres", "Media",
)  # fmt: skip
FIRST_TOKEN: Final = 900_001
FIRST_SCRIP_CODE: Final = 598_001
SMALL_EVERY: Final = 7  # every seventh company is on the exchange's list for small ones, in lots
WATCHED_EVERY: Final = 19  # every nineteenth may only be bought to be held
BSE_EVERY: Final = 2
SMALL_LOTS: Final = (400, 500, 800, 1000, 1200, 1600, 2000, 3000)

FINE, COARSE = Decimal("0.01"), Decimal("0.05")
LENDERS: Final = ("ARVF", "BELF", "CHTF", "DEVF", "GOMF", "HIMF")
STATES: Final = ("AP", "BR", "GJ", "HR", "KA", "KL", "MH", "MP", "PN", "RJ", "TN", "TS", "UP", "WB")
TEST_ROW: Final = Listing("NSE", "011NSETEST", "011NSETEST", "EQ", "", "1011", 1, COARSE)


def companies(seed: int) -> list[Listing]:
    """Shares of invented companies; the seed decides who is small, watched or listed at Mumbai too."""
    random = Random(seed)  # noqa: S311  a market, not a secret
    names = list(product(PLACES, TRADES))
    random.shuffle(names)
    listings = [TEST_ROW]
    for number, (place, trade) in enumerate(names):
        symbol, title = f"{place[:7]}{trade[:5]}".upper(), f"{place} {trade} Limited"
        isin = checked(f"INEZ{number:03}01011"[:11])
        small, watched = number % SMALL_EVERY == 3, number % WATCHED_EVERY == 5
        series = ("ST" if watched else "SM") if small else "BE" if watched else "EQ"
        lot = random.choice(SMALL_LOTS) if small else 1
        tick = COARSE if small else FINE
        listings.append(Listing("NSE", symbol, title, series, isin, str(FIRST_TOKEN + number), lot, tick))
        if number % BSE_EVERY == 0 and not small:
            group = "T" if watched else "B"
            code = str(FIRST_SCRIP_CODE + number)
            listings.append(Listing("BSE", symbol, title, group, isin, code, 1, FINE))
    return listings


def debts(day: date) -> list[Listing]:
    """Bonds of invented lenders, loans of the states and of the government, bills that mature on coming Thursdays."""
    rows = [*_debentures(), *_state_loans(), *_government_loans(), *_bills(day)]
    return [
        Listing("NSE", symbol, name, series, isin, str(FIRST_TOKEN + 2_000 + number), lot, FINE)
        for number, (symbol, name, series, isin, lot) in enumerate(rows)
    ]


def checked(body: str) -> str:
    """The ISIN that begins with eleven characters."""
    return next(isin for digit in range(10) if is_isin(isin := f"{body}{digit}"))


Debt = tuple[str, str, str, str, int]


def _debentures() -> Iterator[Debt]:
    for lender, (number, coupon) in product(LENDERS, enumerate((8.5, 8.75, 9.0, 9.25, 9.5, 9.75, 10.0, 10.25))):
        digits = f"{coupon:g}".replace(".", "")
        issuer = f"INEY{LENDERS.index(lender):03}07{number + 1:02}"
        yield f"{digits}{lender}{28 + number}", f"{lender} {coupon}% {2028 + number}", f"N{number}", checked(issuer), 1


def _state_loans() -> Iterator[Debt]:
    for (place, state), (number, coupon) in product(enumerate(STATES), enumerate((710, 718, 726, 734, 742, 749, 757))):
        year = 2031 + number * 2
        isin = checked(f"IN{10 + place}2024{900 + number}")
        yield f"{coupon}{state}{year % 100}", f"SDL {state} {coupon / 100}% {year}", "SG", isin, 100


def _government_loans() -> Iterator[Debt]:
    for number, coupon in enumerate(range(610, 760, 5)):
        year = 2028 + number
        yield f"{coupon}GS{year}", f"GOI LOAN {coupon / 100}% {year}", "GS", checked(f"IN002024{900 + number}"), 1


def _bills(day: date) -> Iterator[Debt]:
    thursday = day + timedelta(days=(3 - day.weekday()) % 7 + 7)
    for number in range(12):
        matures = thursday + timedelta(weeks=number)
        year = matures.year % 100
        isin = checked(f"IN0020{year:02}X{matures.timetuple().tm_yday // 7:02}")
        yield f"91D{matures:%d%m%y}", f"GOI TBILL 91D-{matures:%d/%m/%y}", "TB", isin, 100
