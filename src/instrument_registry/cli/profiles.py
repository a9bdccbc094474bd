"""`instrument-registry profiles`: what users want live data of, what they may have, and what stood against them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table
from instrument_registry.errors import Invalid

app = typer.Typer(name="profiles", help="What users want live data of.", no_args_is_help=True)

PROFILES = "/api/v1/internal/subscription-profiles"
PAGE = 100
FILE_LIMIT_BYTES = 4 * 1024 * 1024
User = Annotated[str, typer.Argument(help="The user.")]
Profile = Annotated[str, typer.Argument(help="The profile's id, as `profiles list` shows it.")]
Own = typer.Option(min=0, help="Let the user have so many instead of what everybody may have.")


class _Instrument(msgspec.Struct):
    asked: str
    key: str | None
    standing: str
    mode: str
    pinned: bool


class _Profile(msgspec.Struct):
    """What tables show of a profile."""

    id: str
    user_id: str
    name: str
    type: str
    instruments: list[_Instrument]
    rules: list[dict[str, Any]]
    mode: str
    priority: int
    tier: int
    copies: int
    expires_at: str | None
    expired: bool
    version: int
    changed_at: str


class _Judged(msgspec.Struct):
    asked: str
    outcome: str
    key: str | None = None
    problem: str | None = None
    why: str | None = None
    nearest: list[str] = []


class _Written(msgspec.Struct):
    profile: _Profile
    instruments: list[_Judged]
    conflicts: list[str]


class _Profiles(msgspec.Struct):
    profiles: list[_Profile]


class _Content(msgspec.Struct):
    name: str
    priority: int
    instruments: list[_Instrument]


class _Version(msgspec.Struct):
    version: int
    change: str
    at: str
    actor: str
    profile: _Content


class _History(msgspec.Struct):
    versions: list[_Version]


class _Limits(msgspec.Struct):
    limits: dict[str, int]
    used: dict[str, int]
    own: dict[str, int]


class _Conflict(msgspec.Struct):
    id: str
    kind: str
    verdict: str
    profile: str | None
    instruments: list[str]
    promises: dict[str, str]
    at: str
    strategy: str | None
    outcome: str | None


class _Conflicts(msgspec.Struct):
    conflicts: list[_Conflict]


class _Settled(msgspec.Struct):
    conflict: _Conflict


@app.command("list")
def list_(
    user: User,
    type_: Annotated[str | None, typer.Option("--type", help="live_feed, historical or alerts.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List a user's profiles."""
    content = _connect(url, key).get(f"/users/{client.named(user)}/profiles", type=type_, limit=PAGE)
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Profiles).profiles
    if not found:
        note("There are none; `instrument-registry profiles create FILE` makes one.")
        return
    rows = [
        (one.id, one.name, one.type, len(one.instruments), len(one.rules), one.mode, one.priority, one.tier, one.copies,
         "expired" if one.expired else one.expires_at and one.expires_at[:16], one.changed_at[:16])
        for one in found
    ]  # fmt: skip
    columns = [
        "id",
        "name",
        "type",
        "instruments>",
        "rules>",
        "mode",
        "priority>",
        "tier>",
        "copies>",
        "ends",
        "changed",
    ]
    table(columns, rows)


@app.command("show")
def show(profile: Profile, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Show one profile and its instruments."""
    content = _connect(url, key).get(f"/{client.named(profile)}")
    client.print_json(content) if as_json else _print(client.read(content, _Profile))


@app.command("create")
def create(
    file: Annotated[Path, typer.Argument(help="A JSON file with user_id, name, type, instruments …; - for stdin.")],
    once: Annotated[
        str | None, typer.Option("--once", help="A name for this request: sent again, it makes no other.")
    ] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Make a profile, and say what became of each instrument."""
    body = _body(file)
    content = _connect(url, key).post("", body, headers={"Idempotency-Key": once} if once else {})
    if as_json:
        client.print_json(content)
        return
    made = client.read(content, _Written)
    rows = [(one.asked, one.outcome, one.key, one.problem, one.why, ", ".join(one.nearest)) for one in made.instruments]
    table(["asked", "outcome", "key", "problem", "why", "nearest"], rows)
    print(f"\n{made.profile.id} is made.")
    if made.conflicts:
        note(f"{len(made.conflicts)} conflicts are to be settled: `instrument-registry profiles conflicts …`")


@app.command("delete")
def delete(profile: Profile, url: client.Url = None, key: client.Key = None) -> None:
    """Want nothing by a profile any more."""
    _connect(url, key).delete(f"/{client.named(profile)}")
    print(f"{profile} is gone.")


@app.command("history")
def history(profile: Profile, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Show what a profile was like, since when, and who changed it."""
    content = _connect(url, key).get(f"/{client.named(profile)}/history", limit=PAGE)
    if as_json:
        client.print_json(content)
        return
    rows = [
        (one.version, one.change, one.at[:19], one.actor, one.profile.name, one.profile.priority,
         len(one.profile.instruments))
        for one in client.read(content, _History).versions
    ]  # fmt: skip
    table(["version>", "change", "at", "by", "name", "priority>", "instruments>"], rows)


@app.command("limits")
def limits(
    user: User,
    profiles: Annotated[int | None, Own] = None,
    live_feed: Annotated[int | None, Own] = None,
    historical: Annotated[int | None, Own] = None,
    alerts: Annotated[int | None, Own] = None,
    reason: Annotated[str | None, typer.Option(help="Why; needed when they are set.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Show what a user may have; with --reason, let it be exactly what is given here, the rest as for everybody."""
    there, path = _connect(url, key), f"/limits/users/{client.named(user)}"
    wanted = {"profiles": profiles, "live_feed": live_feed, "historical": historical, "alerts": alerts}
    if reason is None and any(one is not None for one in wanted.values()):
        raise Invalid("Say why the limits change: --reason")
    content = there.get(path) if reason is None else there.put(path, {**wanted, "reason": reason})
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Limits)
    rows = [(name, found.used.get(name), most, name in found.own) for name, most in found.limits.items()]
    table(["of", "has>", "may have>", "own"], rows)


@app.command("conflicts")
def conflicts(
    user: User,
    everything: Annotated[bool, typer.Option("--all", help="Settled ones, too.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List what stood against a user's requests."""
    path = f"/conflicts/users/{client.named(user)}"
    content = _connect(url, key).get(path, open=None if everything else True, limit=PAGE)
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Conflicts).conflicts
    if not found:
        note("Nothing is to be settled.")
        return
    rows = [
        (one.id, one.at[:16], one.kind, one.verdict, one.profile, ", ".join(one.instruments), one.strategy)
        for one in found
    ]
    table(["id", "at", "kind", "verdict", "profile", "instruments", "settled by"], rows)


@app.command("resolve")
def resolve(
    conflict: Annotated[str, typer.Argument(help="The conflict's id, as `profiles conflicts` shows it.")],
    strategy: Annotated[str, typer.Option(help="latest_wins, merge or fail_on_conflict.")],
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Settle a conflict."""
    content = _connect(url, key).post(f"/conflicts/{client.named(conflict)}/resolve", {"strategy": strategy})
    client.print_json(content) if as_json else print(f"Settled: {client.read(content, _Settled).conflict.outcome}.")


def _connect(url: str | None, key: str | None) -> client.Client:
    return client.connect(url, key, prefix=PROFILES)


def _body(file: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read(FILE_LIMIT_BYTES) if str(file) == "-" else file.read_text(encoding="utf-8")
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise Invalid(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(body, dict):
        raise Invalid(f'{file} holds no JSON object; it looks like {{"user_id": …, "instruments": […]}}')
    return body


def _print(one: _Profile) -> None:
    facts(
        [
            ("id", one.id), ("user", one.user_id), ("name", one.name), ("type", one.type), ("mode", one.mode),
            ("priority", one.priority), ("tier", one.tier), ("copies", one.copies), ("ends", one.expires_at),
            ("expired", one.expired or None), ("version", one.version), ("changed", one.changed_at[:19]),
        ]
    )  # fmt: skip
    rows = [(item.key or item.asked, item.standing, item.mode, item.pinned) for item in one.instruments]
    table(["instrument", "stands", "mode", "pinned"], rows)
    for rule in one.rules:
        print(json.dumps(rule))
