"""A universe of live instruments in the proportions of an Indian broker's dump, made from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from instrument_registry.catalog.model import VENUES
from instrument_registry.catalog.search import IndexRow, TokenRow

TODAY = date(2026, 8, 18)
SYLLABLES = (
    "ra", "ba", "ma", "ni", "ti", "sa", "ka", "la", "va", "ja", "ga", "pa", "da", "mo", "ri", "so", "ko", "to", "vi",
    "no", "al", "an", "ar", "in", "el", "um", "as", "or", "en", "ish", "ant", "and", "ram", "dev", "sun", "tat",
    "jin", "bir", "mah", "hin", "ind", "bha", "gu", "pun", "kar", "ben", "del", "shr", "kri", "anu", "pri", "lak",
    "suv", "tri", "ved", "yas", "zen",
)  # fmt: skip
TRADES = (
    "STEEL", "POWER", "CHEMICALS", "TEXTILES", "FINANCE", "PHARMA", "MOTORS", "CEMENT", "FOODS", "INFRA",
    "TECHNOLOGIES", "ENERGY", "PAPER", "SUGAR",
)  # fmt: skip
ENDINGS = ("LTD", "LIMITED", "INDIA LTD", "INDUSTRIES LTD")
BROKERS = ("zerodha", "upstox", "shoonya")
CONTRACT_VENUES = ("NFO", "NFO", "NFO", "NFO", "BFO", "MCX", "NCO", "CDS")


@dataclass(frozen=True, slots=True)
class Company:
    """One cash name."""

    symbol: str
    name: str
    isin: str


@dataclass(slots=True)
class Universe:
    """Rows, and what queries can be made from."""

    rows: list[IndexRow]
    companies: list[Company]
    underlyings: list[str]


def universe(size: int, *, seed: int = 1, today: date = TODAY) -> Universe:
    """About `size` live instruments: a tenth cash, the rest contracts on one underlying in twelve."""
    chance = Random(seed)
    companies = list(_companies(chance, size // 32))
    rows: list[IndexRow] = []
    for company in companies:
        rows.append(_cash(len(rows) + 1, "NSE", company))
        if chance.random() < 0.8:
            rows.append(_cash(len(rows) + 1, "BSE", company))
    for number in range(size // 20):
        bond = Company(f"{chance.randrange(500, 1200)}{chance.choice(companies).symbol[:4]}{number}", "BOND SERIES", "")
        rows.append(_cash(len(rows) + 1, "BSE", bond)._replace(kind="bond", series="F", key=f"BSE:{bond.symbol};F"))
    underlyings = [company.symbol for company in companies[:: max(1, len(companies) // max(20, size // 900))]]
    while len(rows) < size:
        for number, symbol in enumerate(underlyings):
            rows += _contracts(chance, len(rows) + 1, symbol, today, wide=number % 20 == 0)
            if len(rows) >= size:
                break
    unique = {row.key: row for row in rows}
    return Universe(list(unique.values())[:size], companies, underlyings)


def _companies(chance: Random, count: int) -> Iterator[Company]:
    seen: set[str] = set()
    while len(seen) < count:
        word = "".join(chance.choices(SYLLABLES, k=chance.randint(2, 4))).upper()
        trade = chance.choice(TRADES)
        symbol = (word + trade)[: chance.randint(5, 10)]
        if symbol not in seen:
            seen.add(symbol)
            yield Company(symbol, f"{word} {trade} {chance.choice(ENDINGS)}"[:30], f"INE{len(seen):08}5")


def _cash(number: int, venue: str, company: Company) -> IndexRow:
    return _row(number, f"{venue}:{company.symbol}", company.symbol, venue)._replace(
        name=company.name, series="EQ" if venue == "NSE" else "A", isin=company.isin or None
    )


def _contracts(chance: Random, number: int, symbol: str, today: date, *, wide: bool) -> Iterator[IndexRow]:
    venue = chance.choice(CONTRACT_VENUES)
    middle = chance.choice([100, 500, 1_000, 5_000, 25_000])
    step = middle / 50
    days = [today + timedelta(days=7 * week + chance.randrange(3)) for week in range(18 if wide else 3)]
    for day in days:
        tag = day.strftime("%d%b%y").upper()
        future = _row(number, f"{venue}:{symbol};F;{day}", f"{symbol}{tag}FUT", venue)
        yield future._replace(kind="future", underlying=symbol, expiry=day, lot_size=middle, asset_class="equity")
        number += 1
        for place in range(-25, 26):
            strike = f"{middle + place * step:g}"
            for side in "CP":
                key, compact = f"{venue}:{symbol};{day};{strike};{side}", f"{symbol}{tag}{strike}{side}E"
                yield _row(number, key, compact, venue)._replace(
                    kind="option", underlying=symbol, expiry=day, strike=strike, option_type=side, lot_size=middle,
                    asset_class="equity", name=symbol,
                )  # fmt: skip
                number += 1


def _row(number: int, key: str, symbol: str, venue: str) -> IndexRow:
    mic, exchange, segment = VENUES[venue]
    token = str(number * 7 + 100)
    tokens = tuple(TokenRow(broker, venue, f"{place}{token}", token, symbol) for place, broker in enumerate(BROKERS))
    return IndexRow(
        id=number, ulid=f"{number:026}", key=key, symbol=symbol, name=symbol, kind="equity", venue=venue, mic=mic,
        segment=segment, exchange=exchange, series=None, isin=None, underlying=None, expiry=None, strike=None,
        option_type=None, lot_size=1, tick_size="0.05", freeze_qty=1800, multiplier="1", status="active", is_test=False,
        streamable=True, asset_class=None, currency="INR", tokens=tokens, extra='"cfi":"OCEFPS"',
    )  # fmt: skip
