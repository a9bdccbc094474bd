"""`instrument-registry doctor`: what is wrong with an instance, and how to mend it.

Looks at the machine, the files, the database and the running instance; with --url at that instance alone.
Exit codes: 0 nothing is broken (warnings may be), 1 something is, 2 wrong usage.
"""

import json
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec
import typer
from rich.text import Text

from instrument_registry.access.model import ENDS_SOON, ApiKey, KeyState
from instrument_registry.cli import client
from instrument_registry.cli.tables import console, table
from instrument_registry.errors import RegistryError, Unauthorized
from instrument_registry.processes.runfile import RunFile, owner_database_url, running
from instrument_registry.settings import Settings

OLDEST_PYTHON = (3, 11)
DISK_FREE_BYTES = 1024**3
CALENDAR_AHEAD = timedelta(days=45)
SEQUENCED_WITHIN_SECONDS = 10.0
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_READ = stat.S_IRGRP | stat.S_IROTH | OTHERS_WRITE
PRIVATE_FILES = ("operator.key", "master.key", "audit.key", "run.json", "database.json")
START = "Start it: make run, or instrument-registry serve"
MIGRATE = "Run: instrument-registry migrate"

# What to do about a check of /health/ready that did not pass.
REMEDIES = {
    "database": "See that PostgreSQL runs and INSTRUMENT_REGISTRY_DATABASE_URL is right; the server's log says more",
    "migrations": MIGRATE,
    "index": "Wait until the index is built; if that takes longer than a minute, the worker's log says why",
    "caught_up": "See that a background worker runs (serve, or instrument-registry worker) and read its log",
    "disk": "Make room in the data folder, or move it: INSTRUMENT_REGISTRY_DATA_DIR",
    "demo": "Wait until the demo is loaded, or start with INSTRUMENT_REGISTRY_DEMO=off",
    "demo_loaded": "Read the background worker's log; an empty data folder starts the demo anew",
    "proved": "Searches are right again; report the index.proved lines of the log and what was ingested",
    "mornings": "Bring the dump: instrument-registry ingest BROKER; or look at instrument-registry schedule list",
    "facts": "See that a background worker runs (serve, or instrument-registry worker): it makes room by itself",
    "sequenced": "See that a background worker runs (serve, or instrument-registry worker) and read its log",
    "consumers": "Start them again, or remove those that will not come back: instrument-registry consumers --help",
    "audit": "Read the worker's log, then: instrument-registry audit verify",
    "relay": "See that Redis runs and has memory; nothing is lost, and it goes on by itself",
    "maintenance": "When the work is done: instrument-registry config set MAINTENANCE=false --reason done",
    "toggles": "Take what is overdue out of the program, or tell its owner: instrument-registry toggles list",
    "background": "Read the background worker's log: instrument-registry tasks list says which work fails, and of what",
    "configuration_service": "See that the service runs and its key is right; what was kept of it holds meanwhile",
    "features": "The log says which requests failed; it is tried again by itself, or: POST …/actuator/breakers",
    "memory": "Caches are given up by themselves; raise MEMORY_WARNING_MB where there is more, or ask for less at once",
    "sla": "Look at instrument-registry top for what is slow or fails; the bounds are the parameters SLA_…",
}
# These do not keep requests from being answered.
ONLY_NOTED = frozenset({
    "proved", "sequenced", "demo_loaded", "mornings", "consumers", "relay", "audit", "maintenance", "toggles",
    "background", "configuration_service", "features", "memory", "sla",
})  # fmt: skip


class Verdict(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found and, where something is wrong, how to mend it."""

    check: str
    verdict: Verdict
    found: str
    mend: str | None = None


class _Check(msgspec.Struct):
    check: str
    verdict: str
    reason: str


class _Health(msgspec.Struct):
    checks: list[_Check] = []


class _Run(msgspec.Struct):
    broker: str
    segment: str
    market_date: str
    age_days: int
    fresh: bool


class _Summary(msgspec.Struct):
    instruments: int
    runs: list[_Run]
    dumps_waiting: int
    as_of: date


def doctor(
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Say what is wrong with an instance and how to mend it."""
    settings = Settings.load()
    findings = list(examine(settings, url=url or settings.url, key=key))
    if as_json:
        print(json.dumps({"findings": [asdict(one) for one in findings]}))
    else:
        _print(findings)
    if any(one.verdict is Verdict.FAIL for one in findings):
        raise typer.Exit(1)


def examine(settings: Settings, *, url: str | None, key: str | None) -> Iterator[Finding]:
    """Every check that can be made, the ground first."""
    yield python(sys.version_info[:3])
    if url is not None:
        yield from instance(lambda: client.connect(url, key))
    else:
        yield data_folder(settings.data_dir)
        yield private_files(settings.data_dir)
        yield disk(settings.data_dir)
        yield run_file(settings)
        if settings.tls_certificate is not None:
            yield certificate(settings.tls_certificate)
        yield from database(settings)
        if running(settings.data_dir) is not None:
            yield from instance(lambda: client.connect(None, key))
    yield calendars()


def python(version: tuple[int, ...]) -> Finding:
    """Whether the interpreter is one we run on."""
    found = f"{platform.python_implementation()} {'.'.join(map(str, version))}"
    if version < OLDEST_PYTHON:
        return Finding("python", Verdict.FAIL, found, "Install Python 3.11 or later and build .venv anew")
    return Finding("python", Verdict.OK, found)


def data_folder(folder: Path) -> Finding:
    """Whether the data folder is there, ours to write, and nobody else's."""
    if not folder.is_dir():
        return Finding("data folder", Verdict.WARN, f"{folder} is not there yet", START)
    mode = stat.S_IMODE(folder.stat().st_mode)
    found = f"{folder}, mode {mode:04o}"
    if not os.access(folder, os.W_OK | os.X_OK):
        owner = f"chown it to the user who runs the registry: chown {os.geteuid()} {folder}"
        return Finding("data folder", Verdict.FAIL, f"{found}, cannot be written", owner)
    if mode & OTHERS_WRITE:
        return Finding("data folder", Verdict.FAIL, f"{found}, others may write", f"chmod go-w {folder}")
    if mode & OTHERS_READ:
        return Finding("data folder", Verdict.WARN, f"{found}, others may list it", f"chmod go-r {folder}")
    return Finding("data folder", Verdict.OK, found)


def private_files(folder: Path) -> Finding:
    """Whether keys and passwords are readable by their owner alone."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for name in PRIVATE_FILES if (path := folder / name).exists()}
    open_ones = [path for path, mode in modes.items() if mode & 0o077]
    if open_ones:
        found = ", ".join(f"{path.name} has mode {modes[path]:04o}" for path in open_ones)
        mend = f"chmod 600 {' '.join(map(str, open_ones))}; then make new keys, for others may have read them"
        return Finding("private files", Verdict.FAIL, found, mend)
    if not modes:
        return Finding("private files", Verdict.OK, "none yet")
    return Finding("private files", Verdict.OK, f"{', '.join(path.name for path in modes)}: mode 0600")


def disk(folder: Path) -> Finding:
    """Whether there is room for more dumps."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free < DISK_FREE_BYTES:
        return Finding("disk", Verdict.WARN, f"{found}, a morning's dumps may need 1 GiB", REMEDIES["disk"])
    return Finding("disk", Verdict.OK, found)


def run_file(settings: Settings) -> Finding:
    """Whether an instance holds the data folder and says where it is."""
    found = running(settings.data_dir)
    if found is not None:
        return Finding("run file", Verdict.OK, f"process {found.pid} at {found.url}, since {found.started_at[:19]}")
    left = RunFile.path(settings.data_dir).exists()
    problem = "none runs here" + ("; a run file was left behind by one that was killed" if left else "")
    if settings.database_url is not None:
        elsewhere = "Give --url and --key of the instance that serves this database"
        return Finding("run file", Verdict.WARN, problem, elsewhere)
    return Finding("run file", Verdict.FAIL, problem, START)


def database(settings: Settings) -> Iterator[Finding]:
    """Whether the database answers, has its tables, and its facts are being placed."""
    from instrument_registry.database import migrations

    try:
        url = owner_database_url(settings)
        revision = migrations.current_revision(url)
        lacking = migrations.pending(revision)
    except RegistryError as error:
        mend = START if running(settings.data_dir) is None and settings.database_url is None else REMEDIES["database"]
        yield Finding("database", Verdict.FAIL, str(error), mend)
        return
    yield Finding("database", Verdict.OK, "answers")
    if lacking:
        missing = ", ".join(f"{one.number} {one.name}" for one in lacking)
        worst = Verdict.FAIL if any(one.half == "pre" for one in lacking) else Verdict.WARN
        yield Finding("migrations", worst, f"not applied: {missing}", MIGRATE)
        if worst is Verdict.FAIL:
            return
    else:
        yield Finding("migrations", Verdict.OK, f"at {revision}, none missing")
    yield _facts_placed()
    yield from _keys_kept(settings.data_dir)


def _keys_kept(folder: Path) -> Iterator[Finding]:
    from instrument_registry.access import service
    from instrument_registry.cli.connected import in_transaction
    from instrument_registry.clock import now

    try:
        known = in_transaction(service.list_keys, command="doctor")
    except RegistryError as error:
        yield Finding("keys", Verdict.FAIL, str(error), REMEDIES["database"])
        return
    held = service.held_in(folder / "operator.key")
    yield keys(known, held=held.id if held else None, at=now())


def keys(known: Sequence[ApiKey], *, held: str | None, at: datetime) -> Finding:
    """Whether keys end soon with none to take their place; `held` is the one of operator.key."""
    states = {key.id: key.state(at) for key in known}
    if held is not None and states.get(held) in (KeyState.ENDED, KeyState.REVOKED):
        mend = "Start the registry anew, which makes another, or: instrument-registry keys create NAME --scope operator"
        return Finding("keys", Verdict.FAIL, f"operator.key holds {held}, which is {states[held]}", mend)
    ending = [key for key in known if states[key.id] is KeyState.ENDING and key.replaced_by is None]
    if ending:
        listed = ", ".join(f"{key.id} ({key.name}) at {key.expires_at:%Y-%m-%d %H:%M}" for key in ending[:3])
        mend = f"instrument-registry keys rotate {ending[0].id}"
        return Finding("keys", Verdict.WARN, f"{len(ending)} end within {ENDS_SOON.days} days: {listed}", mend)
    in_force = sum(state in (KeyState.IN_FORCE, KeyState.ENDING) for state in states.values())
    return Finding("keys", Verdict.OK, f"{in_force} in force, none ends unnoticed")


def certificate(path: Path) -> Finding:
    """Whether the certificate of our own TLS can be read and is good for a while."""
    from instrument_registry.clock import now
    from instrument_registry.processes.tls import certificate_in

    renew = "Put a renewed certificate and its key into the files, then: kill -HUP PID of the supervisor"
    try:
        ends_at = certificate_in(path).ends_at
    except (OSError, ValueError) as error:
        return Finding("certificate", Verdict.FAIL, f"{path} cannot be read: {error}", renew)
    return certificate_until(ends_at, at=now(), renew=renew)


def certificate_until(ends_at: datetime, *, at: datetime, renew: str) -> Finding:
    """The same for the instant at which it ends."""
    found = f"ends at {ends_at:%Y-%m-%d %H:%M} UTC"
    if ends_at <= at:
        return Finding("certificate", Verdict.FAIL, f"ended at {ends_at:%Y-%m-%d %H:%M} UTC", renew)
    if ends_at - at <= ENDS_SOON:
        return Finding("certificate", Verdict.WARN, found, renew)
    return Finding("certificate", Verdict.OK, found)


def _facts_placed() -> Finding:
    from instrument_registry import events
    from instrument_registry.cli.connected import in_transaction

    try:
        appends, seconds = in_transaction(events.waiting, command="doctor")
    except RegistryError as error:
        return Finding("facts", Verdict.FAIL, str(error), REMEDIES["database"])
    return facts_waiting(appends, seconds)


def facts_waiting(appends: int, seconds: float) -> Finding:
    """Whether the sequencer keeps up."""
    if seconds > SEQUENCED_WITHIN_SECONDS:
        found = f"{appends} appends wait for their position, the oldest for {seconds:.0f} s"
        return Finding("facts", Verdict.FAIL, found, REMEDIES["caught_up"])
    return Finding("facts", Verdict.OK, f"{appends or 'none'} waiting for their position")


def instance(connect: Callable[[], client.Client]) -> Iterator[Finding]:
    """What a running instance says of itself and of its catalogue."""
    try:
        asked = connect()
        _, content = asked.at_root("/health/ready")
        health = client.read(content, _Health)
    except RegistryError as error:
        yield Finding("instance", Verdict.FAIL, str(error), "See whether it runs there; its log says more. " + START)
        return
    yield Finding("instance", Verdict.OK, f"{asked.url} answers")
    yield from checks(health)
    try:
        summary = client.read(asked.get("/catalog/summary"), _Summary)
    except Unauthorized as error:
        mend = "Give --key; a new one: instrument-registry keys create NAME, where the instance runs"
        yield Finding("key", Verdict.FAIL, str(error), mend)
    except RegistryError as error:
        yield Finding("catalogue", Verdict.FAIL, str(error), REMEDIES["index"])
    else:
        yield from catalogue(summary)


def checks(health: _Health) -> Iterator[Finding]:
    """The instance's own checks; could-not-tell is as bad as failed."""
    for one in health.checks:
        verdict = Verdict.OK if one.verdict == "passed" else Verdict.WARN if one.check in ONLY_NOTED else Verdict.FAIL
        mend = None if verdict is Verdict.OK else REMEDIES.get(one.check, "The instance's log says more")
        yield Finding(f"instance: {one.check.replace('_', ' ')}", verdict, one.reason, mend)


def catalogue(summary: _Summary) -> Iterator[Finding]:
    """Whether there is something to find, brokers are up to date, and no dump waits for anybody."""
    yield Finding("key", Verdict.OK, "is accepted")
    if summary.instruments:
        yield Finding("catalogue", Verdict.OK, f"{summary.instruments:,} instruments as of {summary.as_of}")
    else:
        yield Finding("catalogue", Verdict.WARN, "is empty", "Bring a dump: instrument-registry ingest zerodha")
    stale = [run for run in summary.runs if not run.fresh]
    brokers = sorted({run.broker for run in stale})
    for broker in brokers:
        of_broker = sorted((run for run in stale if run.broker == broker), key=lambda run: run.market_date)
        listed = ", ".join(f"{run.segment} {run.market_date}" for run in of_broker[:3])
        found = f"{broker} was last heard of: {listed}{', …' if len(of_broker) > 3 else ''}"
        yield Finding("brokers", Verdict.WARN, found, f"Bring its dump: instrument-registry ingest {broker}")
    if not brokers:
        yield Finding("brokers", Verdict.OK, f"{len({run.broker for run in summary.runs})}, all up to date")
    if summary.dumps_waiting:
        mend = "Look at them and release or discard: instrument-registry quarantine list"
        yield Finding("quarantine", Verdict.WARN, f"{summary.dumps_waiting} dumps were kept out", mend)
    else:
        yield Finding("quarantine", Verdict.OK, "no dump waits")


def calendars() -> Finding:
    """Whether the calendars reach far enough ahead."""
    from instrument_registry.catalog.calendars import market_today
    from instrument_registry.catalog.calendars.files import calendars as kept
    from instrument_registry.clock import now

    return calendars_until({venue: one.known_until for venue, one in kept().items()}, today=market_today(now()))


def calendars_until(known: dict[str, date], *, today: date) -> Finding:
    """The same for known-until dates by venue."""
    first = min(known.values())
    ending = ", ".join(sorted(venue for venue, until in known.items() if until == first))
    mend = "Bring a version of the registry with the exchanges' next holiday lists"
    if first < today:
        return Finding("calendars", Verdict.FAIL, f"{ending} ended on {first}: sessions are unknown since", mend)
    if first - today < CALENDAR_AHEAD:
        return Finding("calendars", Verdict.WARN, f"{ending} end on {first}", mend)
    return Finding("calendars", Verdict.OK, f"known until {first}")


def _print(findings: Iterable[Finding]) -> None:
    listed = list(findings)
    table(
        ["", "check", "found"],
        [(Text(one.verdict, style=STYLES[one.verdict]), one.check, one.found) for one in listed],
    )
    wrong = [one for one in listed if one.mend is not None]
    if not wrong:
        return
    console().print()
    table(["mend", "how"], [(one.check, one.mend) for one in wrong])
