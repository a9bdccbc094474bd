"""A server of somebody else: its owner is no superuser, and the service may do less than the owner."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from instrument_registry.database import (
    Database,
    DatabaseUnavailable,
    LoginRefused,
    RightsLacking,
    login_of,
    migrations,
    role_to_work_under,
)
from instrument_registry.database.migrations import MigrationRefused
from instrument_registry.settings import Settings
from instrument_registry.wiring import close_registry, open_registry
from keeper import Template


@dataclass(frozen=True, slots=True)
class Outside:
    """An empty database on a server we do not administer."""

    owner: str
    name: str
    admin: str


@pytest.fixture(params=[True, False], ids=["may-create-roles", "may-not"])
def may_create_roles(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def outside(server_name: str, templates: dict[str, Template], may_create_roles: bool) -> Iterator[Outside]:
    admin_url = templates[server_name].admin_url
    name, password = f"ir_test_{secrets.token_hex(4)}", secrets.token_hex(8)
    role = sql.Identifier(name)
    right = sql.SQL("createrole" if may_create_roles else "nocreaterole")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login {} password {}").format(role, right, sql.Literal(password)))
        admin.execute(sql.SQL("create database {} owner {}").format(role, role))
    yield Outside(make_conninfo(admin_url, dbname=name, user=name, password=password), name, admin_url)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(role))
        for left in (f"{name}_service", f"{name}_rights", name):
            admin.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(left)))


class TestWhoIsNotLetIn:
    """On our own server, which asks for passwords."""

    @pytest.fixture
    def template(self, templates: dict[str, Template]) -> Template:
        return templates["embedded"]

    async def test_a_wrong_password_is_named_and_not_told(self, template: Template) -> None:
        url = made_url(template, password="s3cret-and-wrong")

        await refused_as(url, f'password authentication failed for user "{template.service}"')

    async def test_a_database_that_is_not_there_is_named(self, template: Template) -> None:
        await refused_as(made_url(template, dbname="nowhere"), 'database "nowhere" does not exist')

    async def test_a_missing_right_to_connect_is_named(self, template: Template) -> None:
        name = f"ir_test_{secrets.token_hex(4)}"
        with psycopg.connect(template.admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            admin.execute(sql.SQL("revoke connect on database {} from public").format(sql.Identifier(name)))
        try:
            await refused_as(made_url(template, dbname=name), f'permission denied for database "{name}"', "CONNECT")
        finally:
            with psycopg.connect(template.admin_url, autocommit=True) as admin:
                admin.execute(sql.SQL("drop database {}").format(sql.Identifier(name)))

    async def test_a_server_that_is_not_there_does_not_answer(self, template: Template) -> None:
        url = make_conninfo(template.admin_url, host="127.0.0.1", port=1)

        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            await role_to_work_under(url)


class TestAnOutsideDatabase:
    @pytest.mark.parametrize("may_create_roles", [True], indirect=True)
    async def test_the_owner_alone_works_under_the_services_role(self, outside: Outside) -> None:
        applied = migrations.migrate(outside.owner)
        registry = await open_registry(Settings.load(), database_url=outside.owner)
        async with registry.database.transaction() as tx:
            cursor = await tx.execute("select current_user, session_user")
            names = await cursor.fetchone()
        await close_registry(registry)

        assert applied == migrations.revisions()
        assert names == (f"{outside.name}_rights", outside.name)

    @pytest.mark.parametrize("may_create_roles", [True], indirect=True)
    async def test_a_login_is_admitted_and_stays_itself(self, outside: Outside) -> None:
        login = made_login(outside)
        migrations.migrate(outside.owner, service_login=login)
        service = make_conninfo(outside.owner, user=login, password="x")

        assert login_of(service) == login
        assert await role_to_work_under(service) is None
        with psycopg.connect(service) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("drop schema instrument_registry cascade")
            connection.rollback()
            assert connection.execute("select version_num from instrument_registry.alembic_version").fetchone()

    @pytest.mark.parametrize("may_create_roles", [True], indirect=True)
    def test_an_unknown_login_is_refused(self, outside: Outside) -> None:
        with pytest.raises(MigrationRefused, match="no role nobody_at_all"):
            migrations.migrate(outside.owner, service_login="nobody_at_all")

    @pytest.mark.parametrize("may_create_roles", [False], indirect=True)
    def test_an_owner_who_may_too_little_learns_what_to_ask_for(self, outside: Outside) -> None:
        made_login(outside)
        with pytest.raises(RightsLacking, match="create role") as refused:
            migrations.migrate(outside.owner)
        follow(refused.value, outside)

        assert migrations.migrate(outside.owner, service_login=f"{outside.name}_service") == migrations.revisions()

    @pytest.mark.parametrize("may_create_roles", [False], indirect=True)
    def test_an_owner_who_may_not_admit_others_learns_what_to_ask_for(self, outside: Outside) -> None:
        login, rights = made_login(outside), sql.Identifier(f"{outside.name}_rights")
        with psycopg.connect(outside.admin, autocommit=True) as admin:
            admin.execute(sql.SQL("create role {} nologin").format(rights))
            admin.execute(sql.SQL("grant {} to {}").format(rights, sql.Identifier(outside.name)))
        with pytest.raises(RightsLacking, match="grant") as refused:
            migrations.migrate(outside.owner, service_login=login)
        follow(refused.value, outside)

        assert migrations.migrate(outside.owner, service_login=login) == []

    @pytest.mark.parametrize("may_create_roles", [True], indirect=True)
    @pytest.mark.parametrize("migrated", [True, False], ids=["migrated", "empty"])
    def test_a_login_nobody_admitted_is_told_so_in_one_sentence(
        self, outside: Outside, migrated: bool, tmp_path: Path
    ) -> None:
        login = made_login(outside)
        if migrated:
            migrations.migrate(outside.owner)
        service = make_conninfo(outside.owner, user=login, password="x")

        for command in ("api", "worker"):
            ended = start(command, url=service, folder=tmp_path)
            assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
            assert f"migrate --service-role {login}" in ended.stderr


def made_login(outside: Outside) -> str:
    login = f"{outside.name}_service"
    with psycopg.connect(outside.admin, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login password 'x'").format(sql.Identifier(login)))
    return login


def follow(refusal: RightsLacking, outside: Outside) -> None:
    """Do as the refusal says, as an administrator."""
    with psycopg.connect(outside.admin, autocommit=True) as admin:
        admin.execute(str(refusal).split("run: ")[1].encode())


def start(command: str, *, url: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("INSTRUMENT_REGISTRY_")}
    own |= {
        "INSTRUMENT_REGISTRY_DATABASE_URL": url,
        "INSTRUMENT_REGISTRY_DATA_DIR": str(folder),
        "INSTRUMENT_REGISTRY_PORT": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.run(
        [sys.executable, "-m", "instrument_registry", command], env=own, capture_output=True, text=True, timeout=60
    )


def made_url(template: Template, **other: str) -> str:
    """Where the service logs in, but for what is named otherwise."""
    own = {"dbname": template.name, "user": template.service, "password": template.service_password}
    return make_conninfo(template.admin_url, **(own | other))


async def refused_as(url: str, *said: str) -> None:
    """Whoever connects is told the server's own words, and no password."""
    told = []
    with pytest.raises(LoginRefused) as refused:
        await role_to_work_under(url)
    told.append(refused.value)
    with pytest.raises(LoginRefused) as refused:
        migrations.migrate(url)
    told.append(refused.value)
    with pytest.raises(LoginRefused) as refused:
        async with Database(url).session("test"):
            pass
    told.append(refused.value)
    password = str(conninfo_to_dict(url)["password"])
    for error in told:
        assert all(words in str(error) for words in said), error
        assert password not in f"{error} {error.facts}"
