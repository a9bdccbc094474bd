"""`instrument-registry show`: everything about one instrument, its past too."""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import ABSENT, console, facts, note, table

FACTS_SHOWN = 20


class _Instrument(msgspec.Struct):
    id: str
    key: str
    symbol: str
    name: str | None
    kind: str
    cfi: str
    venue: str
    mic: str | None
    segment: str
    exchange: str
    series: str | None
    isin: str | None
    underlying: str | None
    expiry: str | None
    strike: str | None
    option_type: str | None
    lot_size: int | None
    multiplier: str | None
    quote_unit: str | None = None
    tick_size: str | None = None
    freeze_qty: int | None = None
    face_value: str | None = None
    currency: str | None = None
    asset_class: str | None = None
    surveillance: str | None = None
    status: str = ""
    is_test: bool = False
    streamable: bool = True
    overridden: dict[str, str | int | None] | None = None


class _Token(msgspec.Struct):
    broker: str
    segment: str | None
    token: str
    symbol: str | None
    valid_from: str | None
    valid_to: str | None
    lot_size: int | None
    tick_size: str | None


class _Tokens(msgspec.Struct):
    tokens: list[_Token]
    disagreements: dict[str, dict[str, str]] | None


class _Version(msgspec.Struct):
    key: str
    valid_from: str
    valid_to: str | None
    known_from: str
    known_to: str | None
    name: str | None
    isin: str | None
    series: str | None
    lot_size: int | None
    tick_size: str | None
    suspended: bool


class _Fact(msgspec.Struct):
    type: str
    occurred_at: str
    data: dict[str, object]


class _History(msgspec.Struct):
    listed_on: str
    ended_on: str | None
    ended_as: str | None
    versions: list[_Version]
    events: list[_Fact]


class _Override(msgspec.Struct):
    id: int
    field: str
    value: str
    reason: str
    valid_from: str
    valid_to: str
    in_force: bool
    actor: str
    withdrawn_by: str | None


class _Overrides(msgspec.Struct):
    overrides: list[_Override]


def show(
    identifier: Annotated[str, typer.Argument(help="A key, id, symbol, isin:… or broker:token.")],
    as_of: Annotated[str | None, typer.Option(help="As of this market date, YYYY-MM-DD.")] = None,
    as_known_at: Annotated[
        str | None, typer.Option(help="As far as was known at this instant, 2026-08-18T09:00:00Z.")
    ] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Show an instrument: attributes, broker tokens, overrides, and its history.

    With --json four documents, one a line: the instrument, its tokens, its overrides, its history.
    """
    instance = client.connect(url, key)
    path = f"/instruments/{client.named(identifier)}"
    instrument = instance.get(path, as_of=as_of, as_known_at=as_known_at)
    shown = client.read(instrument, _Instrument)
    # From here on by its id: the identifier may mean another instrument on another day.
    by_id = f"/instruments/{shown.id}"
    tokens = instance.get(f"{by_id}/tokens", as_of=as_of, as_known_at=as_known_at)
    overrides = instance.get(f"{by_id}/overrides")
    history = instance.get(f"{by_id}/history", as_of=as_of, as_known_at=as_known_at)
    if as_json:
        client.print_json(instrument, tokens, overrides, history)
        return
    past = client.read(history, _History)
    _print_instrument(shown, past)
    _print_tokens(client.read(tokens, _Tokens))
    _print_overrides(client.read(overrides, _Overrides).overrides)
    _print_history(past)


def _print_instrument(one: _Instrument, past: _History) -> None:
    lived = f"since {past.listed_on}" + (f", {past.ended_as} {past.ended_on}" if past.ended_on else "")
    market = " ".join(part for part in (one.exchange, one.segment, f"({one.mic})" if one.mic else "") if part)
    kind = " ".join(part for part in (one.kind, f"on {one.asset_class}" if one.asset_class else "", one.cfi) if part)
    facts([
        ("key", one.key), ("name", one.name), ("symbol", one.symbol), ("id", one.id),
        ("kind", kind), ("market", market), ("series", one.series), ("isin", one.isin), ("underlying", one.underlying),
        ("expiry", one.expiry), ("strike", one.strike), ("option type", one.option_type),
        ("lot size", _own(one, "lot_size")), ("multiplier", _own(one, "multiplier")), ("quote unit", one.quote_unit),
        ("tick size", _own(one, "tick_size")), ("freeze quantity", _own(one, "freeze_qty")),
        ("face value", one.face_value), ("currency", one.currency), ("surveillance", one.surveillance),
        ("test row", True if one.is_test else None), ("streamable", None if one.streamable else False),
        ("status", f"{one.status}, {lived}"),
    ])  # fmt: skip


def _own(one: _Instrument, field: str) -> str | int | None:
    value: str | int | None = getattr(one, field)
    files_say = one.overridden or {}
    if field not in files_say:
        return value
    return f"{value} (overridden; the files say {files_say[field] or ABSENT})"


def _print_tokens(told: _Tokens) -> None:
    console().print()
    table(
        ["broker", "segment", "token", "symbol", "lot>", "tick>", "from", "until before"],
        [
            (one.broker, one.segment, one.token, one.symbol, one.lot_size, one.tick_size, one.valid_from, one.valid_to)
            for one in told.tokens
        ],
        title="Broker tokens",
    )
    for attribute, said in (told.disagreements or {}).items():
        note(f"brokers disagree on {attribute}: {', '.join(f'{broker} {value}' for broker, value in said.items())}")


def _print_overrides(overrides: list[_Override]) -> None:
    if not overrides:
        return
    console().print()
    rows = [
        (one.id, one.field, one.value, one.valid_from, one.valid_to, _state(one), one.actor, one.reason)
        for one in overrides
    ]
    table(["id>", "field", "value", "from", "until before", "state", "by", "reason"], rows, title="Overrides")


def _state(one: _Override) -> str:
    if one.withdrawn_by is not None:
        return f"withdrawn by {one.withdrawn_by}"
    return "in force" if one.in_force else "not in force"


def _print_history(past: _History) -> None:
    console().print()
    rows = [
        (
            one.valid_from, one.valid_to, one.key, one.name, one.series, one.isin, one.lot_size, one.tick_size,
            "suspended" if one.suspended else None, one.known_from[:16], one.known_to[:16] if one.known_to else None,
        )
        for one in past.versions
    ]  # fmt: skip
    columns = [
        "from",
        "until before",
        "key",
        "name",
        "series",
        "isin",
        "lot>",
        "tick>",
        "state",
        "known since",
        "known until",
    ]
    table(columns, rows, title="Versions")
    console().print()
    told = [(one.occurred_at[:16], one.type, _change(one)) for one in past.events[-FACTS_SHOWN:]]
    table(["told at", "fact", "change"], told, title="Facts")
    if len(past.events) > FACTS_SHOWN:
        note(f"The last {FACTS_SHOWN} of {len(past.events)} facts; --json has all.")


def _change(fact: _Fact) -> str:
    """What a fact says was and is, as `field old > new`."""
    old, new = fact.data.get("old"), fact.data.get("new")
    before, after = (part if isinstance(part, dict) else {} for part in (old, new))
    changes = [
        f"{name} {before.get(name, ABSENT)} > {after.get(name, ABSENT)}" if name in before else f"{name} {after[name]}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    return ", ".join(changes)
