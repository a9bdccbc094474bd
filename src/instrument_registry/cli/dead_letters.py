"""`instrument-registry events dlq`: what consumers could not digest."""

from typing import Annotated, Any

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table

app = typer.Typer(name="dlq", help="Dead letters: what consumers could not digest.", no_args_is_help=True)

Type = Annotated[str, typer.Argument(metavar="TYPE", help="The event type.")]
Letter = Annotated[int, typer.Argument(metavar="ID", help="The dead letter's id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for whoever asks next year.")]
OfType = Annotated[str | None, typer.Option("--type", help="Those of one event type.")]
OfConsumer = Annotated[str | None, typer.Option("--consumer", help="Those of one consumer.")]
OfFailure = Annotated[str | None, typer.Option("--failure", help="Those that died for this reason.")]
Expected = Annotated[
    int | None, typer.Option(help="How many there are, as the dry run counted; without it there is a dry run.")
]


class _Group(msgspec.Struct):
    event_type: str
    reason: str
    count: int
    first_died_at: str
    last_died_at: str
    consumers: list[str]


class _Groups(msgspec.Struct):
    groups: list[_Group]
    total: int
    kept_hours: int


class _Failure(msgspec.Struct):
    reason: str
    at: str | None = None
    detail: str | None = None


class _Letter(msgspec.Struct):
    id: int
    consumer_id: str
    position: int
    event_id: str
    event_type: str
    reason: str
    attempts: int
    failures: list[_Failure]
    died_at: str
    event: dict[str, Any] | None = None


class _Letters(msgspec.Struct):
    dead_letters: list[_Letter]


class _Done(msgspec.Struct):
    count: int
    dry_run: bool
    done: list[int]


@app.command("list")
def list_(url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """List dead letters by type and reason."""
    content = client.connect(url, key).get("/events/dlq")
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Groups)
    if not found.groups:
        note("There are none.")
        return
    rows = [
        (one.event_type, one.reason, one.count, one.first_died_at[:19], one.last_died_at[:19], ", ".join(one.consumers))
        for one in found.groups
    ]
    table(["type", "reason", "count>", "first", "last", "consumers"], rows)
    note(f"Kept for {found.kept_hours} hours.")


@app.command("letters")
def letters(
    type_: Type,
    consumer: OfConsumer = None,
    failure: OfFailure = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List the dead letters of one type."""
    instance = client.connect(url, key)
    path = f"/events/dlq/{client.named(type_)}"
    content = instance.get(path, consumer_id=consumer, reason=failure, limit=limit)
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Letters).dead_letters
    if not found:
        note("There are none.")
        return
    rows = [
        (one.id, one.consumer_id, one.position, one.attempts, one.died_at[:19], one.reason, _last(one)) for one in found
    ]
    table(["id>", "consumer", "position>", "attempts>", "died", "reason", "detail"], rows)


@app.command("show")
def show(
    type_: Type, letter: Letter, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False
) -> None:
    """Show a dead letter with every failure that led to it."""
    content = client.connect(url, key).get(f"/events/dlq/{client.named(type_)}/{letter}")
    if as_json:
        client.print_json(content)
        return
    one = client.read(content, _Letter)
    facts(
        [
            ("consumer", one.consumer_id),
            ("position", one.position),
            ("event", one.event_id),
            ("died", one.died_at[:19]),
            *(("failure", f"{(each.at or '')[:19]} {each.reason} {each.detail or ''}") for each in one.failures),
            ("data", msgspec.json.encode(one.event["data"]).decode() if one.event else None),
        ]
    )


@app.command("reprocess")
def reprocess(
    type_: Type,
    letter: Letter,
    reason: Reason,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Give exactly this event another try, at the consumer that gave it up."""
    path = f"/events/dlq/{client.named(type_)}/reprocess/{letter}"
    content = client.connect(url, key).post(path, {"reason": reason})
    one = client.read(content, _Letter)
    client.print_json(content) if as_json else print(f"{one.consumer_id} gets position {one.position:,} again.")


@app.command("replay")
def replay(
    reason: Reason,
    type_: OfType = None,
    consumer: OfConsumer = None,
    failure: OfFailure = None,
    expected: Expected = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Give many dead letters another try: first without --expected, which counts."""
    body = _meant(reason, type_, consumer, failure=failure, expected=expected)
    content = client.connect(url, key).post("/events/dlq/replay", body)
    client.print_json(content) if as_json else _print(client.read(content, _Done), "tried again")


@app.command("discard")
def discard(
    reason: Reason,
    type_: OfType = None,
    consumer: OfConsumer = None,
    failure: OfFailure = None,
    expected: Expected = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Give dead letters up for good: first without --expected, which counts."""
    body = _meant(reason, type_, consumer, failure=failure, expected=expected)
    content = client.connect(url, key).post("/events/dlq/discard", body)
    client.print_json(content) if as_json else _print(client.read(content, _Done), "given up")


def _meant(
    reason: str, type_: str | None, consumer: str | None, *, failure: str | None, expected: int | None
) -> dict[str, object]:
    return {
        "reason": reason, "event_type": type_, "consumer_id": consumer, "failure": failure, "expected": expected,
        "dry_run": expected is None,
    }  # fmt: skip


def _print(done: _Done, what: str) -> None:
    if done.dry_run:
        print(f"{done.count:,} would be {what}; say so with --expected {done.count}")
        return
    left = done.count - len(done.done)
    more = f"; {left:,} are left, say --expected {left}" if left else ""
    print(f"{len(done.done):,} {what}{more}.")


def _last(letter: _Letter) -> str:
    return (letter.failures[-1].detail or "") if letter.failures else ""
