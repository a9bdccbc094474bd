"""A bounded pool of connections, and transactions that somebody opens at a door."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from instrument_registry.breakers import Breaker, Breakers, Call, DependencyResting
from instrument_registry.breakers.terms import DATABASE
from instrument_registry.database.silence import ANSWER_SECONDS, Answering, InUse
from instrument_registry.errors import Unavailable
from instrument_registry.telemetry import tracing

SCHEMA = "instrument_registry"
PROBE_SECONDS = 1.0
Transaction = psycopg.AsyncConnection[TupleRow]
Begun = tuple[Transaction, AbstractAsyncContextManager[psycopg.AsyncTransaction]]

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


class DatabaseResting(DatabaseUnavailable, DependencyResting):
    """The database did not answer, and is not asked for a moment: try again after `retry_after`."""

    title = "The database did not answer and is left alone for a moment"


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
        wait_timeout_seconds: float = 2.5,
        statement_timeout_seconds: float = 30.0,
        answer_seconds: float = ANSWER_SECONDS,
        breaker: Breaker | None = None,
    ) -> None:
        self._conninfo = conninfo(
            url, application=application, role=role, statement_timeout_seconds=statement_timeout_seconds
        )
        self.breaker = breaker or Breakers().of(DATABASE, resting=DatabaseResting)
        self._in_use = InUse(self._conninfo, when_silent=self._when_silent)
        self._answer_seconds = answer_seconds
        self._pool_size = pool_size
        self._wait_timeout_seconds = wait_timeout_seconds
        self._pool: AsyncConnectionPool[Transaction] = AsyncConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=pool_size,
            max_waiting=pool_size * 50,
            timeout=wait_timeout_seconds,
            reconnect_timeout=1.0,  # then whoever comes next tries: soon after the server is back
            open=False,
            name=application,
        )

    async def open(self) -> Self:
        """Connect; Raises: DatabaseUnavailable."""
        with _named():
            try:
                await self._pool.open(wait=True, timeout=2 * self._wait_timeout_seconds)
            except BaseException:
                await self._pool.close()
                raise
        return self

    async def close(self) -> None:
        """Give every connection back."""
        await self._in_use.close()
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
        with _named(), _cancelled_first(), tracing.step("database transaction"):
            async with AsyncExitStack() as stack:
                tx, block = await self._begin(read_only=read_only, isolation=isolation)
                stack.push_async_callback(self._pool.putconn, tx)
                stack.enter_context(self._in_use.noted(tx))
                stack.enter_context(self._blamed(tx, asked_for_a_bound=statement_timeout_seconds is not None))
                stack.push_async_exit(block.__aexit__)
                if statement_timeout_seconds is not None:
                    await tx.execute(f"set local statement_timeout = {round(statement_timeout_seconds * 1000)}")
                yield tx

    @asynccontextmanager
    async def session(self, purpose: str) -> AsyncIterator[Transaction]:
        """A connection of its own in autocommit, for listening, session locks and long copies; no statement timeout."""
        with _named():
            with self.breaker.calling(psycopg.OperationalError):
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
        with _named():
            with self.breaker.calling(psycopg.OperationalError):
                connection = psycopg.connect(self._conninfo, autocommit=True)
            with connection:
                connection.execute("set statement_timeout = 0")
                connection.execute(
                    "select set_config('application_name', %s, false)", (f"instrument-registry {purpose}"[:63],)
                )
                yield connection

    def waiting(self) -> dict[str, int]:
        """How the pool is doing, in the pool's own words."""
        return dict(self._pool.get_stats())

    async def _begin(self, *, read_only: bool, isolation: Isolation) -> Begun:
        try:
            call = self.breaker.enter()
        except DependencyResting:
            self._in_use.suspect_if_any()  # another process may have found out, and ours still wait
            raise
        try:
            return await self._begun(call, read_only=read_only, isolation=isolation)
        except (TooManyRequests, PoolClosed):  # our own doing
            self.breaker.forget(call)
            raise
        except psycopg.OperationalError as error:
            if isinstance(error, PoolTimeout) and call.probe is None:
                self.breaker.forget(call)  # who holds them all may be we: the second opinion tells
            else:
                self.breaker.leave(call, failed=True, reason=str(named(error)))
            self._in_use.suspect()
            raise
        except BaseException:
            self.breaker.forget(call)
            raise

    async def _begun(self, call: Call, *, read_only: bool, isolation: Isolation) -> Begun:
        # A restarted server leaves dead connections in the pool. BEGIN is the first thing to notice, and as nothing
        # has been done yet it is safe to take the next one.
        for last in [False] * self._pool_size + [True]:
            connection = await self._connection(self._wait_seconds(call))
            answering = Answering(connection, seconds=self._answer_seconds)
            try:
                if connection.isolation_level is not ISOLATION[isolation]:
                    await connection.set_isolation_level(ISOLATION[isolation])
                if connection.read_only is not read_only:
                    await connection.set_read_only(read_only)
                block = connection.transaction()
                await block.__aenter__()
            except psycopg.OperationalError as error:
                await self._pool.putconn(connection)
                if last or answering.silent or _follows_cancelling(error):
                    raise
                self._in_use.suspect()
                continue
            except BaseException:
                await self._pool.putconn(connection)
                raise
            finally:
                answering.answered()
            self.breaker.leave(call, failed=answering.slow, reason="beginning a transaction takes long")
            return connection, block
        raise AssertionError("the loop returns or raises")

    async def _connection(self, timeout_seconds: float) -> Transaction:
        """A connection of the pool. Python 3.11 may lose a cancellation while the pool waits: then it is made good."""
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        connection = await self._pool.getconn(timeout=timeout_seconds)
        if task is not None and task.cancelling() > before:
            await self._pool.putconn(connection)
            raise asyncio.CancelledError
        return connection

    def _wait_seconds(self, call: Call) -> float:
        """How long to wait for a connection; many may wait for the outcome of a probe."""
        return min(self._wait_timeout_seconds, PROBE_SECONDS) if call.probe is not None else self._wait_timeout_seconds

    def _when_silent(self, reason: str) -> None:
        if self.breaker.closed:
            self.breaker.open(reason)

    @contextmanager
    def _blamed(self, tx: Transaction, *, asked_for_a_bound: bool) -> Iterator[None]:
        """What happens after BEGIN and is the server's fault: a lost connection, and a statement that took so long
        that the bound of all statements ended it. One that its caller bounded tells of the question alone."""
        try:
            yield
        except psycopg.errors.QueryCanceled:
            if not asked_for_a_bound:
                self.breaker.blame("statements take too long")
            raise
        except psycopg.OperationalError as error:
            if tx.closed:
                self.breaker.blame(str(named(error)))
            raise


@contextmanager
def _cancelled_first() -> Iterator[None]:
    """Whoever is cancelled stays so. The driver asks the server to stop, too; when that request comes late it stops the
    rollback instead, and whoever waits for the database to come back would take that for an outage and go on."""
    try:
        yield
    except psycopg.Error as error:
        if _follows_cancelling(error):
            raise asyncio.CancelledError from error
        raise


def _follows_cancelling(error: BaseException | None) -> bool:
    """Whether an error came up while its task was being cancelled; one that was late before and goes on is not."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False
    while error is not None and not isinstance(error, asyncio.CancelledError):
        error = error.__context__
    return error is not None


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


def named(error: psycopg.OperationalError) -> DatabaseUnavailable:
    """Our word for what the driver calls operational; it holds no password."""
    match error:
        case PoolTimeout():
            return DatabaseUnavailable("No database connection became free in time")
        case TooManyRequests():
            return DatabaseUnavailable("Too many requests wait for the database")
        case psycopg.errors.QueryCanceled():
            return DatabaseUnavailable("The database took too long and was stopped")
        case psycopg.errors.LockNotAvailable():
            return DatabaseUnavailable("Another change holds what this one needs")
        case psycopg.errors.SerializationFailure() | psycopg.errors.DeadlockDetected():
            return DatabaseUnavailable("Two changes met; try again")
    return no_answer(error)


@contextmanager
def _named() -> Iterator[None]:
    """Turn what the driver calls operational into our word for it; everything else is a bug and passes."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise named(error) from error
