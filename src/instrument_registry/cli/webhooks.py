"""`instrument-registry webhooks`: addresses that are sent events, and what became of what was sent."""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table

app = typer.Typer(name="webhooks", help="Addresses that are sent events.", no_args_is_help=True)

PAGE = 1000
Webhook = Annotated[int, typer.Argument(help="The endpoint's id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for whoever asks next year.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="A type, a family such as instrument.*, or *; may be repeated.")
]
Instruments = Annotated[list[str] | None, typer.Option("--instrument", help="An instrument's id; may be repeated.")]


class Endpoint(msgspec.Struct):
    """What tables show of an endpoint."""

    id: int
    url: str
    owner: str
    event_types: list[str]
    state: str
    description: str = ""
    instruments: list[str] = []
    format: str = ""
    signature: str = ""
    ordered: bool = False
    bulk: bool = False
    concurrency: int = 0
    state_reason: str | None = None
    last_success_at: str | None = None
    failing_since: str | None = None
    failures: int = 0
    public_keys: list[str] = []


class _Page(msgspec.Struct):
    webhooks: list[Endpoint]


class _Made(msgspec.Struct):
    endpoint: Endpoint
    verifies_with: str


@app.command("list")
def list_(
    owner: Annotated[str | None, typer.Option(help="Only those of this owner.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List the endpoints and how they are doing."""
    content = client.connect(url, key).get("/webhooks", owner=owner, limit=PAGE)
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Page).webhooks
    if not found:
        note("There are none; `instrument-registry webhooks create https://…` makes one.")
        return
    rows = [
        (one.id, one.url, ", ".join(one.event_types), one.state, one.owner, _minute(one.last_success_at),
         _minute(one.failing_since))
        for one in found
    ]  # fmt: skip
    table(["id>", "address", "events", "state", "owner", "last taken", "failing since"], rows)


@app.command("show")
def show(webhook: Webhook, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Show one endpoint."""
    content = client.connect(url, key).get(f"/webhooks/{webhook}")
    client.print_json(content) if as_json else _print(client.read(content, Endpoint))


@app.command("create")
def create(
    address: Annotated[str, typer.Argument(help="Where to send: https://host/path.")],
    types: Types = None,
    instruments: Instruments = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    format_: Annotated[str, typer.Option("--format", help="standard, cloudevents or cloudevents_binary.")] = "standard",
    signature: Annotated[str, typer.Option(help="v1: a shared secret; v1a: a key pair.")] = "v1",
    ordered: Annotated[bool, typer.Option("--ordered", help="Events of one instrument one after the other.")] = False,
    bulk: Annotated[bool, typer.Option("--bulk", help="Each fact of a bulk run too.")] = False,
    concurrency: Annotated[int, typer.Option(help="Requests at once.")] = 8,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Have events sent to an address; what it verifies with is shown this once."""
    body = {
        "url": address, "event_types": types or ["*"], "instruments": instruments or [], "description": description,
        "owner": owner, "format": format_, "signature": signature, "ordered": ordered, "bulk": bulk,
        "concurrency": concurrency,
    }  # fmt: skip
    _made(client.connect(url, key).post("/webhooks", body), as_json=as_json)


@app.command("update")
def update(
    webhook: Webhook,
    address: Annotated[str | None, typer.Option("--address", help="Another address.")] = None,
    types: Types = None,
    instruments: Instruments = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at once.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Let an endpoint be another one in what is named."""
    named = {
        "url": address, "event_types": types, "instruments": instruments, "description": description,
        "concurrency": concurrency,
    }  # fmt: skip
    changes = {name: value for name, value in named.items() if value is not None}
    content = client.connect(url, key).patch(f"/webhooks/{webhook}", changes)
    client.print_json(content) if as_json else _print(client.read(content, Endpoint))


@app.command("pause")
def pause(webhook: Webhook, reason: Reason, url: client.Url = None, key: client.Key = None) -> None:
    """Hold everything back that is for an endpoint: it waits."""
    client.connect(url, key).post(f"/webhooks/{webhook}/pause", {"reason": reason})
    print(f"{webhook} is paused.")


@app.command("resume")
def resume(webhook: Webhook, reason: Reason, url: client.Url = None, key: client.Key = None) -> None:
    """Send an endpoint events again that was paused, or disabled because it took nothing."""
    client.connect(url, key).post(f"/webhooks/{webhook}/resume", {"reason": reason})
    print(f"{webhook} is sent events again.")


@app.command("delete")
def delete(webhook: Webhook, reason: Reason, url: client.Url = None, key: client.Key = None) -> None:
    """Send an endpoint nothing any more."""
    client.connect(url, key).delete(f"/webhooks/{webhook}", reason=reason)
    print(f"{webhook} is gone.")


@app.command("rotate")
def rotate(
    webhook: Webhook,
    overlap: Annotated[int, typer.Option(help="Seconds for which the former secret signs too.")] = 24 * 3600,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Give an endpoint another secret; it is shown this once."""
    instance = client.connect(url, key)
    _made(instance.post(f"/webhooks/{webhook}/secret", {"overlap_seconds": overlap}), as_json=as_json)


def _made(content: bytes, *, as_json: bool) -> None:
    made = client.read(content, _Made)
    if as_json:
        client.print_json(content)
        return
    _print(made.endpoint)
    print(f"\nIt verifies with {made.verifies_with}")
    if made.endpoint.signature == "v1":
        note("Keep it: nobody can look it up later.")


def _print(one: Endpoint) -> None:
    facts(
        [
            ("id", one.id), ("address", one.url), ("description", one.description), ("owner", one.owner),
            ("events", ", ".join(one.event_types)), ("instruments", ", ".join(one.instruments)),
            ("format", one.format), ("signature", one.signature), ("ordered", one.ordered), ("bulk", one.bulk),
            ("requests at once", one.concurrency), ("state", one.state), ("because", one.state_reason),
            ("last taken", _minute(one.last_success_at)), ("failing since", _minute(one.failing_since)),
            ("failures since", one.failures or None), ("public keys", " ".join(one.public_keys)),
        ]
    )  # fmt: skip


def _minute(text: str | None) -> str | None:
    return None if text is None else text[:16]
