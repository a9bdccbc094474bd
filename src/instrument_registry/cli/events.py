"""`instrument-registry events`: read them, follow them, publish some; dead letters."""

from typing import Annotated, Any

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.dead_letters import app as dead_letters
from instrument_registry.cli.tables import facts, note, table
from instrument_registry.errors import Invalid, Unavailable

app = typer.Typer(name="events", help="What has happened, in order.", no_args_is_help=True)
app.add_typer(dead_letters, name="dlq")

SHOWN_CHARACTERS = 100
Types = Annotated[
    list[str] | None, typer.Option("--type", help="A type, a family such as instrument.*, or *; may be repeated.")
]


class _Event(msgspec.Struct):
    event_type: str
    data: dict[str, Any]
    event_id: str
    stream: str
    stream_version: int
    recorded_at: str
    actor: str
    correlation_id: str
    position: int | None = None
    subject: str | None = None


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None


class _Page(msgspec.Struct):
    events: list[_Event]
    pagination: _Pagination


class _Line(msgspec.Struct):
    event_type: str
    ends: str | None = None
    detail: str | None = None


class _Told(msgspec.Struct):
    event_id: str
    stream: str


class _Published(msgspec.Struct):
    events: list[_Told]


class _Health(msgspec.Struct):
    status: str
    problems: list[str]
    position: int
    waiting: int
    waiting_seconds: float
    months_ahead: int
    consumers: int
    held: int
    waiting_for_retry: int
    dead_letters: int


@app.command("list")
def list_(
    types: Types = None,
    after: Annotated[int | None, typer.Option(help="Those after this position.")] = None,
    stream: Annotated[str | None, typer.Option(help="Those of one stream.")] = None,
    subject: Annotated[str | None, typer.Option(help="Those about one subject: an instrument's id.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Recorded at this instant or later.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Recorded at this instant or before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 100,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List events from a position on, of a stream, or about a subject."""
    instance = client.connect(url, key)
    query: dict[str, client.Value] = {
        "event_types": types, "after": after, "stream": stream, "subject": subject, "from": since, "to": until,
        "limit": limit,
    }  # fmt: skip
    content = instance.get("/events", **query)
    page = client.read(content, _Page)
    if as_json:
        client.print_json(content)
        return
    if not page.events:
        note("There are none.")
        return
    table(["position>", "recorded", "type", "about", "data"], [_row(one) for one in page.events])
    if page.pagination.next_cursor is not None:
        note(f"There are more: --after {page.events[-1].position}" if not stream and not subject else "There are more.")


@app.command("show")
def show(
    event: Annotated[str, typer.Argument(help="An event's id, or its position.")],
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Show one event."""
    content = client.connect(url, key).get(f"/events/{client.named(event)}")
    if as_json:
        client.print_json(content)
        return
    one = client.read(content, _Event)
    facts(
        [
            ("position", one.position),
            ("type", one.event_type),
            ("about", one.subject),
            ("recorded", one.recorded_at),
            ("by", one.actor),
            ("correlation", one.correlation_id),
            ("stream", f"{one.stream} {one.stream_version}"),
            ("id", one.event_id),
            ("data", msgspec.json.encode(one.data).decode()),
        ]
    )


@app.command("follow")
def follow(
    types: Types = None,
    start: Annotated[str, typer.Option("--from", help="earliest, latest, a position, or an instant.")] = "latest",
    bulk: Annotated[bool, typer.Option("--bulk", help="Single facts of runs with more than 5,000 too.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Print events as they come, until interrupted; nothing is acknowledged."""
    body: dict[str, object] = {"event_types": types or ["*"], "from": start, "bulk": bulk}
    for line in client.connect(url, key).lines("/events/stream", body):
        kind = client.read(line, _Line)
        if kind.ends is not None:
            raise Unavailable(f"{kind.detail or kind.ends}")
        if kind.event_type == "heartbeat":
            continue
        if as_json:
            client.print_json(line.rstrip())
        else:
            print("  ".join(str(part) for part in _row(client.read(line, _Event))), flush=True)


@app.command("publish")
def publish(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="external.something.happened")],
    data: Annotated[str, typer.Argument(help="What is to be told, as a JSON object.")],
    subject: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same event sent again with the same key is told once.")
    ] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Tell an event of your own."""
    try:
        told: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Invalid(f"The data are no JSON object: {error}") from error
    body = {"events": [{"event_type": type_, "data": told, "subject": subject}]}
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    content = client.connect(url, key).post("/events/publish", body, headers=headers)
    made = client.read(content, _Published)
    client.print_json(content) if as_json else print(f"Told as {made.events[0].event_id} in {made.events[0].stream}.")


@app.command("health")
def health(url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Say whether facts get their order and consumers take them."""
    content = client.connect(url, key).get("/events/health")
    if as_json:
        client.print_json(content)
        return
    one = client.read(content, _Health)
    facts(
        [
            ("status", one.status),
            *(("problem", problem) for problem in one.problems),
            ("newest position", one.position),
            ("waiting for their order", f"{one.waiting:,}, {one.waiting_seconds:g} s"),
            ("room for", f"{one.months_ahead} months"),
            ("consumers", one.consumers),
            ("in hand", one.held),
            ("waiting for another try", one.waiting_for_retry),
            ("dead letters", one.dead_letters),
        ]
    )


def _row(one: _Event) -> tuple[object, ...]:
    data = msgspec.json.encode(one.data).decode()
    shown = data if len(data) <= SHOWN_CHARACTERS else data[: SHOWN_CHARACTERS - 1] + "…"
    return one.position, one.recorded_at[:19], one.event_type, one.subject or "-", shown
