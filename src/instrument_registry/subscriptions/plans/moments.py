"""Everything a plan depends on, read in one snapshot; what the catalogue said before is remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from instrument_registry import events
from instrument_registry.catalog import wire
from instrument_registry.catalog.calendars import market_today
from instrument_registry.catalog.wire import WireRow
from instrument_registry.database import Transaction
from instrument_registry.subscriptions.capacity import service as capacity
from instrument_registry.subscriptions.capacity.standing import Standing
from instrument_registry.subscriptions.demand import service as demand_service
from instrument_registry.subscriptions.demand.model import Demand
from instrument_registry.subscriptions.planner.model import NOWHERE
from instrument_registry.subscriptions.plans import question, storage
from instrument_registry.subscriptions.plans.content import Content, unpacked
from instrument_registry.subscriptions.plans.model import Live
from instrument_registry.subscriptions.plans.question import Question

ROWS_MAX = 2_000_000
CONTENTS_MAX = 4


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What is wanted, what accounts can carry, what is live, and what lingers until `lingering_ends`."""

    at: datetime
    demand: Demand
    standing: Standing
    live: Live
    content: Content | None  # of the live plan
    rows: dict[int, WireRow]
    lingering: dict[int, int]
    lingering_ends: datetime | None

    def question(self, options: str, *, lingering: bool = True) -> Question:
        """What the planner is to be asked; `options` are part of the question's digest."""
        asked = question.compose(
            self.demand, self.rows, self.standing, live=self.content, at=self.at,
            options=f"{options}|{self.live.plan_id}", lingering=self.lingering if lingering else {},
        )  # fmt: skip
        ends = self.lingering_ends
        return replace(asked, edge=ends) if ends and (asked.edge is None or ends < asked.edge) else asked


class Memory:
    """What one process remembers between plans: rows of the catalogue, and contents of plans."""

    def __init__(self) -> None:
        self._rows: dict[int, WireRow] = {}
        self._known: tuple[int, date, frozenset[str]] | None = None  # position, market date, publishers
        self._contents: dict[str, Content] = {}

    async def moment(self, tx: Transaction, *, at: datetime, linger_seconds: float, notes: bool = True) -> Moment:
        """Read everything; `notes`: what is wanted no more from now on is noted as lingering."""
        demand = await demand_service.demanded(tx, at=at)
        standing = await capacity.standing(tx, at=at)
        live, content = await self.live(tx)
        lingering, ends = await _lingering(tx, demand, content, at=at, seconds=linger_seconds, notes=notes)
        rows = await self.rows(tx, demand.ids.tolist() + list(lingering), standing, at=at)
        return Moment(
            at=at, demand=demand, standing=standing, live=live, content=content, rows=rows, lingering=lingering,
            lingering_ends=ends,
        )  # fmt: skip

    async def rows(
        self, tx: Transaction, ids: Sequence[int], standing: Standing, *, at: datetime
    ) -> dict[int, WireRow]:
        """What the catalogue says of instruments; only what facts have been told of is read again."""
        publishers, day = frozenset(question.dumps_of(standing)), market_today(at)
        head = await events.head_position(tx)
        if self._known is None or self._known[1:] != (day, publishers) or len(self._rows) > ROWS_MAX:
            self._rows = {}
        elif self._known[0] < head:
            await self._forget_told(tx, self._known[0], head)
        self._known = (head, day, publishers)
        missing = [one for one in ids if one not in self._rows]
        if missing:
            self._rows = self._rows | await wire.rows(tx, missing, day=day, brokers=publishers)
        return self._rows

    async def live(self, tx: Transaction) -> tuple[Live, Content | None]:
        """Which plan is live, and all of it; none while nothing is."""
        live = await storage.live(tx)
        return live, None if live.plan_id is None else await self.content(tx, live.plan_id)

    async def content(self, tx: Transaction, plan_id: str) -> Content | None:
        """All of a plan, from memory where it is there."""
        if plan_id not in self._contents:
            stored = await storage.content(tx, plan_id)
            if stored is None:
                return None
            self.remember(plan_id, unpacked(stored))
        return self._contents[plan_id]

    def remember(self, plan_id: str, content: Content) -> None:
        """Keep a content; the oldest one goes when there are too many."""
        self._contents[plan_id] = content
        while len(self._contents) > CONTENTS_MAX:
            self._contents.pop(next(iter(self._contents)))

    async def _forget_told(self, tx: Transaction, after: int, head: int) -> None:
        _, subjects = await events.told(tx, after=after, until=head)
        about = set(subjects)
        if about:
            self._rows = {number: row for number, row in self._rows.items() if row.ulid not in about}


async def _lingering(
    tx: Transaction, demand: Demand, content: Content | None, *, at: datetime, seconds: float, notes: bool
) -> tuple[dict[int, int], datetime | None]:
    """Modes of what is live and not wanted (so much) any more, as long as it may stay; until when the first may."""
    if content is None or seconds <= 0:
        return {}, None
    served = content.at != NOWHERE
    lived = dict(zip(content.problem.ids[served].tolist(), content.problem.mode[served].tolist(), strict=True))
    wanted = dict(zip(demand.ids.tolist(), demand.mode.tolist(), strict=True))
    less = {one: mode for one, mode in lived.items() if wanted.get(one, -1) < mode}
    known = await storage.lingering(tx)
    begin = {one: mode for one, mode in less.items() if one not in known}
    ended = [one for one in known if one not in less]
    if notes and (begin or ended):
        await storage.linger(tx, begin, end=ended, at=at)
    since = {one: at if one in begin else known[one][1] for one in less}
    stays = {one: mode for one, mode in less.items() if since[one] > at - timedelta(seconds=seconds)}
    first = min((since[one] for one in stays), default=None)
    return stays, None if first is None else first + timedelta(seconds=seconds)
