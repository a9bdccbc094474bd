"""The catalogue in a worker's memory: today's index, which follows the facts, and a few of past days."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from math import ceil

import psycopg
import structlog
from prometheus_client import Counter
from psycopg.rows import TupleRow

from instrument_registry import events
from instrument_registry.catalog import feed, names, truth
from instrument_registry.catalog.aside import aside
from instrument_registry.catalog.remembering import Answers
from instrument_registry.catalog.search import Alias, Index, IndexRow, digest_of
from instrument_registry.clock import MARKET_ZONE, Clock
from instrument_registry.database import Database, DatabaseUnavailable, Transaction
from instrument_registry.errors import Unavailable
from instrument_registry.telemetry.watched import KnownGauge

DAY_INDEXES_MAX = 4
DAY_TIMEOUT_SECONDS = 28.0
STOPPING = "This process is stopping; ask again, another one answers"
# A change of more instruments is streamed into the index beside those who search.
APPLY_MAX = 10_000
# A change of more than this share of the rows is read anew as a whole, which is then the quicker way.
APPLY_SHARE = 0.6
FACTS_EACH = 3  # of an instrument that changes, at most as a rule
# Facts of this long a silence are looked for even when nobody notified.
POLL_SECONDS = 0.5
# Who has not seen for this long that there is no fact more, whatever the reason, may have missed one.
SILENCE_SECONDS = 2.0
DIGESTS_MAX = 1_000
INSTRUMENT = "instrument."
# What may bring other names: operators' aliases, and changed symbols that operators or an exchange's file declare.
NAMING = ("alias.", "declaration.", "ingestion.applied")
# How often an index that has changed is compared with the tables, and how long it may take to reach their position.
PROOF_SECONDS = 30.0
RESTLESS_PERIODS = 10
PROOF_WAIT_SECONDS = 10.0

POSITION = KnownGauge("instrument_registry_index_position", "Position of the newest fact in the index of today")
ROWS = KnownGauge("instrument_registry_index_instruments", "Instruments in the index of today")
PROOFS = Counter("instrument_registry_index_proofs", "Comparisons of the index with the tables", ["verdict"])

LOG = structlog.get_logger("catalog")


class NotSearchable(Unavailable):
    """The index is not built yet."""

    title = "The catalogue is being read into memory"


class PastAway(Unavailable):
    """The tables are needed for the past: ask again after `retry_after`, or ask for today."""

    title = "The past cannot be asked while the database is away"


@dataclass(slots=True)
class _Day:
    """An index of a past day, valid as long as the catalogue stands at its position."""

    index: Index
    position: int


_Moment = tuple[date, datetime | None]  # a market date, and when what we know of it was known: None for now


class Proof(StrEnum):
    """What a comparison of the index with the tables found."""

    EQUAL = "equal"
    DIFFERENT = "different"
    COULD_NOT_TELL = "could_not_tell"


class LiveCatalogue:
    """Indexes of one process: never the truth, always rebuilt from it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        on_change: Callable[[], None] = lambda: None,
        proof_seconds: Callable[[], float] = lambda: PROOF_SECONDS,
    ) -> None:
        self._database, self._clock, self._on_change = database, clock, on_change
        self._proof_seconds = proof_seconds
        self.before_building: Callable[[], None] = lambda: None  # may refuse the index of a past day
        self.answers = Answers()
        self._index: Index | None = None
        self._days: OrderedDict[_Moment, _Day] = OrderedDict()
        self._building: dict[_Moment, asyncio.Task[_Day]] = {}
        self.day_hits = 0
        self.day_misses = 0
        self._one_at_a_time = asyncio.Lock()
        self._changing = asyncio.Lock()  # a page taken over while an older snapshot becomes the index would be lost
        self._known_head = 0
        self._caught_up_at = 0.0
        self._digests: OrderedDict[int, tuple[date, int]] = OrderedDict()  # of the last positions
        self.proof: Proof | None = None  # of the last comparison, None before the first
        self.proved_position = 0
        self._stopping = False

    @property
    def index(self) -> Index:
        """Today's index; Raises: NotSearchable before it is there."""
        if self._index is None:
            raise NotSearchable("Searches are answered as soon as the index is built; try again in a moment")
        return self._index

    @property
    def searchable(self) -> bool:
        """Whether there is an index."""
        return self._index is not None

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
        """Since when the index may miss something: 0 while it is known to have everything that was sequenced.

        It grows while facts are known that the index lacks, and while nobody can tell whether there are any.
        """
        return round(self._silence_seconds(), 3) if self.behind or self.stale else 0.0

    @property
    def stale(self) -> bool:
        """Whether nobody can tell if the index has everything: the database is away, or its facts do not come."""
        return not self._database.breaker.closed or self._silence_seconds() > SILENCE_SECONDS

    def _silence_seconds(self) -> float:
        return time.monotonic() - self._caught_up_at

    def today(self) -> date:
        """The present market date: the calendar day in the market's zone."""
        return self._clock().astimezone(MARKET_ZONE).date()

    async def as_of(self, day: date | None, *, known_at: datetime | None = None) -> Index:
        """The index of a market date as it was known at an instant, built if need be; without either, today's.

        Raises: NotSearchable when it takes longer than anybody should wait; it is being built all the same.
        """
        if known_at is not None and known_at >= self._clock():
            known_at = None
        if known_at is None and day in (None, self.index.view.as_of):
            return self.index
        moment = (day or self.index.view.as_of, known_at)
        if not self._database.breaker.closed:  # by whichever worker: the past has the same answer from all
            raise PastAway(
                f"Today is answered from memory; {moment[0]} needs the database, which does not answer",
                as_of=str(moment[0]),
                dependency="database",
                retry_after=max(1, ceil(self._database.breaker.rests_seconds)),
            )
        kept = self._days.get(moment)
        if kept is not None and kept.position >= self.position:
            self.day_hits += 1
        else:
            self.day_misses += 1
            if self._stopping:
                raise NotSearchable(STOPPING)
            building = self._building.get(moment)
            if building is None:
                self.before_building()  # Raises: when memory is short
                building = self._building[moment] = asyncio.create_task(self._keep(moment))
            await asyncio.wait({building}, timeout=DAY_TIMEOUT_SECONDS)
            if building.cancelled():
                raise NotSearchable(STOPPING)
            if not building.done():
                raise NotSearchable(
                    f"The index of {moment[0]} is being built; ask again in some seconds", as_of=str(moment[0])
                )
            kept = building.result()
        if moment in self._days:  # else it has been evicted since
            self._days.move_to_end(moment)
        return kept.index

    async def _keep(self, moment: _Moment) -> _Day:
        try:
            async with self._one_at_a_time:
                kept = self._days[moment] = await self._build(*moment)
                while len(self._days) > DAY_INDEXES_MAX:
                    self._days.popitem(last=False)
                return kept
        finally:
            del self._building[moment]

    def stop(self) -> None:
        """Give up what is being built: whoever waits for it is told to ask again."""
        self._stopping = True
        for building in self._building.values():
            building.cancel()

    async def run(self) -> None:
        """Read, then follow, until stopped; a database that is away is waited for, and followed from where it was."""
        while not self._stopping:
            try:
                if not await self._continues():
                    await self.start()
                async with asyncio.TaskGroup() as tasks:
                    for work in (self.follow(), self.turn_day(), self.keep_proving()):
                        tasks.create_task(work)
            except* (DatabaseUnavailable, NotSearchable) as errors:
                LOG.warning("index.waits", reason=str(errors.exceptions[0]))
            await asyncio.sleep(POLL_SECONDS)

    async def _continues(self) -> bool:
        """Whether what is in memory can be followed on: it is of today, and the log has not lost what it knows of.

        A log that was put back and has grown since is found out by the next proof.
        """
        if self._index is None or self._index.view.as_of != self.today():
            return False
        async with self._database.transaction(read_only=True) as tx:
            head = await events.head_position(tx)
        self.proof = None
        return head >= self.position

    async def start(self) -> None:
        """Read the whole catalogue; searches are answered from then on."""
        async with self._changing:
            await self._start()

    async def follow(self) -> None:
        """Take over every fact as it comes, for ever."""
        after = self.position
        pages = events.follow(
            self._database, after=after, limit=APPLY_MAX, bulk=False, poll_seconds=POLL_SECONDS,
            nothing_more=self._nothing_more,
        )  # fmt: skip
        async for page in pages:
            if page.position > self.position:  # else it was in the snapshot of a build
                self._known_head = max(self._known_head, page.position)
                async with self._changing:
                    await self._take(page, after=after)
            after = page.position

    async def keep_proving(self) -> None:
        """Compare an index that has changed with the tables once it is at rest, for ever; build one that differs anew.

        One that never rests is compared all the same, after some periods: a proof costs what reading everything costs.
        """
        restless = 0
        while True:
            before = self.position
            await asyncio.sleep(self._proof_seconds())
            if self.proved_position == self.position and self.proof is Proof.EQUAL:
                continue
            restless += 1
            if self.position != before and restless < RESTLESS_PERIODS:
                continue
            restless = 0
            if await self.prove() is Proof.DIFFERENT:
                await self.start()

    async def prove(self) -> Proof:
        """Compare the digest of the index with that of the tables at the same position."""
        day = self.today()
        position, expected = await aside(lambda: self._digest(day))
        deadline = time.monotonic() + PROOF_WAIT_SECONDS
        while self.position < position and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        view = self.index.view
        ours = (view.as_of, view.digest) if view.position == position else self._digests.get(position)
        if ours is None or ours[0] != day:  # the index went past this position in one step, or has not come to it
            self.proof = Proof.COULD_NOT_TELL
        else:
            self.proof = Proof.EQUAL if ours[1] == expected else Proof.DIFFERENT
        self.proved_position = position
        PROOFS.labels(self.proof).inc()
        told = LOG.error if self.proof is Proof.DIFFERENT else LOG.info
        told("index.proved", verdict=self.proof.value, position=position, day=day.isoformat())
        return self.proof

    async def turn_day(self) -> None:
        """When the market date changes, what begins and ends with it changes too."""
        while True:
            await asyncio.sleep(self._seconds_to_midnight())
            await self.start()

    def days_kept(self) -> list[date]:
        """The past days whose index is in memory."""
        return [day for day, _ in self._days]

    def evict_days(self) -> int:
        """Forget the indexes of past days; how many there were."""
        count = len(self._days)
        self._days.clear()
        return count

    async def _start(self) -> None:
        built = await self._build(self.today())
        self._index, self._known_head = built.index, max(self._known_head, built.position)
        self._changed()

    async def _take(self, page: events.Page, *, after: int) -> None:
        rows_max = max(APPLY_MAX, APPLY_SHARE * len(self.index.view.columns))
        if page.position - after > FACTS_EACH * rows_max:
            await self._start()
            return
        async with self._database.transaction(read_only=True) as tx:
            subjects, naming = await _told(tx, page, after=after)
            ids = await feed.ids_of(tx, subjects) if subjects else {}
            few = len(ids) <= APPLY_MAX
            rows = await feed.read_some(tx, self.index.view.as_of, named=ids) if ids and few else []
            renamed = await names.read_aliases(tx) if naming else None
        if len(ids) > rows_max:
            await self._start()
            return
        if few:
            await asyncio.to_thread(self.index.apply, rows, ids, position=page.position, aliases=renamed)
        else:
            await aside(lambda: self._stream(ids, position=page.position, aliases=renamed))
        self._changed()

    def _stream(self, ids: Mapping[int, str], *, position: int, aliases: Iterable[Alias] | None) -> None:
        with self._snapshot() as connection:
            rows = self._until_stopped(feed.read_many(connection, self.index.view.as_of, named=ids))
            self.index.apply(rows, ids, position=position, aliases=aliases)

    def _nothing_more(self) -> None:
        self._caught_up_at = time.monotonic()

    def _changed(self) -> None:
        """What follows from another view."""
        self._caught_up_at = time.monotonic()
        view = self.index.view
        self._digests[view.position] = (view.as_of, view.digest)
        while len(self._digests) > DIGESTS_MAX:
            self._digests.popitem(last=False)
        POSITION.set(view.position)
        ROWS.set(int(view.present.sum()))
        self._on_change()

    def _digest(self, day: date) -> tuple[int, int]:
        with self._snapshot() as connection:
            return events.head_position_seen(connection), digest_of(self._until_stopped(truth.read(connection, day)))

    async def _build(self, day: date, known_at: datetime | None = None) -> _Day:
        since = time.perf_counter()
        built = await aside(lambda: self._read(day, known_at))
        LOG.info(
            "index.built", day=day.isoformat(), position=built.position, rows=len(built.index.view.columns),
            seconds=round(time.perf_counter() - since, 3),
        )  # fmt: skip
        return built

    def _read(self, day: date, known_at: datetime | None) -> _Day:
        with self._snapshot() as connection:
            position = events.head_position_seen(connection)
            aliases = names.read_all_aliases(connection)
            rows = self._until_stopped(feed.read_all(connection, day, known_at=known_at))
            index = Index.build(rows, day, position=position, aliases=aliases)
        return _Day(index=index, position=position)

    def _until_stopped(self, rows: Generator[IndexRow]) -> Iterator[IndexRow]:
        with closing(rows):  # else it goes on holding the connection that is to be given back
            for row in rows:
                if self._stopping:
                    raise NotSearchable(STOPPING)
                yield row

    @contextmanager
    def _snapshot(self) -> "Iterator[psycopg.Connection[TupleRow]]":
        """One snapshot for the position and the rows: what is committed after it will be followed."""
        with self._database.blocking_session("index") as connection, connection.transaction():
            connection.execute("set transaction isolation level repeatable read read only")
            yield connection

    def _seconds_to_midnight(self) -> float:
        now = self._clock().astimezone(MARKET_ZONE)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds() + 1


async def _told(tx: Transaction, page: events.Page, *, after: int) -> tuple[set[str], bool]:
    """Which instruments the facts up to a page's end tell of, and whether they may bring other names."""
    if len(page.events) < page.position - after:  # a bulk run, passed over
        types, subjects = await events.told(tx, after=after, until=page.position)
    else:
        types = [event.type for event in page.events]
        subjects = [event.subject for event in page.events if event.type.startswith(INSTRUMENT) and event.subject]
    return set(subjects), any(kind.startswith(NAMING) for kind in types)
