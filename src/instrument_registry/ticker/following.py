"""Follows one account: takes its lease, carries out its steps in their order, acknowledges, and says how it goes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import structlog

from instrument_registry.consumer.protocol import Backoff
from instrument_registry.errors import Conflict, Gone, Invalid, RegistryError, Unavailable
from instrument_registry.ticker.door import BROKEN, Door
from instrument_registry.ticker.protocol import Ended, Line, Resync, Start
from instrument_registry.ticker.sockets import PROGRAMS, Socket

REPORT_SECONDS = 1.0
RENEW_SECONDS = 3.0
TICKS_EVERY_SECONDS = 5.0
TICKS_MAX = 10_000
AFTER_SECONDS, AFTER_ASKED_SECONDS = 5.0, 0.2  # how long a move between accounts waits for the other one
IDLE_SECONDS = 5.0  # a connection that carries nothing is closed after so long
AT_ONCE_MAX = 200
SNAPSHOT = "snapshot"
INDEX = ";IDX"  # how the key of an index ends, which underlyings are called without
UNDERLYINGS_EVERY_SECONDS = 30.0

log = structlog.get_logger("ticker")


class Follower:
    """One account's ticker."""

    def __init__(self, door: Door, *, account: str, broker: str, holder: str, start: Start) -> None:
        if broker not in PROGRAMS:
            raise Invalid(f"There is no ticker for {broker[:60]!r}; there are {', '.join(PROGRAMS)}", field="broker")
        self._door, self._account, self._broker, self._holder, self._start = door, account, broker, holder, start
        self.sockets: dict[str, Socket] = {}
        self.position: int | None = None
        self._epoch = 0
        self._closed: set[str] = set()  # to be told
        self._idle_since: dict[str, float] = {}
        self._held: dict[str, str] = {}  # last ticks by instrument, not told yet
        self._ticks_due = self._underlyings_due = 0.0
        self._underlyings: set[str] = set()

    async def run(self) -> None:
        """Follow until cancelled; Raises: Conflict when another ticker follows the account, what was refused."""
        self._epoch = (await self._door.lease(self._holder)).epoch
        log.info("ticker.follows", account=self._account, epoch=self._epoch)
        try:
            for name in await self._door.lost():
                await self._socket(name).begin()
            async with asyncio.TaskGroup() as group:
                for work in (self._follow(), self._report(), self._renew()):
                    group.create_task(work)
        except* RegistryError as refused:
            raise _first(refused) from refused
        finally:
            await self._leave()

    async def _follow(self) -> None:
        backoff = Backoff()
        while True:
            start = SNAPSHOT if self.position is None else str(self.position)
            try:
                async with contextlib.aclosing(self._batches(start)) as batches:
                    async for batch in batches:
                        await self._carry_out(batch)
                        backoff.succeeded()
            except (Gone, Resync) as error:
                log.warning("ticker.begins_with_a_snapshot", account=self._account, reason=str(error))
                self.position = None
            except (Unavailable, *BROKEN) as error:
                log.warning("ticker.comes_again", account=self._account, reason=str(error) or type(error).__name__)
            await asyncio.sleep(backoff.next_seconds())

    async def _batches(self, start: str) -> AsyncGenerator[list[Line], None]:
        """Lines as they come; those that came while others were carried out come together."""
        lines: asyncio.Queue[Line | None] = asyncio.Queue(AT_ONCE_MAX)

        async def read() -> None:
            try:
                async for line in self._door.lines(start):
                    await lines.put(line)
            finally:
                await lines.put(None)

        reading = asyncio.create_task(read())
        try:
            while (line := await lines.get()) is not None:
                batch = [line]
                while not lines.empty() and (more := lines.get_nowait()) is not None:
                    batch.append(more)
                yield batch
                if reading.done() and lines.empty():
                    break
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _carry_out(self, batch: list[Line]) -> None:
        carries: dict[str, str] = {}
        for line in batch:
            if line.kind == "end":
                raise Gone(line.reason or "the stream has ended")
            if line.kind == "heartbeat" or line.position is None:
                continue
            if line.after is not None:
                await self._wait_for(line.after.account, line.after.position)
            socket = self._socket(line.connection)
            digest = await socket.take(line)
            if digest or socket.runs or line.kind != SNAPSHOT:
                carries[line.connection] = digest
            self.position = line.position
        if carries and self.position is not None:
            said = await self._door.acknowledge(epoch=self._epoch, position=self.position, carries=carries)
            if said.resync:
                raise Resync(f"{', '.join(said.resync)} carry something else than they should")

    async def _wait_for(self, account: str, position: int) -> None:
        """Break only when it is made elsewhere; after a while break all the same, and say so."""
        try:
            async with asyncio.timeout(AFTER_SECONDS):
                while await self._door.position_of(account) < position:
                    await asyncio.sleep(AFTER_ASKED_SECONDS)
        except TimeoutError:
            log.warning("ticker.breaks_before_made", account=self._account, other=account, position=position)

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._tend(began)
                await self._tell(began)
            except Conflict as error:
                raise Ended(str(error)) from error
            except (Unavailable, TimeoutError) as error:
                log.warning("ticker.not_heard", account=self._account, reason=str(error) or "nothing came")
            except Invalid as error:  # the account has fewer connections by now: its steps will say so
                log.warning("ticker.refused", account=self._account, reason=str(error))
            await asyncio.sleep(max(0.0, began + REPORT_SECONDS - loop.time()))

    async def _tend(self, now: float) -> None:
        """Start processes anew that died, and close connections that have carried nothing for a while."""
        for name, socket in self.sockets.items():
            if socket.table and not socket.runs:
                await socket.begin_again()
            if socket.table or not socket.alive(now):
                self._idle_since.pop(name, None)
            elif now - self._idle_since.setdefault(name, now) >= IDLE_SECONDS:
                await socket.end()
                self._closed.add(name)

    async def _tell(self, now: float) -> None:
        states = {name: {"state": "connected"} for name, one in self.sockets.items() if one.alive(now)}
        closed = self._closed - states.keys()
        states |= {name: {"state": "closed"} for name in closed}
        if now >= self._underlyings_due:
            self._underlyings = await self._door.underlyings()
            self._underlyings_due = now + UNDERLYINGS_EVERY_SECONDS
        prices = self._collect()
        ticks: dict[str, str] = {}
        if now >= self._ticks_due:
            ticks = dict(list(self._held.items())[:TICKS_MAX])
        await self._door.report(epoch=self._epoch, connections=states, ticks=ticks)
        self._closed -= closed
        if ticks:
            self._ticks_due = now + TICKS_EVERY_SECONDS
            for name in ticks:
                self._held.pop(name, None)
        if prices:
            try:
                await self._door.prices(prices)
            except RegistryError as error:
                log.warning("ticker.prices_refused", account=self._account, reason=str(error))

    def _collect(self) -> list[dict[str, str]]:
        """Keep what has ticked until it is told; the prices that ladders wait for among it."""
        prices = []
        for socket in self.sockets.values():
            items = {token: item for (_, token), item in socket.table.items()}
            for token, (at, price) in socket.take_ticks().items():
                item = items.get(token)
                if item is None or not item.instrument_id:
                    continue
                when = datetime.fromtimestamp(at, UTC).isoformat()
                self._held[item.instrument_id] = when
                name = item.key.removesuffix(INDEX)
                if name in self._underlyings:
                    prices.append({"underlying": name, "price": str(price), "at": when})
        return prices

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(Unavailable):
                epoch = (await self._door.lease(self._holder)).epoch
                if epoch != self._epoch:  # somebody else had it meanwhile, and may have changed what is carried
                    raise Ended(f"{self._account} was followed by somebody else meanwhile")

    async def _leave(self) -> None:
        await asyncio.gather(*(one.end() for one in self.sockets.values()))
        with contextlib.suppress(RegistryError):
            await self._door.leave(self._epoch)

    def _socket(self, name: str) -> Socket:
        if name not in self.sockets:
            self.sockets[name] = Socket(name, self._broker, self._start)
        return self.sockets[name]


def _first(refused: BaseExceptionGroup[RegistryError]) -> RegistryError:
    one: BaseException = refused
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    assert isinstance(one, RegistryError)
    return one
