"""Kite's own package reads our instruments as it reads Kite's, from a real server."""

import asyncio
import csv
import io
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import kiteconnect
import pytest
import pytest_asyncio
import uvicorn
from kiteconnect.exceptions import InputException, TokenException

import dumps
from desk import TEA, Desk, opened
from frame import NOON
from instrument_registry.access import service
from instrument_registry.access.model import Scope
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.events import Metadata
from instrument_registry.http.app import create_app
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry

WITHIN_SECONDS = 20.0


@asynccontextmanager
async def served(desk: Desk) -> AsyncIterator[tuple[str, str]]:
    """A server on a port of its own, and a reader's key."""
    catalogue = LiveCatalogue(desk.database, desk.clock)
    settings = Settings(data_dir=desk.folder, demo=False)
    app = create_app(
        Registry(
            settings=settings,
            database=desk.database,
            clock=desk.clock,
            catalogue=catalogue,
            configuration=LiveConfiguration(desk.database, Sources()),
        )
    )
    metadata = Metadata(actor="tests", correlation_id="c-1")
    async with desk.database.transaction() as tx:
        _, key = await service.create_key(tx, name="kite", scope=Scope.READER, metadata=metadata, at=desk.now)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(WITHIN_SECONDS):
            while not server.started:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", key
        server.should_exit = True
        await running


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


async def instruments(url: str, api_key: str, access_token: str, exchange: str | None = None) -> list[dict]:
    """What the unmodified package reads."""
    kite = kiteconnect.KiteConnect(api_key=api_key, access_token=access_token, root=url)
    return await asyncio.to_thread(kite.instruments, exchange)


def parsed(text: str) -> list[dict]:
    """A dump as the package parses it."""
    return kiteconnect.KiteConnect("key")._parse_instruments(text.encode())


def by_token(rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: row["instrument_token"])


class TestKiteConnect:
    async def test_it_reads_every_row_as_the_dump_had_it(self, desk: Desk) -> None:
        async with served(desk) as (url, key):
            read = await instruments(url, "anything", key)

        assert by_token(read) == by_token(parsed(TEA))

    async def test_the_key_may_stand_on_either_side(self, desk: Desk) -> None:
        async with served(desk) as (url, key):
            assert await instruments(url, key, "anything") == await instruments(url, "anything", key)

    async def test_it_reads_one_exchange(self, desk: Desk) -> None:
        async with served(desk) as (url, key):
            read = await instruments(url, "anything", key, "NFO")

        assert by_token(read) == by_token([row for row in parsed(TEA) if row["exchange"] == "NFO"])

    async def test_contracts_that_expired_since_are_not_listed(self, desk: Desk) -> None:
        desk.now = NOON + timedelta(days=8)
        async with served(desk) as (url, key):
            read = await instruments(url, "anything", key, "NFO")

        assert {row["tradingsymbol"] for row in read} == {"NIFTY2690124500CE", "NIFTY2690124500PE", "NIFTY2690124550CE"}

    async def test_its_own_exceptions_say_what_was_refused(self, desk: Desk) -> None:
        async with served(desk) as (url, key):
            with pytest.raises(TokenException, match="form of an API key"):
                await instruments(url, "irk_wrong", "wrong")
            with pytest.raises(InputException, match="XYZ is not an exchange"):
                await instruments(url, "anything", key, "XYZ")


class TestDump:
    async def test_columns_and_numbers_are_written_as_kite_writes_them(self, desk: Desk) -> None:
        async with served(desk) as (url, key), httpx.AsyncClient(base_url=url) as http:
            headers = {"Authorization": f"token k:{key}"}
            plain = await http.get("/instruments", headers=headers | {"Accept-Encoding": "identity"})
            packed = await http.get("/instruments", headers=headers | {"Accept-Encoding": "gzip"})
            none = await http.get("/instruments")

        lines = plain.text.splitlines()
        assert lines[0] == TEA.splitlines()[0]
        assert "256265,1001,NIFTY 50,NIFTY 50,0.0,,0.0,0.0,0,EQ,INDICES,NSE" in lines
        assert '23040513,90002,R&D,"R&D, LABORATORIES",0.0,,0.0,0.05,1,EQ,NSE,NSE' in lines
        assert "23552258,92001,NIFTY2690124500CE,NIFTY,0.0,2026-09-01,24500.0,0.05,65,CE,NFO-OPT,NFO" in lines
        assert (packed.headers["content-encoding"], packed.text) == ("gzip", plain.text)
        assert (none.status_code, none.json()["error_type"]) == (401, "TokenException")

    @pytest.mark.parametrize(
        "path",
        [
            "zerodha/kite_2026-08-05_NSE.csv.gz",
            "zerodha/kite_2026-05-08_BFO.csv.gz",
            "zerodha/kite_2026-08-17_NFO.csv.gz",
        ],
    )
    async def test_a_real_dump_comes_back_row_by_row(self, database: Database, tmp_path: Path, path: str) -> None:
        text = dumps.dump(path).content.decode()
        listed = [
            row for row in csv.DictReader(io.StringIO(text)) if not row["expiry"] or row["expiry"] >= "2026-08-18"
        ]
        assert len(listed) > 1_000 or "BFO" in path

        async with opened(database, tmp_path, text) as desk, served(desk) as (url, key):
            read = await instruments(url, "anything", key)

        kept = {int(row["instrument_token"]) for row in listed}
        told = [row | {"name": row["name"].strip()} for row in parsed(text) if row["instrument_token"] in kept]
        assert by_token(read) == by_token(told)  # blanks around names are the only thing that is lost
