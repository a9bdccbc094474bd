"""A bounded pool of connections, and transactions that somebody opens at a door."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from instrument_registry.errors import Unavailable

SCHEMA = "instrument_registry"
Transaction = psycopg.AsyncConnection[TupleRow]

LOGIN = """
select current_user, has_schema_privilege(n.oid, 'usage'), pg_has_role(current_user, n.nspowner, 'usage')
  from (select) as here left join pg_namespace n on n.nspname = %(schema)s
"""

REFUSAL = re.compile(r"FATAL:\s+([^\n]+)(?:\s+DETAIL:\s+([^\n]+))?")

ISOLATION = {
    "read committed": psycopg.IsolationLevel.READ_COMMITTED,
    "repeatable read": psycopg.IsolationLevel.REPEATABLE_READ,
    "serializable": psycopg.IsolationLevel.SERIALIZABLE,
}
Isolation = Literal["read committed", "repeatable read", "serializable"]


class DatabaseUnavailable(Unavailable):
    """The database did not answer in time, or refused for a passing reason."""

    title = "The database cannot answer right now"


class LoginRefused(DatabaseUnavailable):
    """Correct what the detail names: the login, its password, the database's name; or have the right granted."""

    title = "The database does not let this login in"


class RightsLacking(Unavailable):
    """An administrator of the database, or the tables' owner, has to let this login do it."""

    title = "The database does not allow this"


class NotMigrated(Unavailable):
    """The tables have to be made before anything works with them."""

    title = "The database has no tables yet"


class Database:
    """One database, seen by one process: short transactions from a pool, long work on sessions of its own."""

    def __init__(
        self,
        url: str,
        *,
        application: str = "instrument-registry",
        role: str | None = None,
        pool_size: int = 8,
        wait_timeout_seconds: float = 5.0,
        statement_timeout_seconds: float = 30.0,
    ) -> None:
        self._conninfo = conninfo(
            url, application=application, role=role, statement_timeout_seconds=statement_timeout_seconds
        )
        self._pool_size = pool_size
        self._wait_timeout_seconds = wait_timeout_seconds
        self._pool: AsyncConnectionPool[Transaction] = AsyncConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=pool_size,
            max_waiting=pool_size * 50,
            timeout=wait_timeout_seconds,
            reconnect_timeout=2.0,
            open=False,
            name=application,
        )

    async def open(self) -> Self:
        """Connect; Raises: DatabaseUnavailable."""
        with _named():
            try:
                await self._pool.open(wait=True, timeout=self._wait_timeout_seconds)
            except BaseException:
                await self._pool.close()
                raise
        return self

    async def close(self) -> None:
        """Give every connection back."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(
        self,
        *,
        read_only: bool = False,
        isolation: Isolation = "read committed",
        statement_timeout_seconds: float | None = None,
    ) -> AsyncIterator[Transaction]:
        """A transaction: committed when the block ends well, undone when it does not.

        Raises: DatabaseUnavailable for whatever may succeed when tried again.
        """
        with _named():
            async with AsyncExitStack() as stack:
                tx = await self._begin(stack, read_only=read_only, isolation=isolation)
                if statement_timeout_seconds is not None:
                    await tx.execute(f"set local statement_timeout = {round(statement_timeout_seconds * 1000)}")
                yield tx

    @asynccontextmanager
    async def session(self, purpose: str) -> AsyncIterator[Transaction]:
        """A connection of its own in autocommit, for listening, session locks and long copies; no statement timeout."""
        with _named():
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            async with connection:
                await connection.execute("set statement_timeout = 0")
                await connection.execute(
                    "select set_config('application_name', current_setting('application_name') || ' ' || %s, false)",
                    (purpose,),
                )
                yield connection

    @contextmanager
    def blocking_session(self, purpose: str) -> Iterator["psycopg.Connection[TupleRow]"]:
        """A connection for a thread that reads so much that it would hold up an event loop; no statement timeout."""
        with _named(), psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute("set statement_timeout = 0")
            connection.execute(
                "select set_config('application_name', %s, false)", (f"instrument-registry {purpose}"[:63],)
            )
            yield connection

    def waiting(self) -> dict[str, int]:
        """How the pool is doing, in the pool's own words."""
        return dict(self._pool.get_stats())

    async def _begin(self, stack: AsyncExitStack, *, read_only: bool, isolation: Isolation) -> Transaction:
        # A restarted server leaves dead connections in the pool. BEGIN is the first thing to notice, and as nothing
        # has been done yet it is safe to take the next one.
        for last in [False] * self._pool_size + [True]:
            connection = await self._pool.getconn()
            try:
                if connection.isolation_level is not ISOLATION[isolation]:
                    await connection.set_isolation_level(ISOLATION[isolation])
                if connection.read_only is not read_only:
                    await connection.set_read_only(read_only)
                block = connection.transaction()
                await block.__aenter__()
            except psycopg.OperationalError:
                await self._pool.putconn(connection)
                if last:
                    raise
                continue
            except BaseException:
                await self._pool.putconn(connection)
                raise
            stack.push_async_callback(self._pool.putconn, connection)
            stack.push_async_exit(block.__aexit__)
            return connection
        raise AssertionError("the loop returns or raises")


def conninfo(
    url: str,
    *,
    application: str = "instrument-registry",
    role: str | None = None,
    statement_timeout_seconds: float = 30.0,
) -> str:
    """Connection settings that bound every wait and find our tables without naming the schema."""
    options = [
        f"-c search_path={SCHEMA},public",
        f"-c statement_timeout={round(statement_timeout_seconds * 1000)}",
        "-c idle_in_transaction_session_timeout=300000",
        "-c lock_timeout=10000",
        "-c timezone=UTC",
        "-c jit=off",
    ]
    if role:
        options.append(f"-c role={role}")
    settings: dict[str, Any] = {
        "options": " ".join(options),
        "application_name": application,
        "connect_timeout": 5,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    try:
        return make_conninfo(url, **settings)
    except psycopg.ProgrammingError as error:
        raise Unavailable("The database URL cannot be understood") from error


def login_of(url: str) -> str | None:
    """The role a URL logs in as, where it names one."""
    try:
        user = conninfo_to_dict(url).get("user")
    except psycopg.ProgrammingError as error:
        raise Unavailable("The database URL cannot be understood") from error
    return None if user is None else str(user)


async def role_to_work_under(url: str) -> str | None:
    """The service's role if this login owns the tables and so could do too much, else None.

    Raises: NotMigrated, RightsLacking for a login that was not admitted, DatabaseUnavailable.
    """
    with _named():
        async with await psycopg.AsyncConnection.connect(conninfo(url), autocommit=True) as connection:
            cursor = await connection.execute(LOGIN, {"schema": SCHEMA})
            login, admitted, owner = await cursor.fetchone() or ("", None, False)
            remedy = f"let the tables' owner run: instrument-registry migrate --service-role {login}"
            if admitted is None:
                raise NotMigrated(f"Nothing has been made for the registry; {remedy}")
            if not admitted:
                raise RightsLacking(f"{login} has not been admitted to the tables; {remedy}", login=login)
            if not owner:
                return None
            cursor = await connection.execute("select to_regproc(%s) is not null", (f"{SCHEMA}.service_role",))
            if await cursor.fetchone() != (True,):
                raise NotMigrated(f"The tables are not finished; {remedy}")
            cursor = await connection.execute(f"select {SCHEMA}.service_role()".encode())
            row = await cursor.fetchone()
            return None if row is None else str(row[0])


def no_answer(error: psycopg.OperationalError) -> DatabaseUnavailable:
    """Why there is no connection; the server's own words, which hold no password, where it refused one."""
    if refusal := REFUSAL.search(str(error)):
        said = ". ".join(filter(None, refusal.groups()))
        return LoginRefused(f"The database refuses the connection: {said}")
    return DatabaseUnavailable("The database does not answer")


@contextmanager
def _named() -> Iterator[None]:
    """Turn what the driver calls operational into our word for it; everything else is a bug and passes."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("No database connection became free in time") from error
    except TooManyRequests as error:
        raise DatabaseUnavailable("Too many requests wait for the database") from error
    except psycopg.errors.QueryCanceled as error:
        raise DatabaseUnavailable("The database took too long and was stopped") from error
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseUnavailable("Another change holds what this one needs") from error
    except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected) as error:
        raise DatabaseUnavailable("Two changes met; try again") from error
    except psycopg.OperationalError as error:
        raise no_answer(error) from error
