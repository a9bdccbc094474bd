"""Keeps the databases of one test run: `keeper.py FOLDER MAIN_PID`.

Starts the embedded server, migrates one template on it and one on the server at 127.0.0.1:5432 where that answers,
writes `templates.json` and waits for `done` or for the end of the main process; then takes everything away.
A process of its own, because it has to clean up when the test run is killed.
"""

import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from instrument_registry.database import migrations
from instrument_registry.processes.embedded import EmbeddedServer

OUTSIDE = "host=127.0.0.1 port=5432 user=postgres dbname=postgres connect_timeout=2"
ROOM_BYTES = 4 * 1024**3
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "autovacuum": "off",
}


@dataclass(frozen=True, slots=True)
class Template:
    """A migrated database that is only ever copied, and the server it lives on."""

    admin_url: str
    name: str
    rights: str
    service: str
    service_password: str


@cache
def outside_answers() -> bool:
    """Whether a PostgreSQL that lets us in listens at the usual place."""
    try:
        psycopg.connect(OUTSIDE).close()
    except psycopg.OperationalError:
        return False
    return True


def keep(folder: Path, main_pid: int) -> None:
    """Start, tell, wait, clean up."""
    made = folder / "templates.json"
    data = Path(tempfile.mkdtemp(prefix="instrument-registry-tests-", dir=memory_folder()))
    data.chmod(0o711)
    server = EmbeddedServer(data, settings=FAST)
    templates: dict[str, Template] = {}
    try:
        server.start()
        templates["embedded"] = make_template(server.owner_url)
        if outside_answers():
            templates["outside"] = make_template(OUTSIDE)
        unfinished = made.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({name: asdict(template) for name, template in templates.items()}))
        unfinished.rename(made)
        while not (folder / "done").exists() and runs(main_pid):
            time.sleep(0.05)
    finally:
        if "outside" in templates:
            drop_template(templates["outside"])
        server.stop()
        made.unlink(missing_ok=True)
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def memory_folder() -> str | None:
    """Where files cost nothing, if there is room: a copy of a database takes 20 ms there and 400 ms on a disk."""
    memory = Path("/dev/shm")
    try:
        roomy = shutil.disk_usage(memory).free > ROOM_BYTES and os.access(memory, os.W_OK)
    except FileNotFoundError:
        return None
    return str(memory) if roomy else None


def make_template(admin_url: str) -> Template:
    """Migrate an empty database; its name and its roles are this run's alone."""
    run = f"ir_test_{secrets.token_hex(4)}"
    template = Template(admin_url, run, f"{run}_rights", f"{run}_service", secrets.token_hex(16))
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(run)))
        admin.execute(
            sql.SQL("create role {} login password {}").format(
                sql.Identifier(template.service), sql.Literal(template.service_password)
            )
        )
        # What tests write need not outlive a crash of a server that is not theirs.
        admin.execute(sql.SQL("alter role {} set synchronous_commit = off").format(sql.Identifier(template.service)))
    migrations.migrate(make_conninfo(admin_url, dbname=run), service_login=template.service)
    return template


def drop_template(template: Template) -> None:
    """Drop the template, what tests left of its copies, and its roles."""
    with psycopg.connect(template.admin_url, autocommit=True) as admin:
        left = admin.execute("select datname from pg_database where datname like %s", (template.name + "%",)).fetchall()
        for (name,) in left:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        for role in (template.service, template.rights):
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def runs(pid: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    keep(Path(sys.argv[1]), int(sys.argv[2]))
