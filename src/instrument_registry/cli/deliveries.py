"""`instrument-registry deliveries`: what was sent to webhook endpoints, and what is to be sent once more."""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table
from instrument_registry.cli.webhooks import Instruments, Reason, Types, Webhook

app = typer.Typer(name="deliveries", help="What was sent to webhook endpoints.", no_args_is_help=True)

Delivery = Annotated[int, typer.Argument(help="The delivery's id.")]
ReplayId = Annotated[int, typer.Argument(help="The replay's id.")]


class _Delivery(msgspec.Struct):
    id: int
    event_id: str
    type: str
    status: str
    attempts: int
    due_at: str
    created_at: str
    subject: str | None = None
    position: int | None = None
    finished_at: str | None = None
    answer: int | None = None
    problem: str | None = None


class _Attempt(msgspec.Struct):
    number: int
    at: str
    url: str
    body_bytes: int
    duration_ms: int
    answer: int | None = None
    problem: str | None = None


class _Told(msgspec.Struct):
    delivery: _Delivery
    attempts: list[_Attempt]


class _Page(msgspec.Struct):
    deliveries: list[_Delivery]


class _Replay(msgspec.Struct):
    id: int
    status: str
    first_position: int
    last_position: int
    position: int
    made: int
    waiting: int
    reason: str
    actor: str


class _ReplayAnswer(msgspec.Struct):
    events: int | None = None
    replay: _Replay | None = None


class _Replays(msgspec.Struct):
    replays: list[_Replay]


@app.command("list")
def list_(
    webhook: Webhook,
    status: Annotated[str | None, typer.Option(help="waiting, delivered, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 50,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List what was sent to an endpoint, or waits to be."""
    content = client.connect(url, key).get(f"/webhooks/{webhook}/deliveries", status=status, limit=limit)
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Page).deliveries
    if not found:
        note("There are none.")
        return
    rows = [
        (one.id, one.type, one.subject, one.status, one.attempts, one.answer or one.problem, one.created_at[:19],
         one.due_at[:19] if one.status == "waiting" else None)
        for one in found
    ]  # fmt: skip
    table(["id>", "type", "about", "status", "attempts>", "last answer", "made", "due"], rows)


@app.command("show")
def show(
    webhook: Webhook,
    delivery: Delivery,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Show one delivery with every request of it."""
    content = client.connect(url, key).get(f"/webhooks/{webhook}/deliveries/{delivery}")
    if as_json:
        client.print_json(content)
        return
    told = client.read(content, _Told)
    one = told.delivery
    facts([("id", one.id), ("webhook-id", one.event_id), ("type", one.type), ("about", one.subject),
           ("position", one.position), ("status", one.status)])  # fmt: skip
    rows = [
        (one.number, one.at[:23], one.url, one.body_bytes, one.answer, one.problem, one.duration_ms)
        for one in told.attempts
    ]
    table(["attempt>", "at", "address", "bytes>", "answer>", "problem", "ms>"], rows)


@app.command("ping")
def ping(webhook: Webhook, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Try an endpoint with a message of type webhook.ping."""
    _due(client.connect(url, key).post(f"/webhooks/{webhook}/ping", {}), webhook, as_json=as_json)


@app.command("rerun")
def rerun(
    webhook: Webhook,
    delivery: Delivery,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Send one event once more, under the same id."""
    content = client.connect(url, key).post(f"/webhooks/{webhook}/deliveries/{delivery}/rerun", {})
    _due(content, webhook, as_json=as_json)


@app.command("replay")
def replay(
    webhook: Webhook,
    reason: Reason,
    first: Annotated[int | None, typer.Option("--from", help="The first position.")] = None,
    last: Annotated[int | None, typer.Option("--to", help="The last position; else the newest.")] = None,
    since: Annotated[str | None, typer.Option(help="Recorded since, for example 2026-08-18T03:30:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded up to.")] = None,
    types: Types = None,
    instruments: Instruments = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many events it would send.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Send many events once more, in the background."""
    asked = {
        "reason": reason, "first_position": first, "last_position": last, "since": since, "until": until,
        "event_types": types or ["*"], "instruments": instruments or [], "dry_run": dry_run,
    }  # fmt: skip
    content = client.connect(url, key).post(f"/webhooks/{webhook}/replays", asked)
    told = client.read(content, _ReplayAnswer)
    if as_json:
        client.print_json(content)
    elif told.replay is None:
        print(f"It would send {told.events:,} events.")
    else:
        print(f"The replay {told.replay.id} has begun.")


@app.command("replays")
def replays(webhook: Webhook, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """List the replays of an endpoint and how far they have come."""
    content = client.connect(url, key).get(f"/webhooks/{webhook}/replays")
    if as_json:
        client.print_json(content)
        return
    rows = [
        (one.id, one.status, f"{one.first_position} to {one.last_position}", one.position, one.made, one.waiting,
         one.actor, one.reason)
        for one in client.read(content, _Replays).replays
    ]  # fmt: skip
    table(["id>", "status", "positions", "has come to>", "made due>", "waiting>", "by", "reason"], rows)


@app.command("cancel")
def cancel(webhook: Webhook, replay: ReplayId, reason: Reason, url: client.Url = None, key: client.Key = None) -> None:
    """Stop a replay: what of it still waits is not sent."""
    client.connect(url, key).post(f"/webhooks/{webhook}/replays/{replay}/cancel", {"reason": reason})
    print(f"The replay {replay} is stopped.")


def _due(content: bytes, webhook: int, *, as_json: bool) -> None:
    made = client.read(content, _Delivery)
    if as_json:
        client.print_json(content)
    else:
        print(f"It is due; `instrument-registry deliveries show {webhook} {made.id}` says what came of it.")
