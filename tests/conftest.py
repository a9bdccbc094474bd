"""Real databases for tests: one embedded server a run, a template migrated once, a clone for whoever asks.

Fixtures for tests:
  database       an open `Database` on a fresh, migrated clone, seen as the service sees it (async tests)
  database_urls  the same clone's `owner` and `service` URLs, for programs and for arranging what the service may not
  transaction    an open transaction on `database`, undone at the end
Where a server answers at 127.0.0.1:5432 tests below `storage/` run on both, those below `api/` on one or the
other, as their names have it: a copy there costs ten times as much.
"""

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo

from instrument_registry.database import Database, Transaction
from keeper import Template, outside_answers

KEEPER_ENDS_WITHIN_SECONDS = 20
KEEPERS: list["subprocess.Popen[bytes]"] = []  # waited for at the end


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """One clone, as the owner of the tables and as the service."""

    owner: str
    service: str


# As the service does: a traceback drawn with every local variable takes a second.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which servers a test runs on."""
    if "server_name" in metafunc.fixturenames:
        folder = Path(metafunc.definition.path).relative_to(Path(__file__).parent).parts[0]
        servers = ["embedded", "outside"] if folder in ("storage", "api") and outside_answers() else ["embedded"]
        if folder == "api":  # what storage does on both is asked through the door of one: of four tests one outside
            servers = servers[:1] if zlib.crc32(metafunc.definition.nodeid.encode()) % 4 else servers[-1:]
        metafunc.parametrize("server_name", servers, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the catalogue of all dumps first: one process builds it while the others have all the rest to do."""
    items.sort(key=lambda item: "everything" not in getattr(item, "fixturenames", ()))


def pytest_unconfigure() -> None:
    """The main process sends the keeper home; if it dies first, the keeper notices."""
    folder = _keeper_folder()
    if "PYTEST_XDIST_WORKER" not in os.environ and folder.exists():
        (folder / "done").touch()
        deadline = time.monotonic() + KEEPER_ENDS_WITHIN_SECONDS
        while folder.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    for keeper in KEEPERS:  # one that a worker started ends after the worker
        keeper.returncode = keeper.poll() or 0


@pytest.fixture(scope="session")
def templates() -> dict[str, Template]:
    """The migrated templates of this run by server, made by a keeper process that whoever comes first starts."""
    folder = _keeper_folder()
    folder.mkdir(mode=0o711, exist_ok=True)
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "templates.json"
        if not made.exists():
            _start_keeper(folder, made)
    return {name: Template(**values) for name, values in json.loads(made.read_text(encoding="utf-8")).items()}


@pytest.fixture
def database_urls(
    request: pytest.FixtureRequest, server_name: str, templates: dict[str, Template]
) -> Iterator[DatabaseUrls]:
    """A fresh, migrated database of one's own; with the tea market where the test is marked so."""
    template = templates[server_name]
    original = template.name
    if request.node.get_closest_marker("tea") is not None:
        from desk import tea_market

        original = tea_market(template)
    name = f"{template.name}_{secrets.token_hex(4)}"
    with psycopg.connect(template.admin_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {} strategy wal_log").format(
                sql.Identifier(name), sql.Identifier(original)
            )
        )
        admin.execute(
            sql.SQL("grant temporary on database {} to {}").format(
                sql.Identifier(name), sql.Identifier(template.rights)
            )
        )
    yield DatabaseUrls(
        owner=make_conninfo(template.admin_url, dbname=name),
        service=make_conninfo(
            template.admin_url, dbname=name, user=template.service, password=template.service_password
        ),
    )
    with psycopg.connect(template.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest_asyncio.fixture
async def database(database_urls: DatabaseUrls) -> AsyncIterator[Database]:
    """A fresh, migrated database, seen as the service sees it."""
    opened = await Database(database_urls.service, application="test", pool_size=12).open()
    yield opened
    await opened.close()


class Undo(Exception):
    """Ends a test's transaction."""


@pytest_asyncio.fixture
async def transaction(database: Database) -> AsyncIterator[Transaction]:
    """A transaction that is undone at the end."""
    with contextlib.suppress(Undo):
        async with database.transaction() as tx:
            yield tx
            raise Undo


def _main_pid() -> int:
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def _keeper_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"instrument-registry-tests-{os.getuid()}-{_main_pid()}"


def _start_keeper(folder: Path, made: Path) -> None:
    with open(folder / "keeper.log", "wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("keeper.py")), str(folder), str(_main_pid())],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    KEEPERS.append(keeper)
    while not made.exists():
        if keeper.poll() is not None:
            raise RuntimeError((folder / "keeper.log").read_text(encoding="utf-8"))
        time.sleep(0.02)
