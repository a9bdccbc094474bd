"""Option chains for tests, as Kite prints them: as many strikes and expiries as one likes."""

from collections.abc import Iterable
from datetime import date

from desk import HEADER

WEEKS = (date(2026, 8, 18), date(2026, 8, 25), date(2026, 9, 1), date(2026, 9, 8))
STRIKES = range(20_000, 28_001, 50)


def dump(*parts: Iterable[str]) -> str:
    """One file of several parts, with what every market has."""
    index = ["256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE"]
    return "\n".join([HEADER, *index, *(line for part in parts for line in part), ""])


def chain(
    name: str = "NIFTY",
    *,
    expiries: Iterable[date] = WEEKS,
    strikes: Iterable[int] = STRIKES,
    exchange: str = "NFO",
    first_token: int = 1_000_000,
) -> Iterable[str]:
    """The rows of one chain, both sides of every strike of every expiry."""
    token = first_token
    for day in expiries:
        for strike in strikes:
            for side in ("CE", "PE"):
                token += 1
                symbol = f"{name}{day:%y%m%d}{strike}{side}"
                yield (
                    f"{token * 256},{token},{symbol},{name},0,{day.isoformat()},{strike},0.05,65,{side},"
                    f"{exchange}-OPT,{exchange}"
                )
