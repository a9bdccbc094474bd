"""Which of the instruments that are carried are silent: pure, on arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.calendars import CalendarUnknown, calendar_of
from instrument_registry.catalog.calendars.files import product_closes

Ints = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]  # since 1970

Market = tuple[str | None, str | None]  # venue and underlying
CLOSED, UNKNOWN = np.inf, np.nan  # instead of when a market opened


@dataclass(frozen=True, slots=True)
class Awaited:
    """What an account carries by ascending number, and from when on each could have been heard."""

    ids: Ints
    since: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Of one account: who is silent and since when, of how many that should tick; of `unjudged` nobody can say."""

    silent: Ints
    heard: Seconds
    awaited: int
    unjudged: int


def carried_on(before: Awaited | None, ids: Ints, *, at: float) -> Awaited:
    """Who was carried before goes on being awaited since then, everybody else from now on."""
    since = np.full(len(ids), at)
    if before is not None and len(before.ids):
        places = np.minimum(np.searchsorted(before.ids, ids), len(before.ids) - 1)
        there = before.ids[places] == ids
        since[there] = before.since[places[there]]
    return Awaited(ids, since)


def arrayed(ticks: Mapping[int, datetime]) -> tuple[Ints, Seconds]:
    """When instruments ticked last, by ascending number."""
    ids = np.fromiter(ticks, dtype=np.int64, count=len(ticks))
    last = np.fromiter((at.timestamp() for at in ticks.values()), dtype=np.float64, count=len(ticks))
    turn = np.argsort(ids)
    return ids[turn], last[turn]


def judged(who: Awaited, ticks: tuple[Ints, Seconds], opened: Seconds, *, after: float, at: float) -> Judged:
    """Who did not tick for so long; `opened` is when each one's market opened, or CLOSED, or UNKNOWN."""
    heard = np.maximum(who.since, np.where(np.isfinite(opened), opened, -np.inf))
    ids, last = ticks
    if len(ids):
        places = np.minimum(np.searchsorted(ids, who.ids), len(ids) - 1)
        heard = np.maximum(heard, np.where(ids[places] == who.ids, last[places], -np.inf))
    awaited = np.isfinite(opened)
    silent = awaited & (at - heard >= after)
    return Judged(
        silent=who.ids[silent], heard=heard[silent], awaited=int(awaited.sum()), unjudged=int(np.isnan(opened).sum())
    )


def opening(market: Market, at: datetime) -> float:
    """When the session of a market began that goes on at an instant; CLOSED, or UNKNOWN where no calendar says."""
    venue, underlying = market
    try:
        calendar = calendar_of(venue or "")
        local = at.astimezone(calendar.zone)
        session = calendar.session(local.date())
        began = None if session is None else session.open_since(at)
    except CalendarUnknown:
        return UNKNOWN
    ends = product_closes().get((venue or "", underlying or ""))
    if began is None or (ends is not None and local.time() >= ends):
        return CLOSED
    return began.timestamp()


def openings(markets: Mapping[int, Market], ids: Ints, at: datetime) -> Seconds:
    """When the market of each instrument opened; every market is looked up once."""
    known: dict[Market, float] = {}
    found = np.empty(len(ids))
    for place, number in enumerate(ids.tolist()):
        market = markets.get(number, (None, None))
        if market not in known:
            known[market] = opening(market, at)
        found[place] = known[market]
    return found
