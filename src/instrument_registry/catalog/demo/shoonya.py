"""The demo universe as Shoonya prints it: one text file an exchange, each with columns of its own."""

from collections.abc import Callable
from datetime import date
from functools import cache
from typing import Final

from instrument_registry.catalog.demo.kite import kite_symbol
from instrument_registry.catalog.demo.listing import Contract, Index, Listing, Market
from instrument_registry.catalog.demo.texts import MONTHS, lines, plain

FAR_DAYS: Final = 100
HEADERS: Final = {
    "NSE": "Exchange,Token,LotSize,Symbol,TradingSymbol,Instrument,TickSize,",
    "BSE": "Exchange,Token,LotSize,Symbol,TradingSymbol,Instrument,TickSize,",
    "NFO": "Exchange,Token,LotSize,Symbol,TradingSymbol,Expiry,Instrument,OptionType,StrikePrice,TickSize,",
    "BFO": "Exchange,Token,LotSize,Symbol,TradingSymbol,Expiry,Instrument,OptionType,StrikePrice,TickSize,",
    "CDS": "Exchange,Token,LotSize,Precision,Multiplier,Symbol,TradingSymbol,Expiry,Instrument,OptionType,"
    "StrikePrice,TickSize,",
    "MCX": "Exchange,Token,LotSize,GNGD,Symbol,TradingSymbol,Expiry,Instrument,OptionType,StrikePrice,TickSize,",
}
NO_STRIKE: Final = {"NFO": "-0.01", "BFO": "0", "CDS": "-1e-07", "MCX": "0"}
CODES: Final = {"SENSEX": "BSX", "BANKEX": "BKX", "SENSEX50": "SX50"}
INSTRUMENTS: Final = {"EQUITY": "STK", "INDEX": "IDX", "CURRENCY": "CUR", "COMMODITY": "COM"}
CURRENCY_SPOTS: Final = (("1", "USDINR"), ("25", "EURINR"), ("26", "GBPINR"), ("27", "JPYINR"))


def shoonya(market: Market) -> dict[str, bytes]:
    """One text file an exchange; contracts of a distant day are left out."""
    near = [row for row in market.contracts if (row.name.expiry - market.day).days <= FAR_DAYS]
    rows: dict[str, list[str]] = {venue: [header] for venue, header in HEADERS.items()}
    rows["NSE"] += [_index(row) for row in market.indices if row.shoonya_name]
    rows["CDS"] += [f"CDS,{token},1,4,1000,{pair},{pair},,UNDCUR,,," for token, pair in CURRENCY_SPOTS]
    for row in market.listings:
        rows[row.exchange].append(_listing(row))
    for contract in near:
        rows[contract.name.product.venue].append(_CONTRACTS[contract.name.product.venue](contract))
    return {f"shoonya_{market.day}_{venue}.txt": lines(printed) for venue, printed in rows.items()}


def _index(row: Index) -> str:
    return f"NSE,{row.token},1,{row.shoonya_name},{row.shoonya_symbol},INDEX,0,"


def _listing(row: Listing) -> str:
    symbol = row.symbol if row.exchange == "BSE" else f"{row.symbol}-{row.series}"
    return f"{row.exchange},{row.token},{row.lot},{row.symbol},{symbol},{row.series},{row.tick},"


def _dated(row: Contract, *, extra: str = "", future: str = "F", end: str = ",") -> str:
    """NIFTY13FEB25C21100 and NIFTY27FEB25F, the form of three of the exchanges."""
    name, product = row.name, row.name.product
    if name.strike is None:
        symbol = f"{product.root}{_day(name.expiry)}{future}"
        instrument, side, tick = "FUT", "XX", product.future_tick
        strike = NO_STRIKE[product.venue]
    else:
        strike = plain(name.strike)
        symbol = f"{product.root}{_day(name.expiry)}{name.side[0]}{strike}"
        instrument, side, tick = "OPT", name.side, product.option_tick
    kind = INSTRUMENTS[product.asset]
    if product.venue == "MCX" and name.strike is not None:
        kind = "FUT"
    return (
        f"{product.venue},{row.token},{product.lot},{extra}{product.root},{symbol},{_expiry(name.expiry)},"
        f"{instrument}{kind},{side},{strike},{plain(tick)}{end}"
    )


def _currency(row: Contract) -> str:
    return _dated(row, extra=f"4,{plain(row.name.product.multiplier)},", end="")  # one comma short, as theirs


def _commodity(row: Contract) -> str:
    return _dated(row, extra=f"{plain(row.name.product.multiplier)},", future="")


def _bombay(row: Contract) -> str:
    name, product = row.name, row.name.product
    code = CODES.get(product.root, product.root[:4])
    if name.strike is None:
        end = f"{code}FUT,{kite_symbol(name)},{_expiry(name.expiry)},FUTIDX,XX,0,{product.future_tick},"
    else:
        strike, tick = plain(name.strike), product.option_tick
        end = f"{code}OPT,{kite_symbol(name)},{_expiry(name.expiry)},OPTIDX,{name.side},{strike},{tick},"
    return f"BFO,{row.token},{product.lot},{end}"


@cache
def _day(expiry: date) -> str:
    return f"{expiry:%d}{MONTHS[expiry.month - 1]}{expiry:%y}"


@cache
def _expiry(expiry: date) -> str:
    return f"{expiry:%d}-{MONTHS[expiry.month - 1]}-{expiry:%Y}"


_CONTRACTS: Final[dict[str, Callable[[Contract], str]]] = {
    "NFO": _dated,
    "BFO": _bombay,
    "CDS": _currency,
    "MCX": _commodity,
}
