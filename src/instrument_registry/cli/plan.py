"""`instrument-registry plan`: what is planned, applied, explained, compared; and `what-if`."""

from typing import Annotated, Any, Literal

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table
from instrument_registry.errors import Invalid

app = typer.Typer(name="plan", help="Who is carried where: plan, look, apply, put back.", no_args_is_help=True)

AT = "/subscriptions"
SHOWN_MAX = 50
PlanId = Annotated[str, typer.Argument(help="The plan's id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for whoever asks next year.")]
Level = Literal["low", "moderate", "aggressive"]


class _Plan(msgspec.Struct):
    plan_id: str
    status: str
    level: str
    quality: str | None
    summary: dict[str, Any]
    made_at: str
    held_because: str | None
    faults: list[str]


class _Answer(msgspec.Struct):
    plan: _Plan
    cache_hit: bool


class _Plans(msgspec.Struct):
    plans: list[_Plan]
    total: int


class _Applied(msgspec.Struct):
    plan_id: str
    previous: str | None
    steps: dict[str, int]
    added: int
    removed: int
    changed: int


class _Difference(msgspec.Struct):
    accounts: dict[str, dict[str, int]]
    steps: list[dict[str, Any]]


class _Explained(msgspec.Struct):
    key: str
    wanted_by: int
    users: int
    mode: str | None
    tier: int | None
    state: str
    reason: dict[str, Any] | None
    references: list[dict[str, Any]]
    assignments: list[dict[str, Any]]


class _Supposed(msgspec.Struct):
    summary: dict[str, Any]
    steps: dict[str, dict[str, int]]
    dropped: list[dict[str, Any]]
    dropped_count: int


@app.command()
def make(
    level: Annotated[Level | None, typer.Option(help="Else as the parameters say.")] = None,
    fresh: Annotated[bool, typer.Option(help="Also where the question has been answered already.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Plan all demand on all accounts; nothing that is live changes."""
    body: dict[str, object] = {"fresh": fresh} | ({} if level is None else {"level": level})
    content = client.connect(url, key).post(f"{AT}/plan", body)
    if as_json:
        client.print_json(content)
        return
    made = client.read(content, _Answer)
    note("It had been planned already." if made.cache_hit else "A plan was made.")
    _show(made.plan)


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only of this status: validated, applied …")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200)] = 20,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List plans, the newest first."""
    content = client.connect(url, key).get(f"{AT}/plans", status=status, limit=limit)
    if as_json:
        client.print_json(content)
        return
    plans = client.read(content, _Plans).plans
    if not plans:
        note("Nothing has been planned yet.")
        return
    table(
        ["plan", "status", "level", "quality", "demanded>", "served>", "dropped>", "moved>", "forced>", "made at"],
        [
            [
                one.plan_id, one.status, one.level, one.quality,
                *(one.summary.get(name) for name in ("demanded", "served", "dropped", "moved", "forced")), one.made_at,
            ]
            for one in plans
        ],
    )  # fmt: skip


@app.command()
def show(plan: PlanId, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Show one plan: tiers, connections, and what was short."""
    content = client.connect(url, key).get(f"{AT}/plans/{plan}")
    if as_json:
        client.print_json(content)
        return
    _show(client.read(content, _Plan))


@app.command()
def apply(
    plan: PlanId,
    reason: Reason,
    expected_live: Annotated[
        str | None, typer.Option(help="What is live as far as you know; none: nothing is.")
    ] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Make a plan live; tickers are told every step."""
    body = {"expected_live": expected_live, "reason": reason}
    _applied(client.connect(url, key).post(f"{AT}/plans/{plan}/apply", body), as_json=as_json)


@app.command()
def rollback(reason: Reason, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Put the plan before the live one back; nothing is applied by itself until one is applied again."""
    _applied(client.connect(url, key).post(f"{AT}/plans/rollback", {"reason": reason}), as_json=as_json)


@app.command()
def diff(
    before: PlanId,
    after: Annotated[str, typer.Argument(help="The other plan's id.")],
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Show what leads from one plan to another."""
    content = client.connect(url, key).get(f"{AT}/plans/{before}/diff/{after}")
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Difference)
    if not found.steps:
        note("They carry the same in the same places.")
        return
    shown = found.steps[:SHOWN_MAX]
    columns = ["account", "connection", "act", "instrument", "mode", "breaks"]
    table(columns, [[one[name] for name in ("account", "connection", "act", "key", "mode", "breaks")] for one in shown])
    if len(found.steps) > len(shown):
        note(f"… and {len(found.steps) - len(shown)} more; --json shows all.")


@app.command()
def explain(
    symbol: Annotated[str, typer.Argument(help="Its key, id, token or symbol.")],
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Say who wants an instrument, where it is carried, or why it is not."""
    content = client.connect(url, key).get(f"{AT}/explain/{client.named(symbol)}")
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Explained)
    reason = found.reason or {}
    facts(
        {
            "instrument": found.key, "state": found.state, "why": reason.get("detail") or reason.get("reason"),
            "would fit if": reason.get("would_fit_if"), "mode": found.mode, "tier": found.tier,
            "wanted by": f"{found.wanted_by} wants of {found.users} users",
        }.items()
    )  # fmt: skip
    for one in found.assignments:
        note(f"On {one['connection']} of {one['account']} ({one['broker']}) as {one['mode']}, token {one['token']}.")


def what_if(
    lose_account: Annotated[list[str] | None, typer.Option(help="An account that would be lost.")] = None,
    lose_connection: Annotated[list[str] | None, typer.Option(help="A connection that would be lost.")] = None,
    limit: Annotated[list[str] | None, typer.Option(help="ACCOUNT=NUMBER: what its connections would carry.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="NUMBER[:MODE[:PRIORITY]]: so many more wanted.")] = None,
    at: Annotated[str | None, typer.Option(help="At this time, as 2026-08-25T15:31:00+05:30.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Plan as if something were otherwise: what would be served, moved and dropped. Nothing is changed."""
    body: dict[str, object] = {
        "lose_accounts": lose_account or [], "lose_connections": lose_connection or [],
        "limits": dict(_limit(one) for one in limit or []), "add": [_more(one) for one in add or []], "at": at,
    }  # fmt: skip
    content = client.connect(url, key).post(f"{AT}/what-if", body)
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Supposed)
    told = found.summary
    facts((name, told.get(name)) for name in ("demanded", "served", "dropped", "moved", "forced", "quality"))
    if found.dropped:
        columns = ["instrument", "mode", "tier>", "why", "would fit if"]
        names = ("key", "mode", "tier", "detail", "would_fit_if")
        table(columns, [[one[name] for name in names] for one in found.dropped[:SHOWN_MAX]])
        if found.dropped_count > SHOWN_MAX:
            note(f"… and {found.dropped_count - SHOWN_MAX} more; --json shows up to 10,000.")


def _limit(text: str) -> tuple[str, int]:
    account, _, number = text.rpartition("=")
    if not account or not number.isdecimal():
        raise Invalid(f"--limit {text!r} is not ACCOUNT=NUMBER, as KITE1=5000", field="limit", value=text)
    return account, int(number)


def _more(text: str) -> dict[str, object]:
    number, _, rest = text.partition(":")
    mode, _, priority = rest.partition(":")
    if not number.isdecimal() or (priority and not priority.isdecimal()):
        raise Invalid(f"--add {text!r} is not NUMBER[:MODE[:PRIORITY]], as 500:full:80", field="add", value=text)
    more: dict[str, object] = {"count": int(number)}
    return more | ({"mode": mode} if mode else {}) | ({"priority": int(priority)} if priority else {})


def _applied(content: bytes, *, as_json: bool) -> None:
    if as_json:
        client.print_json(content)
        return
    done = client.read(content, _Applied)
    note(f"Live is {done.plan_id}: {done.added} added, {done.removed} removed, {done.changed} in another mode.")
    if done.steps:
        table(["account", "steps>"], sorted(done.steps.items()))


def _show(plan: _Plan) -> None:
    told = plan.summary
    facts(
        {
            "plan": plan.plan_id, "status": plan.status, "level": plan.level, "quality": plan.quality,
            "waits because": plan.held_because, "faults": "; ".join(plan.faults) or None,
            **{name: told.get(name) for name in ("demanded", "served", "dropped", "moved", "forced", "gap")},
        }.items()
    )  # fmt: skip
    if tiers := told.get("tiers"):
        counts = ("tier", "demanded", "served", "dropped", "bound")
        table([f"{name}>" for name in counts], [[one[name] for name in counts] for one in tiers])
    if connections := told.get("connections"):
        names = ("account", "connection", "use", "carries", "most", "ltp", "quote", "full")
        columns = ["account", "connection", "use", "carries>", "most>", "ltp>", "quote>", "full>"]
        table(columns, [[one[name] for name in names] for one in connections])
    for one in told.get("drops", [])[:SHOWN_MAX]:
        fit = f" They would fit if {one['would_fit_if']}." if one.get("would_fit_if") else ""
        note(f"{one['count']} dropped: {one['detail']}.{fit}")
