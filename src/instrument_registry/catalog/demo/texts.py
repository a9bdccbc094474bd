"""How numbers and months are written in dumps."""

from decimal import Decimal
from functools import cache
from typing import Final

MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@cache
def plain(number: Decimal | None) -> str:
    """A number without exponent and trailing zeros; nothing for a contract without strike."""
    return "" if number is None else f"{number.normalize():f}"


def lines(rows: list[str]) -> bytes:
    """A text file that ends with a newline."""
    return "\n".join([*rows, ""]).encode()
