"""Bring a database to the tables this code needs, one half at a time, one process at a time."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from instrument_registry.database.pool import SCHEMA, DatabaseUnavailable, RightsLacking, conninfo, no_answer
from instrument_registry.errors import Conflict, Invalid

Half = Literal["pre", "post", "all"]
LOCK = 0x6972_6D69_6772  # "irmigr": whoever migrates holds it
FILE_NAME = re.compile(r"(?P<number>\d{4})_(?P<half>pre|post)_(?P<name>[a-z0-9_]+)\.py")


class MigrationRefused(Conflict):
    """The database is in a state this code cannot take further by itself."""

    title = "The database cannot be migrated"


@dataclass(frozen=True, slots=True)
class Revision:
    """One migration file: its number is its identity."""

    number: str
    half: Literal["pre", "post"]
    name: str


def folder() -> Path:
    """Where the migrations are: beside the source, or inside the installed package."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "migrations"


def revisions() -> list[Revision]:
    """Every migration this code knows, in order."""
    found = [FILE_NAME.fullmatch(path.name) for path in sorted((folder() / "versions").glob("*.py"))]
    return [Revision(match["number"], match["half"], match["name"]) for match in found if match]  # type: ignore[arg-type]


def pending(current: str | None) -> list[Revision]:
    """What a database at this revision still lacks.

    Raises: MigrationRefused when the database is ahead of this code.
    """
    known = revisions()
    if current is None:
        return known
    if current not in {revision.number for revision in known}:
        raise MigrationRefused(
            f"The database is at revision {current}, which this version does not know; run a newer version",
            revision=current,
        )
    return [revision for revision in known if revision.number > current]


def of_half(todo: list[Revision], half: Half) -> list[Revision]:
    """The revisions that one half may apply now.

    Raises: MigrationRefused when the other half has to go first.
    """
    if half == "all":
        return todo
    first_other = next((at for at, revision in enumerate(todo) if revision.half != half), len(todo))
    behind = [revision.number for revision in todo[first_other:] if revision.half == half]
    if behind:
        other = todo[first_other]
        raise MigrationRefused(
            f"Revision {behind[0]} stands behind {other.half} revision {other.number}, which has not been applied: "
            f"run `migrate --half {other.half}` first, or `--half all` while nothing else runs",
            revision=other.number,
        )
    return todo[:first_other]


def current_revision(url: str) -> str | None:
    """The revision a database is at, or None for an empty one."""
    with _connected(url) as connection:
        return _current(connection)


def migrate(
    url: str, *, half: Half = "all", service_login: str | None = None, until: str | None = None
) -> list[Revision]:
    """Apply what is missing of one half, or of both, and say what was applied.

    `service_login` is a role that shall be allowed to work as the service; `until` is the last number to apply.
    Raises: MigrationRefused, RightsLacking, DatabaseUnavailable.
    """
    with _connected(url) as lock:
        lock.execute("select pg_advisory_lock(%s)", (LOCK,))
        todo = [step for step in of_half(pending(_current(lock)), half) if until is None or step.number <= until]
        role = _prepare(lock)
        if todo:
            _upgrade(url, todo[-1].number, role=role)
        if service_login:
            _admit(lock, role, service_login)
        return todo


def service_role(url: str) -> str | None:
    """The role that holds the service's rights in a database, or None before its first migration."""
    with _connected(url) as connection:
        return _recorded_role(connection)


def _connected(url: str) -> "psycopg.Connection[TupleRow]":
    try:
        return psycopg.connect(
            conninfo(url, application="instrument-registry migrate", statement_timeout_seconds=0), autocommit=True
        )
    except psycopg.OperationalError as error:
        raise no_answer(error) from error


def _current(connection: "psycopg.Connection[TupleRow]") -> str | None:
    if _one(connection, f"select to_regclass('{SCHEMA}.alembic_version')::text") is None:
        return None
    return _one(connection, f"select max(version_num) from {SCHEMA}.alembic_version")


def _prepare(connection: "psycopg.Connection[TupleRow]") -> str:
    """Make the schema and the service's role where they are missing, and name the role."""
    role = _recorded_role(connection)
    if role is not None:
        return role
    database = _one(connection, "select current_database()")
    role = f"{database}_rights"
    if len(role.encode()) > 63:
        raise Invalid(f"The database name {database} is too long: at most 56 bytes")
    known = _one(connection, "select rolname from pg_roles where rolname = %s", role) is not None
    try:
        if not known:
            connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
            connection.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(role)))
        connection.execute(
            sql.SQL("set role {}").format(sql.Identifier(role))
        )  # who owns the tables works as the service
        connection.execute("reset role")
        if _one(connection, "select to_regnamespace(%s)::text", SCHEMA) is None:
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))
    except psycopg.errors.InsufficientPrivilege as error:
        user = _one(connection, "select current_user")
        making = "" if known else f'create role "{role}" nologin; '
        raise RightsLacking(
            f"{user} may not prepare the database; let an administrator run: "
            f'{making}grant "{role}" to "{user}" with admin option; grant create on database "{database}" to "{user}"',
        ) from error
    return role


def _recorded_role(connection: "psycopg.Connection[TupleRow]") -> str | None:
    # Recorded in the database itself, because a copy of a database keeps its grants but not its name.
    if _one(connection, f"select to_regproc('{SCHEMA}.service_role')::text") is None:
        return None
    return _one(connection, f"select {SCHEMA}.service_role()")


def _upgrade(url: str, number: str, *, role: str) -> None:
    from alembic import command  # SQLAlchemy takes a second to import and only this needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.attributes["url"] = url
    config.attributes["service_role"] = role
    try:
        command.upgrade(config, number)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"The migration to {number} did not finish: {error}") from error


def _admit(connection: "psycopg.Connection[TupleRow]", role: str, login: str) -> None:
    if _one(connection, "select rolname from pg_roles where rolname = %s", login) is None:
        raise MigrationRefused(f"There is no role {login}; create it with LOGIN and a password first", role=login)
    if _one(connection, "select pg_has_role(%s, %s, 'usage')::text", login, role) == "true":
        return
    try:
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(login)))
    except psycopg.errors.InsufficientPrivilege as error:
        user = _one(connection, "select current_user")
        raise RightsLacking(
            f"{user} may not admit {login}; let an administrator run: "
            f'grant "{role}" to "{user}" with admin option; grant "{role}" to "{login}"',
        ) from error


def _one(connection: "psycopg.Connection[TupleRow]", query: str, *values: object) -> str | None:
    row = connection.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]
