"""What tickers follow: a lease on an account, its steps as they come, and acknowledgements."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import KeyRejected, Scope
from instrument_registry.configuration.parameters import TICKER_LEASE
from instrument_registry.errors import Forbidden, Unavailable
from instrument_registry.events.streams.signals import Signals
from instrument_registry.http.auth import authorize, metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_bytes, json_response
from instrument_registry.http.flowing import Flowing, Flows, TooManyFlows
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.queries import read_query
from instrument_registry.http.resuming import LAST_EVENT_ID, last_seen, line
from instrument_registry.http.routes import needs, room
from instrument_registry.http.streams import KEY_CHECKED_SECONDS, NDJSON, SSE
from instrument_registry.subscriptions.capacity.terms import NoSuchAccount
from instrument_registry.subscriptions.plans import storage, telling, tickers
from instrument_registry.subscriptions.plans.model import (
    AccountTaken,
    DeltasGone,
    NotThereYet,
    StaleEpoch,
)
from instrument_registry.subscriptions.plans.storage import DeltaRow
from instrument_registry.subscriptions.plans.tickers import Snapshot
from instrument_registry.wiring import Registry

AT = "/subscriptions"
HEARTBEAT_SECONDS = 5.0
SNAPSHOT = "snapshot"
Account = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$", description="SHA-256 of `segment|token|mode` lines.")]


class LeaseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who follows the account: a name that a ticker keeps when it starts again."""

    holder: Annotated[str, msgspec.Meta(pattern="^[!-~]{1,100}$")]


class LeaseShown(msgspec.Struct, frozen=True, kw_only=True):
    """Who follows an account until when; the epoch goes with every acknowledgement."""

    account: str
    epoch: int
    holder: str
    expires_at: datetime


class LeaseEndQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which epoch the lease is that ends."""

    epoch: Annotated[int, msgspec.Meta(ge=1, le=2**62)]


class DeltaQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """Whose steps, after which position; `snapshot`: first all that is carried, then what follows."""

    account: Account
    start: Annotated[
        str, msgspec.Meta(pattern="^(snapshot|0|[1-9][0-9]{0,17})$", description="A position, or `snapshot`.")
    ] = SNAPSHOT
    follow: bool = True


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a ticker is sent: a snapshot of a connection, a step, a sign of life, or why it ends."""

    kind: Literal["snapshot", "remove", "mode", "add", "heartbeat", "end"]
    account: str
    position: int | None = None
    plan_id: str | None = None
    connection: str | None = None
    items: list[dict[str, Any]] | None = None
    frames: list[dict[str, Any]] | None = None
    digest_before: str | None = None
    digest_after: str | None = None
    after: dict[str, Any] | None = None
    breaks: bool = False
    at: datetime | None = None
    reason: str | None = None


class AckBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a ticker has come in an account, under which lease, and what its connections then carry."""

    account: Account
    epoch: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    position: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    connections: Annotated[dict[Account, Digest], msgspec.Meta(max_length=1000)]


class AckAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that carry something else than they should, and the digests they should have; the last position."""

    resync: list[str]
    expected: dict[str, str]
    head: int


class AccountConvergence(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a ticker carries what is live, how far it has come of `head` steps, and which connections differ."""

    converged: bool
    head: int
    position: int | None
    differs: list[str]


class AcksAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is live, and of each account whether it is carried so; with the leases there are."""

    plan_id: str | None
    converged: bool
    accounts: dict[str, AccountConvergence]
    leases: list[LeaseShown]


class AssignmentsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which account or connection, page by page."""

    account: Account | None = None
    connection: Account | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 1000
    offset: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0


class AssignmentsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Where instruments are carried by the live plan; `total` counts instruments, not copies."""

    plan_id: str | None
    assignments: list[dict[str, Any]]
    total: int
    limit: int
    offset: int


router = room(tag="subscriptions")


@router.post(
    f"{AT}/leases/{{account}}",
    **describe(
        body=LeaseBody, answer=LeaseShown, means="The account is yours to follow until then",
        problems=(NoSuchAccount, AccountTaken),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
@costs(RouteClass.WRITE)
async def take_lease(request: Request) -> Response:
    """Follow an account, or go on following it: of two tickers the second is refused while the first one's lasts."""
    registry: Registry = request.app.state.registry
    asked, account = await read_json(request, LeaseBody), named(request.scope, "account")
    seconds = float(registry.configuration.now[TICKER_LEASE])
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        lease = await tickers.take_lease(tx, account, holder=asked.holder, seconds=seconds, metadata=metadata, at=at)
    await events.wake(registry.database)
    return json_response(_lease(lease))


@router.delete(
    f"{AT}/leases/{{account}}",
    **describe(query=LeaseEndQuery, status=204, means="Others may follow it at once", problems=(StaleEpoch,)),
)
@needs(Scope.OPERATOR)
async def end_lease(request: Request) -> Response:
    """Follow an account no more."""
    registry: Registry = request.app.state.registry
    asked, account = read_query(request.scope, LeaseEndQuery), named(request.scope, "account")
    async with registry.database.transaction() as tx:
        await tickers.end_lease(tx, account, epoch=asked.epoch, at=registry.clock())
    return Response(status_code=204)


@router.get(
    f"{AT}/deltas",
    **describe(
        query=DeltaQuery,
        headers={LAST_EVENT_ID: "The position of the last step that came: go on after it."},
        media={
            NDJSON: {"schema": {"type": "string", "description": "One snapshot, step or heartbeat a line"}},
            SSE: {"schema": {"type": "string"}},
        },
        means="Steps as they come; Server-Sent Events where Accept asks for text/event-stream",
        problems=(NoSuchAccount, DeltasGone, NotThereYet, TooManyFlows),
    ),
)
async def follow_deltas(request: Request) -> Response:
    """The steps of an account in their one order, without a gap, with the frames that go over the broker's socket."""
    registry: Registry = request.app.state.registry
    flows: Flows = request.app.state.flows
    asked = read_query(request.scope, DeltaQuery)
    server_sent = SSE in request.headers.get("accept", "")
    first, after = await _first(registry, request, asked)
    pieces = _pieces(
        registry, request, asked.account, first=first, after=after, follow=asked.follow, server_sent=server_sent
    )
    farewell = _written(Line(kind="end", account=asked.account, reason="stopping"), server_sent=server_sent)
    media = (SSE if server_sent else NDJSON).encode()
    return Flowing(pieces, flows=flows, media_type=media, farewell=farewell, headers={})


@router.post(
    f"{AT}/acks",
    **describe(body=AckBody, answer=AckAnswer, means="It is kept", problems=(StaleEpoch, NotThereYet)),
)
@needs(Scope.OPERATOR)
@costs(RouteClass.WRITE)
async def acknowledge(request: Request) -> Response:
    """Say how far a ticker has come and what it carries; where that is not what it should be, begin with a snapshot."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, AckBody)
    async with registry.database.transaction() as tx:
        said = await tickers.acknowledge(
            tx, registry.planning.memory, asked.account, epoch=asked.epoch, position=asked.position,
            carries=asked.connections, at=registry.clock(),
        )  # fmt: skip
    return json_response(AckAnswer(resync=said.resync, expected=said.expected, head=said.head))


@router.get(f"{AT}/acks", **describe(answer=AcksAnswer, means="How far tickers have come"))
async def convergence(request: Request) -> Response:
    """Whether what is live is what tickers carry."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        live = await storage.live(tx)
        accounts = await tickers.converged(tx, registry.planning.memory)
        leases = await storage.leases(tx)
    told = {name: msgspec.convert(one, AccountConvergence) for name, one in accounts.items()}
    answer = AcksAnswer(
        plan_id=live.plan_id, converged=all(one.converged for one in told.values()), accounts=told,
        leases=[_lease(one) for one in leases],
    )  # fmt: skip
    return json_response(answer)


@router.get(f"{AT}/assignments", **describe(query=AssignmentsQuery, answer=AssignmentsPage, means="Who is where"))
async def list_assignments(request: Request) -> Response:
    """What the live plan carries, and where."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, AssignmentsQuery)
    async with registry.database.transaction(read_only=True) as tx:
        live, content = await registry.planning.memory.live(tx)
    places = [] if content is None else telling.places_of(content, account=asked.account, connection=asked.connection)
    some = places[asked.offset : asked.offset + asked.limit]
    listed = [] if content is None else telling.assignments(content, some)
    page = AssignmentsPage(
        plan_id=live.plan_id, assignments=listed, total=len(places), limit=asked.limit, offset=asked.offset
    )
    return json_response(page)


async def _first(registry: Registry, request: Request, asked: DeltaQuery) -> tuple[list[Snapshot], int]:
    """What a stream begins with, and after which position it goes on; Raises: as `tickers.steps`."""
    last = last_seen(request, what="step", counts="position")
    async with registry.database.transaction(isolation="repeatable read", read_only=True) as tx:
        if last is None and asked.start == SNAPSHOT:
            told = await tickers.snapshots(tx, registry.planning.memory, asked.account, at=registry.clock())
            return told, told[0].position if told else 0
        after = int(asked.start) if last is None else last
        await tickers.steps(tx, asked.account, after=after, at=registry.clock())
    return [], after


async def _pieces(
    registry: Registry,
    request: Request,
    account: str,
    *,
    first: list[Snapshot],
    after: int,
    follow: bool,
    server_sent: bool,
) -> AsyncGenerator[bytes, None]:
    now = asyncio.get_running_loop().time
    signals: Signals = request.app.state.signals
    for snapshot in first:
        yield _written(_snapshot(snapshot), server_sent=server_sent)
    said_at = now()
    with signals.subscribed() as woken:
        while True:
            woken.heed()
            try:
                async with registry.database.transaction(read_only=True) as tx:
                    steps = await tickers.steps(tx, account, after=after, at=registry.clock())
            except DeltasGone as gone:
                yield _written(Line(kind="end", account=account, reason=str(gone)), server_sent=server_sent)
                return
            except Unavailable:
                steps = []  # what is live goes on; the steps come when the database is back
            for step in steps:
                after, said_at = step.position, now()
                yield _written(_step(step), server_sent=server_sent)
            if not steps and not follow:
                return
            if now() >= said_at + HEARTBEAT_SECONDS:
                said_at = now()
                yield _written(Line(kind="heartbeat", account=account, position=after), server_sent=server_sent)
            if not steps:
                try:
                    await authorize(request.scope, Scope.READER)
                except (KeyRejected, Forbidden) as error:
                    yield _written(
                        Line(kind="end", account=account, reason=f"refused: {error}"), server_sent=server_sent
                    )
                    return
                except Unavailable:
                    pass  # nobody can say now whether the key still holds
                await woken.wait(KEY_CHECKED_SECONDS)


def _snapshot(one: Snapshot) -> Line:
    return Line(
        kind="snapshot", account=one.account, position=one.position, plan_id=one.plan_id, connection=one.connection,
        items=one.items, frames=one.frames, digest_after=one.digest,
    )  # fmt: skip


def _step(row: DeltaRow) -> Line:
    content = msgspec.json.decode(storage.inflated(row.items))
    after = None
    if row.after_account is not None:
        after = {"account": row.after_account, "position": row.after_position}
    return Line(
        kind=row.act,  # type: ignore[arg-type]
        account=row.account, position=row.position, plan_id=row.plan_id, connection=row.connection,
        items=content["items"], frames=content["frames"], digest_before=row.digest_before,
        digest_after=row.digest_after, after=after, breaks=row.breaks, at=row.at,
    )  # fmt: skip


def _written(one: Line, *, server_sent: bool) -> bytes:
    number = None if one.kind in ("heartbeat", "end") else one.position
    return line(json_bytes(one), one.kind, number=number, server_sent=server_sent)


def _lease(lease: storage.Lease) -> LeaseShown:
    return LeaseShown(account=lease.account, epoch=lease.epoch, holder=lease.holder, expires_at=lease.expires_at)
