"""Demand: every wanted instrument once, with the highest that anybody wants of it."""

from dataclasses import dataclass
from datetime import datetime

from instrument_registry.subscriptions.planner.model import Bools, Ints


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is wanted on the wire; every array has one entry an instrument, by ascending id (the catalogue's number).

    `mode` is the highest wanted, `tier` the best (0 first), `order` who goes first inside a tier (the smaller first:
    rank, number of users, fair share per user, id), `wanted_by` the number of wants: references, of which none may be
    lost. `copies` and `pinned` hold when one want says so. `next_edge` is when this changes by itself: a want ends.
    """

    ids: Ints
    mode: Ints
    tier: Ints
    order: Ints
    wanted_by: Ints
    copies: Ints
    pinned: Bools
    digest: str  # of all of the above, so that the same demand is recognised
    next_edge: datetime | None = None

    def __len__(self) -> int:
        return len(self.ids)
