"""Change parameters: all of a request or none of it, with a reason, and back again."""

import difflib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from instrument_registry import events
from instrument_registry.configuration import storage
from instrument_registry.configuration.events import (
    STREAM,
    ConfigurationChanged,
    ConfigurationScheduled,
    ConfigurationUnscheduled,
)
from instrument_registry.configuration.model import (
    PREFIX,
    BadValue,
    NeedsRestart,
    NoSuchChange,
    NoSuchVersion,
    OtherVersion,
    Pinned,
    Scheduled,
    Snapshot,
    Source,
    Sources,
    Version,
    broken,
    find,
    resolve,
)
from instrument_registry.configuration.parameters import PARAMETERS, RULES
from instrument_registry.database import Transaction
from instrument_registry.errors import Invalid, RegistryError
from instrument_registry.events import Metadata

HIDDEN = "(secret)"
REASON_MAX = 500
LISTED_MAX = 1_000
Changes = Mapping[str, str | None]  # by name; null: the value from further down


class Difference(NamedTuple):
    """What a change would do to one parameter."""

    name: str
    old: str
    new: str


def pins(environment: Mapping[str, str], *, settings: Collection[str]) -> dict[str, str]:
    """What variables of the environment fix, by parameter; some are settings, what is nobody's name is none of ours.

    Raises: UnknownParameter for a misspelt one, BadValue.
    """
    found: dict[str, str] = {}
    for variable, value in environment.items():
        name = variable.removeprefix(PREFIX)
        if name in PARAMETERS:
            PARAMETERS[name].read(value)
            found[name] = value
        elif variable not in settings and difflib.get_close_matches(name, list(PARAMETERS), n=1, cutoff=0.85):
            find(PARAMETERS, name)
    return found


async def read(tx: Transaction, sources: Sources) -> Snapshot:
    """What is in force now, given what the environment and the external service say; Raises: BadValue."""
    version, live = await storage.values(tx)
    return resolve(
        PARAMETERS.values(),
        Sources(environment=sources.environment, live=_known(live), external=sources.external),
        version=version,
    )


async def change(
    tx: Transaction,
    changes: Changes,
    sources: Sources,
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
    expected_version: int | None = None,
    reverts_to: int | None = None,
) -> Version:
    """Give parameters other values, all of them or none; null takes a live value back.

    Raises: UnknownParameter, BadValue, Pinned, NeedsRestart, OtherVersion.
    """
    newest = await expect(tx, expected_version)
    _, live = await storage.values(tx)
    wanted = checked(changes, live, sources)
    return await _made(tx, wanted, newest, live, reason=reason, metadata=metadata, at=at, reverts_to=reverts_to)


async def expect(tx: Transaction, expected_version: int | None) -> int:
    """Be the only one who changes configuration until the transaction ends; the newest version.

    Raises: OtherVersion.
    """
    await storage.locked(tx)
    newest = await storage.newest_version(tx)
    if expected_version is not None and newest != expected_version:
        raise OtherVersion(
            f"The configuration is at version {newest}, not {expected_version}",
            version=newest,
            expected_version=expected_version,
        )
    return newest


async def _made(
    tx: Transaction,
    wanted: Changes,
    newest: int,
    live: Mapping[str, str],
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
    reverts_to: int | None = None,
) -> Version:
    made = Version(
        version=newest + 1,
        changes={name: {"old": live.get(name), "new": value} for name, value in sorted(wanted.items())},
        reason=_reason(reason),
        actor=metadata.actor,
        correlation_id=metadata.correlation_id,
        at=at,
        reverts_to=reverts_to,
    )
    await storage.add_version(tx, made)
    told = ConfigurationChanged(
        configuration_version=made.version,
        old={name: _shown(name, change["old"]) for name, change in made.changes.items()},
        new={name: _shown(name, change["new"]) for name, change in made.changes.items()},
        reason=made.reason,
        reverts_to=reverts_to,
        occurred_at=at,
    )
    await events.append(tx, told, stream=STREAM, metadata=metadata)
    return made


async def put(
    tx: Transaction,
    wanted: Mapping[str, str],
    sources: Sources,
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
    expected_version: int | None = None,
) -> Version | None:
    """Let exactly these values be set live, all of them or none; None when it is so already. Raises: as `change`."""
    await storage.locked(tx)
    _, live = await storage.values(tx)
    named = {find(PARAMETERS, name).name: value for name, value in wanted.items()}
    secret = {name for name in live if name in PARAMETERS and PARAMETERS[name].secret}
    changes: dict[str, str | None] = {name: None for name in live.keys() - named.keys() - secret if name in PARAMETERS}
    changes |= {name: value for name, value in named.items() if live.get(name) != value}
    if not changes:
        return None
    return await change(
        tx, changes, sources, reason=reason, metadata=metadata, at=at, expected_version=expected_version
    )


async def reset(tx: Transaction, *, reason: str, metadata: Metadata, at: datetime) -> Version | None:
    """Take back everything that is set live, also below a pin and where a rule is broken; None when nothing is."""
    await storage.locked(tx)
    newest, live = await storage.values(tx)
    wanted: Changes = dict.fromkeys(_known(live))
    return await _made(tx, wanted, newest, live, reason=reason, metadata=metadata, at=at) if wanted else None


async def set_live(tx: Transaction) -> tuple[int, dict[str, str]]:
    """The newest version, and everything that is set live, secret values hidden."""
    version, live = await storage.values(tx)
    return version, {name: str(_shown(name, value)) for name, value in sorted(_known(live).items())}


async def versions_after(tx: Transaction, version: int, *, limit: int) -> list[Version]:
    """Changes after a version, the oldest first, secret values hidden."""
    return [_told(one) for one in await storage.after(tx, version, limit=limit)]


def checked(changes: Changes, live: Mapping[str, str], sources: Sources) -> dict[str, str | None]:
    """The changes by their parameters' names, as texts in one spelling, when everything would hold afterwards.

    Raises: UnknownParameter, BadValue, Pinned, NeedsRestart.
    """
    if not changes:
        raise Invalid("There is nothing to change; name a parameter and its value", field="changes")
    wanted: dict[str, str | None] = {}
    for given, value in changes.items():
        parameter = find(PARAMETERS, given)
        name = parameter.name
        if name in sources.environment:
            raise Pinned(
                f"{name} is fixed by {parameter.environment_name} in the environment",
                parameter=name,
                pinned_by=parameter.environment_name,
            )
        if not parameter.live:
            raise NeedsRestart(
                f"{name} is read at the start; set {parameter.environment_name} and start anew", parameter=name
            )
        wanted[name] = None if value is None else parameter.text(parameter.read(value))
    after = _after(wanted, live, sources)
    for name in wanted:
        if name in sources.required and after.settings[name].source is Source.DEFAULT:
            remedy = "Set another value, or name one at the configuration service first"
            raise BadValue(f"{name} is required and would fall back to its default", field=name, remedy=remedy)
    rule = broken(RULES, after)
    if rule is not None:
        raise BadValue(rule.says, field=", ".join(rule.names), remedy="Change them together so that it holds")
    return wanted


async def preview(tx: Transaction, changes: Changes, sources: Sources) -> list[Difference]:
    """What a change would do, without doing it; Raises: as `change`."""
    _, live = await storage.values(tx)
    wanted = checked(changes, live, sources)
    before, then = await read(tx, sources), _after(wanted, live, sources)
    return [
        Difference(name, text(before, name), text(then, name))
        for name in sorted(wanted)
        if before.settings[name].value != then.settings[name].value
    ]


async def revert(
    tx: Transaction,
    version: int,
    sources: Sources,
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
    expected_version: int | None = None,
) -> Version | None:
    """Set everything as it was live at a version; None when it is so already. Raises: NoSuchVersion, as `change`."""
    await storage.locked(tx)
    newest = await storage.newest_version(tx)
    if not 0 <= version <= newest:
        raise NoSuchVersion(f"There is no version {version}; the newest is {newest}", version=version, newest=newest)
    undone: dict[str, str | None] = {}
    for later in await storage.since(tx, version):  # the newest first: the oldest change of each has the last word
        undone |= {name: one["old"] for name, one in later.changes.items() if name in PARAMETERS}
    _, live = await storage.values(tx)
    changes = {name: value for name, value in undone.items() if live.get(name) != value}
    if not changes:
        return None
    return await change(
        tx, changes, sources, reason=reason, metadata=metadata, at=at, expected_version=expected_version,
        reverts_to=version,
    )  # fmt: skip


async def history(
    tx: Transaction, *, below: int | None = None, name: str | None = None, limit: int = 100
) -> list[Version]:
    """Versions, the newest first, secret values hidden: all, or those of one parameter; Raises: UnknownParameter."""
    wanted = find(PARAMETERS, name).name if name is not None else None
    return [_told(one) for one in await storage.versions(tx, below=below, name=wanted, limit=limit)]


async def schedule(
    tx: Transaction,
    changes: Changes,
    sources: Sources,
    *,
    due_at: datetime,
    reason: str,
    metadata: Metadata,
    at: datetime,
) -> int:
    """Let a change come at an instant; its id. Raises: as `change`, Invalid for an instant that has passed."""
    if due_at <= at:
        raise Invalid(f"due_at {due_at.isoformat()} has passed; choose a later instant", field="due_at")
    _, live = await storage.values(tx)
    wanted = checked(changes, live, sources)
    made = await storage.add_scheduled(
        tx, wanted, due_at=due_at, reason=_reason(reason), actor=metadata.actor,
        correlation_id=metadata.correlation_id, at=at,
    )  # fmt: skip
    told = ConfigurationScheduled(
        change=made, due_at=due_at.isoformat(), new={name: _shown(name, value) for name, value in wanted.items()},
        reason=reason, occurred_at=at,
    )  # fmt: skip
    await events.append(tx, told, stream=STREAM, metadata=metadata)
    return made


async def scheduled(tx: Transaction, *, waiting: bool = True) -> list[Scheduled]:
    """Changes that are to come, or every one there was."""
    return await storage.scheduled(tx, waiting=waiting, limit=LISTED_MAX)


async def cancel(tx: Transaction, change: int, *, reason: str, metadata: Metadata, at: datetime) -> None:
    """Let a scheduled change not come; Raises: NoSuchChange."""
    there = await storage.scheduled_one(tx, change)
    if there is None or there.state != "waiting":
        raise NoSuchChange(f"No scheduled change {change} waits", change=change)
    await storage.end_scheduled(tx, change, state="cancelled", at=at, problem=reason)
    told = ConfigurationUnscheduled(change=change, reason=_reason(reason), occurred_at=at)
    await events.append(tx, told, stream=STREAM, metadata=metadata)


async def make_due(tx: Transaction, sources: Sources, *, now: datetime) -> Scheduled | None:
    """Make the change whose time came first, as whoever scheduled it; one that can no longer be made is told so."""
    due = await storage.next_due(tx, now=now)
    if due is None:
        return None
    metadata = Metadata(actor=due.actor, correlation_id=due.correlation_id, source="schedule")
    try:
        async with tx.transaction():
            made = await change(tx, due.changes, sources, reason=due.reason, metadata=metadata, at=now)
    except RegistryError as error:
        await storage.end_scheduled(tx, due.id, state="refused", at=now, problem=str(error))
        told = ConfigurationUnscheduled(change=due.id, reason=str(error), occurred_at=now)
        await events.append(tx, told, stream=STREAM, metadata=metadata)
    else:
        await storage.end_scheduled(tx, due.id, state="done", at=now, version=made.version)
    return due


def text(snapshot: Snapshot, name: str) -> str:
    """A value as it may be shown."""
    parameter = PARAMETERS[name]
    value = parameter.text(snapshot.settings[name].value)
    return HIDDEN if parameter.secret and value else value


def _after(wanted: Changes, live: Mapping[str, str], sources: Sources) -> Snapshot:
    """What would be in force if the wanted changes were made."""
    then = {**_known(live), **wanted}
    kept = {name: value for name, value in then.items() if value is not None}
    return resolve(
        PARAMETERS.values(),
        Sources(environment=sources.environment, live=kept, external=sources.external),
        version=0,
    )


def _known(live: Mapping[str, str]) -> dict[str, str]:
    """What is set live of parameters this version of the program knows."""
    return {name: value for name, value in live.items() if name in PARAMETERS}


def _told(version: Version) -> Version:
    changes = {
        name: {when: _shown(name, value) for when, value in one.items()} for name, one in version.changes.items()
    }
    return Version(
        version=version.version, changes=changes, reason=version.reason, actor=version.actor,
        correlation_id=version.correlation_id, at=version.at, reverts_to=version.reverts_to,
    )  # fmt: skip


def _shown(name: str, value: str | None) -> str | None:
    return HIDDEN if value and name in PARAMETERS and PARAMETERS[name].secret else value


def _reason(reason: str) -> str:
    if not 1 <= len(reason.strip()) <= REASON_MAX:
        raise Invalid(f"reason must have 1 to {REASON_MAX} characters", field="reason")
    return reason.strip()
