"""The catalogue in a worker's memory: today's index, which follows the facts, and a few of past days."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import structlog

from instrument_registry import events
from instrument_registry.catalog import feed, names
from instrument_registry.catalog.remembering import Answers
from instrument_registry.catalog.search import Alias, Index
from instrument_registry.clock import MARKET_ZONE, Clock
from instrument_registry.database import Database, DatabaseUnavailable
from instrument_registry.errors import Unavailable

DAY_INDEXES_MAX = 4
DAY_TIMEOUT_SECONDS = 28.0
# A change of more instruments than this is read anew as a whole, which is then the quicker way.
APPLY_MAX = 10_000
# Facts of this long a silence are looked for even when nobody notified.
POLL_SECONDS = 0.5
INSTRUMENT = "instrument."
ALIASES = ("alias.", "declaration.")  # a changed symbol is found by the old one
APPLIED = "ingestion.applied"

LOG = structlog.get_logger(__name__)


class NotSearchable(Unavailable):
    """The index is not built yet."""

    title = "The catalogue is being read into memory"


@dataclass(slots=True)
class _Day:
    """An index of a past day, valid as long as the catalogue stands at its position."""

    index: Index
    position: int


class LiveCatalogue:
    """Indexes of one process: never the truth, always rebuilt from it."""

    def __init__(self, database: Database, clock: Clock, *, on_change: Callable[[], None] = lambda: None) -> None:
        self._database, self._clock, self._on_change = database, clock, on_change
        self.answers = Answers()
        self._index: Index | None = None
        self._days: OrderedDict[date, _Day] = OrderedDict()
        self._building: dict[date, asyncio.Task[_Day]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._known_head = 0
        self._caught_up_at = 0.0

    @property
    def index(self) -> Index:
        """Today's index; Raises: NotSearchable before it is there."""
        if self._index is None:
            raise NotSearchable("Searches are answered as soon as the index is built; try again in a moment")
        return self._index

    @property
    def position(self) -> int:
        """The position of the newest fact the index knows of."""
        return self.index.view.position

    @property
    def behind(self) -> bool:
        """Whether facts are known that the index has not taken over yet."""
        return self._index is None or self._known_head > self.position

    @property
    def age_seconds(self) -> float:
        """Since when the index may miss something: 0 while it is known to have everything that was sequenced."""
        return round(max(0.0, time.monotonic() - self._caught_up_at), 3) if self.behind else 0.0

    def today(self) -> date:
        """The present market date: the calendar day in the market's zone."""
        return self._clock().astimezone(MARKET_ZONE).date()

    async def as_of(self, day: date | None) -> Index:
        """The index of a market date, built if need be; without one, today's.

        Raises: NotSearchable when it takes longer than anybody should wait; it is being built all the same.
        """
        if day is None or day == self.index.view.as_of:
            return self.index
        kept = self._days.get(day)
        if kept is None or kept.position < self.position:
            building = self._building.get(day)
            if building is None:
                building = self._building[day] = asyncio.create_task(self._keep(day))
            try:
                async with asyncio.timeout(DAY_TIMEOUT_SECONDS):
                    kept = await asyncio.shield(building)
            except TimeoutError as error:
                raise NotSearchable(
                    f"The index of {day} is being built; ask again in some seconds", as_of=str(day)
                ) from error
        self._days.move_to_end(day)
        return kept.index

    async def _keep(self, day: date) -> _Day:
        try:
            async with self._one_at_a_time:
                kept = self._days[day] = await self._build(day)
                while len(self._days) > DAY_INDEXES_MAX:
                    self._days.popitem(last=False)
                return kept
        finally:
            del self._building[day]

    async def run(self) -> None:
        """Read, then follow, for ever; a database that is away is waited for."""
        while True:
            try:
                await self.start()
                await asyncio.gather(self.follow(), self.turn_day())
            except DatabaseUnavailable as error:
                LOG.warning("index.waits", reason=str(error))
                await asyncio.sleep(POLL_SECONDS)

    async def start(self) -> None:
        """Read the whole catalogue; searches are answered from then on."""
        built = await self._build(self.today())
        self._index, self._known_head = built.index, max(self._known_head, built.position)
        self._caught_up_at = time.monotonic()
        self._on_change()

    async def follow(self) -> None:
        """Take over every fact as it comes, for ever."""
        async for page in events.follow(self._database, after=self.position, bulk=False, poll_seconds=POLL_SECONDS):
            self._known_head = max(self._known_head, page.position)
            await self._take(page)
            self._caught_up_at = time.monotonic()

    async def turn_day(self) -> None:
        """When the market date changes, what begins and ends with it changes too."""
        while True:
            await asyncio.sleep(self._seconds_to_midnight())
            await self.start()

    def days_kept(self) -> list[date]:
        """The past days whose index is in memory."""
        return list(self._days)

    def evict_days(self) -> int:
        """Forget the indexes of past days; how many there were."""
        count = len(self._days)
        self._days.clear()
        return count

    async def _take(self, page: events.Page) -> None:
        bulk = any(event.type == APPLIED and _changed(event) > events.BULK_FACTS for event in page.events)
        subjects = {event.subject for event in page.events if event.type.startswith(INSTRUMENT) and event.subject}
        if bulk or len(subjects) > APPLY_MAX:
            await self.start()
            return
        aliases = any(event.type.startswith(ALIASES) for event in page.events)
        async with self._database.transaction(read_only=True) as tx:
            ids = await feed.ids_of(tx, subjects) if subjects else []
            rows = await feed.read_some(tx, self.index.view.as_of, ids=ids) if ids else []
            renamed: list[Alias] | None = await names.read_aliases(tx) if aliases else None
        shown = {row.id for row in rows}
        gone = [identifier for identifier in ids if identifier not in shown]
        index = self.index
        if renamed is not None:
            await asyncio.to_thread(index.rename, renamed)
        await asyncio.to_thread(index.apply, rows, gone, position=page.position)
        self._on_change()

    async def _build(self, day: date) -> _Day:
        since = time.perf_counter()
        built = await asyncio.to_thread(self._read, day)
        LOG.info(
            "index.built", day=day.isoformat(), position=built.position, rows=len(built.index.view.columns),
            seconds=round(time.perf_counter() - since, 3),
        )  # fmt: skip
        return built

    def _read(self, day: date) -> _Day:
        # One snapshot for the position and the rows: what is committed after it will be followed.
        with self._database.blocking_session("index") as connection, connection.transaction():
            connection.execute("set transaction isolation level repeatable read read only")
            position = events.head_position_seen(connection)
            aliases = names.read_all_aliases(connection)
            index = Index.build(feed.read_all(connection, day), day, position=position, aliases=aliases)
        return _Day(index=index, position=position)

    def _seconds_to_midnight(self) -> float:
        now = self._clock().astimezone(MARKET_ZONE)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds() + 1


def _changed(event: events.Event) -> int:
    import msgspec

    counts: dict[str, int] = msgspec.json.decode(event.data)["counts"]
    return sum(counts.values())
