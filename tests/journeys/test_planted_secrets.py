"""A hundred secrets go through running processes, and none comes out anywhere but where it is asked for."""

import base64
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from conftest import DatabaseUrls
from instrument_registry.access import service as access
from instrument_registry.access.model import Scope
from instrument_registry.clock import now
from instrument_registry.database import Database
from instrument_registry.events import Metadata
from instrument_registry.http.routes import PREFIX
from instrument_registry.sealing.master_keys import mint
from journeys.test_serve import Serving, eventually

PLANTED = 100
ENDLESS = ("/stream", "/follow", "/watch")
VALUE_PATH = "/api/v1/secrets/{key}/value"
SETTLES_SECONDS = 20.0
BREAKS = {
    "the value is in hand when the fact cannot be told": "revoke insert on appends from {rights}",
    "the statement is refused": "alter table secret_versions rename column sealed to hidden",
    "the row is shown in the failure": "alter table secret_versions add check (length(reason) > 400) not valid",
}
MENDS = {
    "the value is in hand when the fact cannot be told": "grant insert on appends to {rights}",
    "the statement is refused": "alter table secret_versions rename column hidden to sealed",
    "the row is shown in the failure": "alter table secret_versions drop constraint secret_versions_reason_check1",
}


@dataclass
class Planted:
    """Every secret with the forms it could be seen in, and everything that has been said so far."""

    needles: dict[str, str] = field(default_factory=dict)
    count: int = 0
    said: dict[str, str] = field(default_factory=dict)

    def plant(self, what: str, core: str, *raw: bytes, around: str = "{}") -> str:
        """Look for the core as it is, which no quoting changes, and for the whole value encoded."""
        self.count += 1
        value = around.format(core)
        self.needles[core] = what
        for one in (value.encode(), *raw):
            for form in (base64.b64encode(one), base64.urlsafe_b64encode(one)):
                self.needles[form.decode().rstrip("=")] = what
            self.needles[one.hex()] = what
        return value

    def hear(self, where: str, text: str) -> None:
        self.said[where] = self.said.get(where, "") + text

    def found(self) -> set[tuple[str, str]]:
        return {
            (what, where)
            for where, text in self.said.items()
            for needle, what in self.needles.items()
            if needle in text
        }


@asynccontextmanager
async def processes(folder: Path, urls: DatabaseUrls, planted: Planted) -> AsyncIterator[tuple[Serving, Serving]]:
    """`serve` that logs for programs, and `api` beside it that logs for people; their secrets come from files."""
    lines = [mint(), mint()]
    for line in lines:
        planted.plant("master key", line[14:], base64.urlsafe_b64decode(line[14:] + "="))
    password = conninfo_to_dict(urls.service)["password"]
    broker = planted.plant("broker password", "broker-pass-4711")
    planted.plant("database password", str(password))
    written = {
        "MASTER_KEYS_FILE": "\n".join(lines),
        "DATABASE_URL_FILE": urls.service,
        "EVENT_BROKER_URL_FILE": f"redis://relay:{broker}@127.0.0.1:9/0",
    }
    both = (Serving(folder / "serve", workers=1), Serving(folder / "api"))
    both[1].command = ("api",)
    for one, form in zip(both, ("json", "pretty"), strict=True):
        one.environment |= {"INSTRUMENT_REGISTRY_LOG_FORMAT": form, "INSTRUMENT_REGISTRY_LOG_LEVEL": "debug"}
        one.environment["INSTRUMENT_REGISTRY_WEBHOOK_NETWORKS"] = "127.0.0.0/8"
        for name, text in written.items():
            path = folder / name.lower()
            path.write_text(text)
            path.chmod(0o600)
            one.environment[f"INSTRUMENT_REGISTRY_{name}"] = str(path)
    try:
        for one in both:
            one.start()
        yield both
    finally:
        for one in both:
            for process in one.family():
                process.terminate()
            one.process.wait(60)


def asked(planted: Planted, where: str, http: httpx.Client, method: str, path: str, **more: object) -> httpx.Response:
    """Ask, and keep what was answered."""
    answer = http.request(method, path, **more)
    planted.hear(where, f"{dict(answer.headers)} {answer.text}")
    return answer


def plain_paths(document: dict) -> Iterator[str]:
    """Every path that is read without saying more."""
    for path, operations in document["paths"].items():
        one = operations.get("get")
        if one is None or path.endswith(ENDLESS) or "{" in path:
            continue
        if not any(parameter.get("required") for parameter in one.get("parameters", ())):
            yield path


def every_table(url: str) -> str:
    """What a dump would hold: each table as text."""
    texts = []
    with psycopg.connect(url) as owner:
        tables = owner.execute(
            "select schemaname, tablename from pg_tables where schemaname <> all('{pg_catalog,information_schema}')"
        ).fetchall()
        for schema, table in tables:
            with owner.cursor().copy(
                sql.SQL("copy (select * from {}) to stdout").format(sql.Identifier(schema, table))
            ) as copy:
                texts.append(f"{table}\n" + b"".join(bytes(piece) for piece in copy).decode())
    return "\n".join(texts)


def of_processes(serving: Serving) -> str:
    """What everybody on the machine sees of processes, and what they were handed."""
    texts = []
    for process in serving.family():
        texts.append(" ".join(process.cmdline()))
        texts.append(str(process.environ()))
    return "\n".join(texts)


@pytest.mark.timeout(240)
async def test_a_hundred_planted_secrets_are_found_nowhere(
    database: Database, database_urls: DatabaseUrls, tmp_path: Path
) -> None:
    planted = Planted()
    keys: dict[Scope, str] = {}
    for number in range(12):
        scope = list(Scope)[number % 3]
        async with database.transaction() as tx:
            _, keys[scope] = await access.create_key(
                tx,
                name=f"planted {number}",
                scope=scope,
                metadata=Metadata(actor="tests", correlation_id="c"),
                at=now(),
            )
        planted.plant("API key", keys[scope][21:])

    async with processes(tmp_path, database_urls, planted) as (serve, api):
        admin = {"X-Internal-API-Key": keys[Scope.ADMIN]}
        for one, label in ((serve, "json"), (api, "pretty")):
            with httpx.Client(base_url=one.url, headers=admin, timeout=30) as http:
                values = use(planted, http, label, secrets=35, webhooks=7)
                break_and_mend(planted, http, label, database_urls, value=values)
                stranger = keys[Scope.READER][:-1] + ("A" if keys[Scope.READER][-1] != "A" else "B")
                planted.needles[stranger[21:]] = "a mistyped API key"
                for headers in ({"X-Internal-API-Key": stranger}, {"Authorization": f"token a:{stranger}"}):
                    asked(planted, f"refusals {label}", http, "GET", f"{PREFIX}/summary", headers=headers)
                for path in plain_paths(asked(planted, "openapi", http, "GET", "/openapi.json").json()):
                    asked(planted, f"answers {label}", http, "GET", path)
                with psutil.Process(one.process.pid).oneshot():
                    planted.hear(f"processes {label}", of_processes(one))
        eventually(lambda: '"event":"relay' in serve.words() or "relay." in serve.words(), otherwise=serve.words)
        await settled(database)
        with httpx.Client(base_url=serve.url, headers=admin, timeout=30) as http:
            for path in (f"{PREFIX}/events?limit=1000", f"{PREFIX}/audit?limit=1000", "/metrics"):
                asked(planted, path, http, "GET", path)
        planted.hear("tables", every_table(database_urls.owner))
        planted.hear("logs json", serve.words())
        planted.hear("logs pretty", api.words())
        for name in ("serve", "api"):
            for log in (tmp_path / name).glob("**/*.log"):
                planted.hear("other logs", log.read_text(errors="replace"))

    assert planted.count == PLANTED
    for where in ("logs json", "logs pretty", "tables", "answers json", f"{PREFIX}/audit?limit=1000"):
        assert "PLANTED_3" in planted.said[where], f"{where} was not listened to"
    for form in ("json", "pretty"):
        assert "Traceback" in planted.said[f"logs {form}"] or '"exception"' in planted.said[f"logs {form}"]
        assert planted.said[f"forced {form}"].count('"status":500') >= len(BREAKS)
    assert planted.found() == set()


def use(planted: Planted, http: httpx.Client, label: str, *, secrets: int, webhooks: int) -> str:
    """Set, read, rotate, list and rewrap; make endpoints. One of the values is the answer."""
    value = ""
    for number in range(secrets):
        core = f"s3cr3t-{label}-{number:03}-{token_hex(8)}"
        value = planted.plant("secret", core, around='{} "quoted" ünïcode\n')
        name, body = f"PLANTED_{number}", {"value": value, "reason": "planted", "environment": label}
        assert asked(planted, "sets", http, "PUT", f"{PREFIX}/secrets/{name}", json=body).status_code == 200
        read = http.get(VALUE_PATH.format(key=name), params={"environment": label})
        assert read.json()["value"] == value
    rotation = {"value": value, "reason": "planted", "environment": label}
    asked(planted, "sets", http, "POST", f"{PREFIX}/secrets/PLANTED_{secrets - 1}/rotate", json=rotation)
    for number in range(webhooks):
        body = {"url": f"http://127.0.0.1:9/{number}", "event_types": ["*"]}
        made = http.post(f"{PREFIX}/webhooks", json=body)
        assert made.status_code == 201, made.text
        shown = made.json()["verifies_with"].removeprefix("whsec_")
        planted.plant("webhook secret", shown, base64.b64decode(shown))
        asked(planted, "answers", http, "GET", f"{PREFIX}/webhooks/{made.json()['endpoint']['id']}")
    for body in ({"value": [value]}, {"value": value, "reason": value * 99}, value, {"value": value, "more": value}):
        assert asked(planted, "refusals", http, "PUT", f"{PREFIX}/secrets/PLANTED_0", json=body).status_code == 422
    for path in ("/secrets/PLANTED_3/versions", "/secrets", "/secrets/keys", "/actuator/config"):
        asked(planted, "answers", http, "GET", PREFIX + path, params={"environment": label} if "3" in path else {})
    assert asked(planted, "answers", http, "POST", f"{PREFIX}/secrets/rewrap", json={}).status_code == 200
    return value


def break_and_mend(planted: Planted, http: httpx.Client, label: str, urls: DatabaseUrls, *, value: str) -> None:
    """Failures that nobody foresaw, at moments when a value is in hand."""
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        owner.execute("set search_path = instrument_registry")
        (rights,) = owner.execute("select service_role()").fetchone() or ("",)
        for broken, statement in BREAKS.items():
            owner.execute(statement.format(rights=rights).encode())
            body = {"value": value, "reason": "planted", "environment": label}
            asked(planted, f"forced {label}", http, "PUT", f"{PREFIX}/secrets/PLANTED_3", json=body)
            path = VALUE_PATH.format(key="PLANTED_4")
            if "row" not in broken:
                asked(planted, f"forced {label}", http, "GET", path, params={"environment": label})
            owner.execute(MENDS[broken].format(rights=rights).encode())


async def settled(database: Database) -> None:
    """Wait until every fact has a position and the audit has them all."""
    deadline = time.monotonic() + SETTLES_SECONDS
    while time.monotonic() < deadline:
        async with database.transaction(read_only=True) as tx:
            if await (await tx.execute("select 1 from pending limit 1")).fetchone() is None:
                return
