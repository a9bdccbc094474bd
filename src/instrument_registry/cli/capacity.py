"""`instrument-registry capacity`: what accounts at brokers can carry, and how their connections are."""

import json
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table
from instrument_registry.errors import Invalid

app = typer.Typer(name="capacity", help="What accounts at brokers can carry.", no_args_is_help=True)

CAPACITY = "/subscriptions/capacity"
HISTORY = 100
FILE_BYTES_MAX = 1024 * 1024
STANDARD_INPUT = "-"
Account = Annotated[str, typer.Argument(help="The account's name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for whoever asks next year.")]


class Figure(msgspec.Struct):
    """What of a number is shown."""

    value: int | None
    unit: str
    source: str
    as_of: str
    certainty: str
    own: bool
    cautious: int | None = None


class _Way(msgspec.Struct):
    name: str
    total: int
    modes: dict[str, int]


class _Connection(msgspec.Struct):
    connection: str
    health: str | None
    reason: str | None
    since: str | None
    reported_at: str | None


class _Limits(msgspec.Struct):
    broker: str
    figures: dict[str, Figure]
    ways: list[_Way]
    segments: dict[str, list[str]] | None
    notes: str


class _Account(_Limits):
    account: str
    version: int
    key: str | None
    carries_max: int
    reserve: int
    connections: list[_Connection]
    reason: str
    actor: str
    changed_at: str


class _List(msgspec.Struct):
    accounts: list[_Account]


class _Venues(msgspec.Struct):
    venues: list[_Limits]


class _Version(msgspec.Struct):
    version: int
    said: dict[str, object] | None
    reason: str
    actor: str
    at: str


class _History(msgspec.Struct):
    versions: list[_Version]


@app.command("list")
def list_(url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """List the accounts, what they carry at most, and how their connections are."""
    content = client.connect(url, key).get(CAPACITY)
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _List).accounts
    if not found:
        note("There are none; `instrument-registry capacity set ACCOUNT FILE` makes one.")
        return
    rows = [
        (one.account, one.broker, one.carries_max, one.reserve, _healths(one.connections), one.version, one.reason)
        for one in found
    ]
    table(["account", "broker", "carries>", "held back>", "connections", "version>", "reason"], rows)


@app.command("show")
def show(account: Account, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Show an account: each number with its source, its day and how sure it is."""
    content = client.connect(url, key).get(f"{CAPACITY}/{client.named(account)}")
    client.print_json(content) if as_json else _print(client.read(content, _Account))


@app.command("set")
def set_(
    account: Account,
    file: Annotated[str, typer.Argument(help="A JSON file as the API's PUT has it; - is standard input.")],
    reason: Reason,
    only: Annotated[bool, typer.Option("--only", help="Change what the file names, and leave the rest.")] = False,
    if_version: Annotated[int | None, typer.Option(help="Only if it is still at this version.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Say what an account can carry, by a JSON file; what it leaves out is as its broker's profile has it."""
    body = _read(file) | {"reason": reason}
    headers = {} if if_version is None else {"If-Match": f'W/"{if_version}"'}
    instance, path = client.connect(url, key), f"{CAPACITY}/{client.named(account)}"
    content = (instance.patch if only else instance.put)(path, body, headers=headers)
    client.print_json(content) if as_json else _print(client.read(content, _Account))


@app.command("retire")
def retire(account: Account, reason: Reason, url: client.Url = None, key: client.Key = None) -> None:
    """Let an account carry nothing any more; its history stays."""
    client.connect(url, key).delete(f"{CAPACITY}/{client.named(account)}", reason=reason)
    print(f"{account} carries nothing any more.")


@app.command("history")
def history(account: Account, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Show what was said of an account, by whom and why, the newest first."""
    content = client.connect(url, key).get(f"{CAPACITY}/{client.named(account)}/history", limit=HISTORY)
    if as_json:
        client.print_json(content)
        return
    rows = [
        (one.version, one.at[:16], one.actor, "retired" if one.said is None else "said", one.reason)
        for one in client.read(content, _History).versions
    ]
    table(["version>", "at", "by", "what", "reason"], rows)


@app.command("venues")
def venues(url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """List the built-in profiles of brokers: what is known of their feeds without anybody saying it."""
    content = client.connect(url, key).get(f"{CAPACITY}/venues")
    if as_json:
        client.print_json(content)
        return
    rows = [
        (one.broker, _number(one.figures.get("connections")), _ways(one.ways), _number(one.figures.get("frame_items")),
         _number(one.figures.get("messages_per_second")), one.notes)
        for one in client.read(content, _Venues).venues
    ]  # fmt: skip
    table(["broker", "connections>", "each carries", "a message>", "messages a second>", "notes"], rows)


def _print(one: _Account) -> None:
    facts(
        [
            ("account", one.account), ("broker", one.broker), ("key", one.key), ("carries at most", one.carries_max),
            ("held back", one.reserve), ("each connection", _ways(one.ways)), ("venues", _segments(one.segments)),
            ("notes", one.notes), ("version", one.version), ("since", one.changed_at[:16]), ("by", one.actor),
            ("reason", one.reason),
        ]
    )  # fmt: skip
    rows = [
        (name, _number(figure), figure.unit, figure.certainty, "own" if figure.own else "profile", figure.as_of,
         figure.source)
        for name, figure in one.figures.items()
    ]  # fmt: skip
    table(["figure", "number>", "unit", "certainty", "said by", "as of", "source"], rows)
    states = [
        (each.connection, each.health or "not reported", each.since and each.since[:19], each.reason)
        for each in one.connections
    ]
    table(["connection", "health", "since", "because"], states)


def _number(figure: Figure | None) -> str | int | None:
    if figure is None:
        return None
    if figure.value is not None:
        return figure.value
    return "unknown" if figure.cautious is None else f"unknown, taken as {figure.cautious}"


def _ways(ways: list[_Way]) -> str:
    return "; or ".join(
        f"{one.total:,} ({', '.join(f'{mode} {most:,}' for mode, most in one.modes.items())})" for one in ways
    )


def _segments(segments: dict[str, list[str]] | None) -> str | None:
    return None if segments is None else ", ".join(f"{name} ({' '.join(modes)})" for name, modes in segments.items())


def _healths(connections: list[_Connection]) -> str:
    counts: dict[str, int] = {}
    for one in connections:
        name = one.health or "not reported"
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _read(file: str) -> dict[str, object]:
    try:
        text = sys.stdin.read(FILE_BYTES_MAX) if file == STANDARD_INPUT else Path(file).read_text(encoding="utf-8")
        said = json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Invalid(f"{file} cannot be read as JSON: {error}", field="file") from error
    if not isinstance(said, dict):
        raise Invalid(f"{file} holds no JSON object", field="file")
    return said
