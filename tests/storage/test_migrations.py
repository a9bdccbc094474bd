"""Migrations: from nothing, again, in halves, under a role that owns nothing."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from conftest import DatabaseUrls
from instrument_registry.database import Database, DatabaseUnavailable, migrations
from instrument_registry.database.migrations import MigrationRefused, Revision
from keeper import Template

# What a database may hold after a revision; it has to be there still when all later ones have been applied.
ROWS = {
    "0003": """
        insert into instrument_registry.api_keys (id, name, scope, digest, created_at, created_by)
        values ('aaaaaaaaaaaaaaaa', 'a program', 'reader', sha256('a'), now(), 'somebody')
    """,
    "0004": """
        insert into instrument_registry.instruments (ulid, listed_on)
        values ('01ARZ3NDEKTSV4RRFFQ69G5FAV', '2026-08-18');
        insert into instrument_registry.aliases (alias, target, reason, actor, created_at)
        values ('ril', 'NSE:RELIANCE', 'nickname', 'somebody', now())
    """,
}
KEPT = """
    select (select count(*) from instrument_registry.api_keys where id = 'aaaaaaaaaaaaaaaa'),
           (select count(*) from instrument_registry.instruments where ulid = '01ARZ3NDEKTSV4RRFFQ69G5FAV'),
           (select count(*) from instrument_registry.aliases where alias = 'ril' and target = 'NSE:RELIANCE')
"""


@pytest.fixture
def empty_url(server_name: str, templates: dict[str, Template]) -> Iterator[str]:
    """A database without tables, and roles of its own."""
    admin_url = templates[server_name].admin_url
    name = f"ir_test_{secrets.token_hex(4)}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield make_conninfo(admin_url, dbname=name)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(f"{name}_rights")))


class TestMigrating:
    def test_step_by_step_with_rows_in_place_keeps_the_rows(self, empty_url: str) -> None:
        for step in migrations.revisions():
            assert migrations.migrate(empty_url, until=step.number) == [step]
            assert migrations.current_revision(empty_url) == step.number
            with psycopg.connect(empty_url) as owner:
                owner.execute(ROWS.get(step.number, "select").encode())

        with psycopg.connect(empty_url) as owner:
            assert owner.execute(KEPT.encode()).fetchone() == (1, 1, 1)

    def test_two_at_once_apply_everything_once(self, empty_url: str) -> None:
        with ThreadPoolExecutor(2) as both:
            applied = list(both.map(lambda _: migrations.migrate(empty_url), range(2)))

        assert sorted(applied, key=len) == [[], migrations.revisions()]

    def test_a_second_time_changes_nothing(self, database_urls: DatabaseUrls) -> None:
        again = migrations.migrate(database_urls.owner)

        assert again == []
        assert migrations.current_revision(database_urls.owner) == migrations.revisions()[-1].number

    async def test_the_service_owns_nothing(self, database: Database) -> None:
        async with database.transaction() as tx:
            cursor = await tx.execute(
                """
                select c.relname from pg_class c where pg_has_role(current_user, c.relowner, 'usage')
                union all
                select p.proname from pg_proc p where pg_has_role(current_user, p.proowner, 'usage')
                union all
                select n.nspname from pg_namespace n where pg_has_role(current_user, n.nspowner, 'usage')
                """
            )
            owned = await cursor.fetchall()

        assert owned == []

    async def test_the_service_may_not_make_tables(self, database: Database) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with database.transaction() as tx:
                await tx.execute("create table instrument_registry.mine (id int)")


class TestHalves:
    def test_a_half_stops_before_the_other(self) -> None:
        todo = [Revision("0001", "pre", "a"), Revision("0002", "pre", "b"), Revision("0003", "post", "c")]

        assert migrations.of_half(todo, "pre") == todo[:2]
        assert migrations.of_half(todo, "all") == todo
        assert migrations.of_half(todo[2:], "post") == todo[2:]

    def test_a_half_behind_the_other_is_refused(self) -> None:
        todo = [Revision("0003", "post", "c"), Revision("0004", "pre", "d")]

        with pytest.raises(MigrationRefused, match="0003"):
            migrations.of_half(todo, "pre")
        with pytest.raises(MigrationRefused, match="0004"):
            migrations.of_half([*todo[1:], Revision("0005", "post", "e")], "post")

    def test_a_newer_database_is_refused(self) -> None:
        with pytest.raises(MigrationRefused, match="9999"):
            migrations.pending("9999")


class TestTransactions:
    async def test_a_failed_block_leaves_nothing(self, database: Database) -> None:
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await tx.execute("create temporary table kept (id int)")
                raise ZeroDivisionError

        async with database.transaction() as tx:
            cursor = await tx.execute("select to_regclass('pg_temp.kept')")
            assert await cursor.fetchone() == (None,)

    async def test_read_only_is_meant(self, database: Database) -> None:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with database.transaction(read_only=True) as tx:
                await tx.execute("create sequence pg_temp.kept")
        async with database.transaction() as tx:
            await tx.execute("create temporary sequence kept")

    async def test_dead_connections_are_passed_over(self, database: Database, database_urls: DatabaseUrls) -> None:
        async with database.transaction() as tx:
            await tx.execute("select 1")
        with psycopg.connect(database_urls.owner) as owner:
            owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )

        async with database.transaction() as tx:
            cursor = await tx.execute("select 42")
            assert await cursor.fetchone() == (42,)

    async def test_a_statement_has_a_bound(self, database: Database) -> None:
        with pytest.raises(DatabaseUnavailable, match="too long"):
            async with database.transaction(statement_timeout_seconds=0.05) as tx:
                await tx.execute("select pg_sleep(5)")

    async def test_a_closed_server_is_unavailable(self) -> None:
        with pytest.raises(DatabaseUnavailable):
            await Database("postgresql://nobody@127.0.0.1:1/none", wait_timeout_seconds=0.2).open()
