"""A catalogue of a few instruments behind the whole HTTP door, following the facts as a worker does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
from fastapi import FastAPI
from psycopg.conninfo import conninfo_to_dict

from catalogues import Load, shared, take
from frame import NOON
from instrument_registry.access import service
from instrument_registry.access.model import Scope
from instrument_registry.breakers import Breakers
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.events import Metadata, sequencer
from instrument_registry.http.app import create_app
from instrument_registry.http.routes import PREFIX
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry
from keeper import Template

HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    "instrument_type,segment,exchange"
)
TEA = f"""{HEADER}
256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE
23040257,90001,TEALEAF,TEA LEAF ESTATES,0,,0,0.1,1,EQ,NSE,NSE
23040513,90002,R&D,"R&D, LABORATORIES",0,,0,0.05,1,EQ,NSE,NSE
128083204,500325,TEALEAF,TEA LEAF ESTATES,0,,0,0.05,1,EQ,BSE,BSE
23552002,92000,NIFTY26AUGFUT,NIFTY,0,2026-08-25,0,0.1,65,FUT,NFO-FUT,NFO
23552258,92001,NIFTY2690124500CE,NIFTY,0,2026-09-01,24500,0.05,65,CE,NFO-OPT,NFO
23552514,92002,NIFTY2690124500PE,NIFTY,0,2026-09-01,24500,0.05,65,PE,NFO-OPT,NFO
23552770,92003,NIFTY2690124550CE,NIFTY,0,2026-09-01,24550,0.05,65,CE,NFO-OPT,NFO
"""
WITHIN_SECONDS = 20.0


@dataclass
class Desk:
    """One database, as many workers as are opened on it, and the hand of the clock."""

    database: Database
    folder: Path
    now: datetime = NOON
    sources: Sources = field(default_factory=Sources)

    def clock(self) -> datetime:
        return self.now

    @asynccontextmanager
    async def caller(self, scope: Scope = Scope.OPERATOR) -> AsyncIterator["Caller"]:
        """Somebody with a key, at a worker of their own."""
        catalogue = LiveCatalogue(self.database, self.clock)
        await catalogue.start()
        settings = Settings(data_dir=self.folder, demo=False)
        registry = Registry(
            settings=settings,
            database=self.database,
            clock=self.clock,
            catalogue=catalogue,
            configuration=LiveConfiguration(self.database, self.sources),
            breakers=Breakers(self.folder),
        )
        async with self.database.transaction() as tx:
            key, text = await service.create_key(tx, name="desk", scope=scope, metadata=ARRANGED, at=self.now)
        following = asyncio.create_task(catalogue.follow())
        app = create_app(registry)
        headers = {"X-Internal-API-Key": text}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://registry" + PREFIX, headers=headers) as http:
            yield Caller(http=http, catalogue=catalogue, actor=f"api_key:{key.id}", app=app)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await app.state.key_ring.close()
        await registry.solver.close()


@dataclass(frozen=True)
class Caller:
    """Asks one worker."""

    http: httpx.AsyncClient
    catalogue: LiveCatalogue
    actor: str
    app: FastAPI | None = None

    async def told(self, path: str, *, status: int = 200, **parameters: object) -> dict:
        """The JSON of an answer."""
        answer = await self.http.get(path, params=parameters)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def instrument(self, key: str, **parameters: object) -> dict:
        """An instrument as it is shown now."""
        return await self.told(f"/instruments/{key}", **parameters)

    async def caught_up(self, others: tuple["Caller", ...] = ()) -> None:
        """Wait until workers know every fact there is."""
        async with asyncio.timeout(WITHIN_SECONDS):
            for one in (self, *others):
                while await _unsequenced(self.catalogue) or await _head(one.catalogue) > one.catalogue.position:
                    await asyncio.sleep(0.01)


def tea_market(template: Template) -> str:
    """The name of a database with the tea market in it, made once a run, for others to be copied from."""

    async def build(service_url: str) -> None:
        database = await Database(service_url, application="test").open()
        await _load(database, TEA, clock=lambda: NOON)
        async with database.session("test") as session:
            await sequencer.catch_up(session)
        await database.close()

    made = shared(template, "tea", lambda service_url: asyncio.run(build(service_url)))
    return str(conninfo_to_dict(made.owner_url)["dbname"])


async def _load(database: Database, text: str, *, clock: Callable[[], datetime]) -> None:
    dump = Dump(name="kite_NSE.csv", content=text.encode())
    await take(database, Load(broker="zerodha", day=NOON.date(), dumps=(dump,)), clock=clock)


async def _empty(database: Database) -> bool:
    async with database.transaction(read_only=True) as tx:
        return await (await tx.execute("select 1 from instruments limit 1")).fetchone() is None


@asynccontextmanager
async def opened(database: Database, folder: Path, *texts: str) -> AsyncIterator[Desk]:
    """A desk with the tea market in it, and a sequencer at work."""
    desk = Desk(database, folder)
    async with AsyncExitStack() as stack:
        work = asyncio.create_task(sequencer.run(database))
        stack.push_async_callback(_end, work)
        if texts or await _empty(database):  # else it came with the tea market: see the mark `tea`
            for text in texts or (TEA,):
                await _load(database, text, clock=desk.clock)
        yield desk


ARRANGED = Metadata(actor="tests", correlation_id="c-1")


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _unsequenced(catalogue: LiveCatalogue) -> bool:
    async with catalogue._database.transaction(read_only=True) as tx:
        return await (await tx.execute("select 1 from pending limit 1")).fetchone() is not None


async def _head(catalogue: LiveCatalogue) -> int:
    from instrument_registry import events

    async with catalogue._database.transaction(read_only=True) as tx:
        return await events.head_position(tx)
