"""A small market of several days and brokers, read by many tests and changed by none.

On 2026-08-18: one company on two exchanges with one ISIN, formerly called OLDLEAF; an index with a weekly and two
monthly chains, one strike without a put; a contract that ended long ago; a token that Shoonya uses in two segments.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

from catalogues import Catalogue, Load, fill, shared
from desk import TEA, Caller, Desk
from facts import catch_up
from frame import NOON
from instrument_registry.access.model import Scope
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.database import Database
from keeper import Template

ISIN = "INE111Q01013"
CALL = "NFO:NIFTY;2026-09-01;24500;C"
ENDED = "NFO:NIFTY;2026-08-07;24000;C"
KITE = f"""{TEA}23553026,92004,NIFTY26AUG24500CE,NIFTY,0,2026-08-25,24500,0.05,65,CE,NFO-OPT,NFO
23553282,92005,NIFTY26AUG24500PE,NIFTY,0,2026-08-25,24500,0.05,65,PE,NFO-OPT,NFO
23553538,92006,NIFTY26SEP24500CE,NIFTY,0,2026-09-29,24500,0.05,65,CE,NFO-OPT,NFO
23553794,92007,NIFTY26SEP24500PE,NIFTY,0,2026-09-29,24500,0.05,65,PE,NFO-OPT,NFO
23554050,92008,NIFTY2690124600CE,NIFTY,0,2026-09-01,24600,0.05,65,CE,NFO-OPT,NFO
23554306,92009,NIFTY2690124600PE,NIFTY,0,2026-09-01,24600,0.05,65,PE,NFO-OPT,NFO
23554562,92010,TEALEAF26AUGFUT,TEALEAF,0,2026-08-25,0,0.1,500,FUT,NFO-FUT,NFO
"""
HEADER, INDEX = TEA.splitlines()[:2]
KITE_BEFORE = f"""{HEADER}
{INDEX}
23296002,91000,NIFTY2680724000CE,NIFTY,0,2026-08-07,24000,0.05,75,CE,NFO-OPT,NFO
"""
SHOONYA = {
    "NFO": """Exchange,Token,LotSize,Symbol,TradingSymbol,Expiry,Instrument,OptionType,StrikePrice,TickSize,
NFO,92001,65,NIFTY,NIFTY01SEP26C24500,01-SEP-2026,OPTIDX,CE,24500,0.05,
NFO,92002,65,NIFTY,NIFTY01SEP26P24500,01-SEP-2026,OPTIDX,PE,24500,0.05,
""",
    "NSE": """Exchange,Token,LotSize,Symbol,TradingSymbol,Instrument,TickSize,
NSE,90001,1,TEALEAF,TEALEAF-EQ,EQ,0.1,
NSE,92001,1,GADGETS,GADGETS-EQ,EQ,0.05,
""",
}


def listing(symbol: str, *, exchange: str, token: str) -> dict[str, object]:
    """The company as Upstox prints it."""
    return {
        "segment": f"{exchange}_EQ", "name": "TEA LEAF ESTATES", "exchange": exchange, "isin": ISIN,
        "instrument_type": "EQ" if exchange == "NSE" else "A", "instrument_key": f"{exchange}_EQ|{ISIN}",
        "lot_size": 1, "freeze_quantity": 100000.0, "exchange_token": token, "tick_size": 10.0,
        "trading_symbol": symbol, "qty_multiplier": 1.0, "security_type": "NORMAL",
    }  # fmt: skip


def option(token: str, *, side: str) -> dict[str, object]:
    """An option of the weekly chain as Upstox prints it."""
    return {
        "weekly": True, "segment": "NSE_FO", "name": "NIFTY", "exchange": "NSE", "expiry": 1788287399000,
        "instrument_type": side, "asset_symbol": "NIFTY", "underlying_symbol": "NIFTY",
        "instrument_key": f"NSE_FO|{token}", "lot_size": 65, "freeze_quantity": 1800.0, "exchange_token": token,
        "minimum_lot": 65, "tick_size": 5.0, "asset_type": "INDEX", "trading_symbol": f"NIFTY 24500 {side} 01 SEP 26",
        "strike_price": 24500.0, "qty_multiplier": 1.0,
    }  # fmt: skip


def loads() -> list[Load]:
    """What the brokers brought, in order."""
    bse = listing("TEALEAF", exchange="BSE", token="500325")
    before = [listing("OLDLEAF", exchange="NSE", token="90001"), bse]
    today = [listing("TEALEAF", exchange="NSE", token="90001"), bse, option("92001", side="CE")]
    return [
        _load("zerodha", date(2026, 8, 7), kite_NSE_csv=KITE_BEFORE),
        _load("upstox", date(2026, 8, 17), complete_json=json.dumps(before)),
        _load("upstox", date(2026, 8, 18), complete_json=json.dumps([*today, option("92002", side="PE")])),
        _load("zerodha", date(2026, 8, 18), kite_NSE_csv=KITE),
        _load("shoonya", date(2026, 8, 18), **{f"{segment}_symbols_txt": text for segment, text in SHOONYA.items()}),
    ]


def market(template: Template) -> Catalogue:
    """The market, brought by whoever needs it first."""
    return shared(template, "market", build)


@asynccontextmanager
async def reader(there: Catalogue, folder: Path) -> AsyncIterator[Caller]:
    """Somebody who reads the market at noon of 2026-08-18, at a worker of their own."""
    database = await Database(there.service_url, application="test", pool_size=4).open()
    try:
        async with Desk(database, folder, now=NOON).caller(Scope.READER) as one:
            yield one
    finally:
        await database.close()


def build(service_url: str) -> None:
    """Bring everything and tell all of it."""
    refused = [outcome for outcome in asyncio.run(_filled(service_url)) if outcome.status != "applied"]
    if refused:
        raise RuntimeError(str(refused))


async def _filled(service_url: str) -> list:
    outcomes = await fill(service_url, loads())
    database = await Database(service_url, application="test", pool_size=2).open()
    try:
        await catch_up(database)
    finally:
        await database.close()
    return outcomes


def _load(broker: str, day: date, **texts: str) -> Load:
    dumps = tuple(
        Dump(name=name[::-1].replace("_", ".", 1)[::-1], content=text.encode()) for name, text in texts.items()
    )
    return Load(broker=broker, day=day, dumps=dumps)
