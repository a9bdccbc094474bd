"""`instrument-registry toggles`: features that are turned off and on while it runs."""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table

app = typer.Typer(name="toggles", help="Features that are turned off and on while it runs.", no_args_is_help=True)

Feature = Annotated[str, typer.Argument(help="Which feature, for example search_catalog.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; the audit keeps it.")]
ForKey = Annotated[str | None, typer.Option("--for", help="The id of an API key to judge for; else one's own.")]


class _Toggle(msgspec.Struct):
    feature: str
    parameter: str
    enabled: bool
    percent: float
    keys: list[str]
    sources: dict[str, str]
    verdict: bool
    why: str
    key: str
    owner: str
    purpose: str
    expires_on: str | None
    overdue: bool
    version: int


class _List(msgspec.Struct):
    toggles: list[_Toggle]
    overdue: list[str]


@app.command("list")
def list_(url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Every feature: on or off, for whom, and which toggles are overdue."""
    content = client.connect(url, key).get("/actuator/toggles")
    if as_json:
        client.print_json(content)
        return
    told = client.read(content, _List)
    rows = [
        (one.feature, "on" if one.enabled else "off", _share(one), one.sources[one.parameter], one.owner,
         one.expires_on, one.purpose)
        for one in told.toggles
    ]  # fmt: skip
    table(("feature", "is", "for", "source", "owner", "ends", "what it does"), rows)
    if told.overdue:
        note(f"Overdue, to be taken out of the program: {', '.join(told.overdue)}")


@app.command("show")
def show(
    feature: Feature, judged: ForKey = None, url: client.Url = None, key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:  # fmt: skip
    """One feature, and what its toggle says for a key."""
    content = client.connect(url, key).get(f"/actuator/toggle/{client.named(feature)}", key=judged)
    client.print_json(content) if as_json else _print(client.read(content, _Toggle))


@app.command("on")
def on(
    feature: Feature,
    reason: Reason,
    percent: Annotated[float | None, typer.Option(help="For which share of the keys.", min=0, max=100)] = None,
    keys: Annotated[list[str] | None, typer.Option("--id", help="The id of a key it is on for anyway; repeat.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Turn a feature on: for everybody, or for a share of the keys and for those named."""
    body: dict[str, object] = {"enabled": True, "reason": reason}
    body |= {} if percent is None else {"percent": percent}
    body |= {} if keys is None else {"keys": keys}
    _turn(client.connect(url, key), feature, body, as_json=as_json)


@app.command("off")
def off(
    feature: Feature, reason: Reason, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False
) -> None:
    """Turn a feature off for everybody; its share and its keys stay for when it is on again."""
    _turn(client.connect(url, key), feature, {"enabled": False, "reason": reason}, as_json=as_json)


def _turn(instance: client.Client, feature: str, body: dict[str, object], *, as_json: bool) -> None:
    content = instance.post(f"/actuator/toggle/{client.named(feature)}", body)
    client.print_json(content) if as_json else _print(client.read(content, _Toggle))


def _share(one: _Toggle) -> str:
    if one.percent >= 100:
        return "everybody"
    named = f" and {len(one.keys)} named" if one.keys else ""
    return f"{one.percent:g} % of keys{named}"


def _print(one: _Toggle) -> None:
    facts(
        [
            ("feature", one.feature), ("is", "on" if one.enabled else "off"), ("for", _share(one)),
            ("keys", ", ".join(one.keys)), (f"for {one.key}", f"{'on' if one.verdict else 'off'} ({one.why})"),
            ("source", one.sources[one.parameter]), ("owner", one.owner), ("ends", one.expires_on),
            ("overdue", "yes: take it out of the program" if one.overdue else None), ("what it does", one.purpose),
            ("parameter", one.parameter), ("version", one.version),
        ]
    )  # fmt: skip
