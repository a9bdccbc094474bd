"""What a query may mean."""

from datetime import date
from typing import NamedTuple


class Reading(NamedTuple):
    """One way to understand a query; the first that fits something in the catalogue is taken."""

    words: tuple[str, ...] = ()  # what names the instrument or its underlying
    venues: frozenset[str] = frozenset()
    contract: str = ""  # F, C, P, O for either option, D for any derivative, nothing for cash
    kinds: frozenset[str] = frozenset()
    series: str = ""
    strike: float | None = None
    year: int = 0
    month: int = 0
    day: int = 0
    cycle: str = ""  # weekly or monthly
    nth: int = 0  # 1 the nearest expiry, 2 the next, -1 the last
    exact: bool = False  # only what is spelt exactly like the words counts
    within: tuple[date, date] | None = None  # expiry in these days, both included

    @property
    def dated(self) -> bool:
        """Whether an expiry is said."""
        return bool(self.month or self.day or self.cycle or self.nth or self.within)

    @property
    def derivative(self) -> bool:
        """Whether contracts are asked for."""
        return bool(self.contract) or self.strike is not None or self.dated
