"""Capacity: what accounts at brokers can carry, with each number's source, and how their connections are."""

from datetime import date
from functools import partial
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import Scope
from instrument_registry.catalog import lookup
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.configuration.parameters import CONNECTION_LOST_AFTER
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.capacity_shapes import (
    CapacityBody,
    CapacityChanges,
    CapacityShown,
    CapacityVersionShown,
    HealthBody,
    HealthShown,
    HeardShown,
    VenueShown,
    Why,
    capacity_shown,
    connection_shown,
    venue_shown,
    version_shown,
)
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.preconditions import MATCHED, expected_version, version_tag
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.subscriptions.capacity import VENUES, reporting, service
from instrument_registry.subscriptions.capacity.model import UnknownVenue
from instrument_registry.subscriptions.capacity.reporting import EpochOver, NoSuchConnection, Report
from instrument_registry.subscriptions.capacity.terms import (
    CapacityChangedSince,
    CapacityRefused,
    KeyShared,
    NoSuchAccount,
)
from instrument_registry.subscriptions.silence import watching
from instrument_registry.wiring import Registry

CAPACITY = "/subscriptions/capacity"


class CapacityList(msgspec.Struct, frozen=True, kw_only=True):
    """Every account; `standing` grows with every change of limits and of health."""

    standing: int
    accounts: list[CapacityShown]


class VenueList(msgspec.Struct, frozen=True, kw_only=True):
    """The built-in profiles of brokers."""

    venues: list[VenueShown]


class CapacityVersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of an account, the newest first."""

    versions: list[CapacityVersionShown]
    pagination: Pagination


class CapacityHistoryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the history."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class HealthQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether last ticks are wanted too, and who is silent."""

    ticks: bool = False


class RetirementQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an account carries nothing any more."""

    reason: Why


SAYING = (UnknownVenue, CapacityRefused, KeyShared, CapacityChangedSince)
router = room(tag="subscriptions")


@router.get(CAPACITY, **describe(answer=CapacityList, means="The accounts"))
@needs(Scope.READER)
async def list_capacity(request: Request) -> Response:
    """Every account that is not retired: each number with its source, day and certainty, and its connections."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        stands = await service.standing(tx, at=registry.clock())
        accounts, states = await service.listed(tx), await reporting.all_connections(tx)
    shown = [capacity_shown(one, states.get(one.name, [])) for one in accounts]
    return json_response(CapacityList(standing=stands.version, accounts=shown))


@router.get(f"{CAPACITY}/venues", **describe(answer=VenueList, means="The built-in profiles"))
@needs(Scope.READER)
async def list_venues(request: Request) -> Response:
    """What is known of brokers' feeds without anybody saying it: a new account begins with these numbers."""
    return json_response(VenueList(venues=[venue_shown(one) for _, one in sorted(VENUES.items())]))


@router.get(
    f"{CAPACITY}/{{account}}",
    **describe(answer=CapacityShown, means="The account", problems=(NoSuchAccount,), tagged=True),
)
@needs(Scope.READER)
async def one_capacity(request: Request) -> Response:
    """An account; its ETag is for If-Match."""
    return await _shown(request, named(request.scope, "account"))


@router.put(
    f"{CAPACITY}/{{account}}",
    **describe(
        body=CapacityBody, headers=MATCHED, answer=CapacityShown, means="The account as it is now", problems=SAYING
    ),
)
@needs(Scope.OPERATOR)
async def put_capacity(request: Request) -> Response:
    """Say everything of an account, whatever was said before; one that is not there yet or was retired is made."""
    registry: Registry = request.app.state.registry
    asked, account = await read_json(request, CapacityBody), named(request.scope, "account")
    version, metadata, at = expected_version(request), metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        await service.put(
            tx, account, asked.terms(today=_today(registry)), reason=asked.reason, metadata=metadata, at=at,
            version=version,
        )  # fmt: skip
    await events.wake(registry.database)
    return await _shown(request, account)


@router.patch(
    f"{CAPACITY}/{{account}}",
    **describe(
        body=CapacityChanges, headers=MATCHED, answer=CapacityShown, means="The account as it is now",
        problems=(*SAYING, NoSuchAccount),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def change_capacity(request: Request) -> Response:
    """Say single things of an account otherwise."""
    registry: Registry = request.app.state.registry
    asked, account = await read_json(request, CapacityChanges), named(request.scope, "account")
    version, metadata, at = expected_version(request), metadata_of(request.scope), registry.clock()
    change = partial(asked.changed, today=_today(registry))
    async with registry.database.transaction() as tx:
        await service.change(tx, account, change, reason=asked.reason, metadata=metadata, at=at, version=version)
    await events.wake(registry.database)
    return await _shown(request, account)


@router.delete(
    f"{CAPACITY}/{{account}}",
    **describe(
        query=RetirementQuery, headers=MATCHED, status=204, means="It carries nothing any more",
        problems=(NoSuchAccount, CapacityChangedSince),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def retire_capacity(request: Request) -> Response:
    """Let an account carry nothing any more; what was said of it stays in its history."""
    registry: Registry = request.app.state.registry
    asked, account = read_query(request.scope, RetirementQuery), named(request.scope, "account")
    version, metadata, at = expected_version(request), metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        await service.retire(tx, account, reason=asked.reason, metadata=metadata, at=at, version=version)
    await events.wake(registry.database)
    return Response(status_code=204)


@router.get(
    f"{CAPACITY}/{{account}}/history",
    **describe(
        query=CapacityHistoryQuery, answer=CapacityVersionPage, means="What was said of it", problems=(NoSuchAccount,)
    ),
)
@needs(Scope.READER)
async def capacity_history(request: Request) -> Response:
    """What was said of an account, by whom and why, the newest first; also of one that is retired."""
    registry: Registry = request.app.state.registry
    asked, account = read_query(request.scope, CapacityHistoryQuery), named(request.scope, "account")
    question = ("capacity history", account)
    below = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.history(tx, account, below=below, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].version, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(CapacityVersionPage(versions=[version_shown(one) for one in page], pagination=pagination))


@router.get(
    f"{CAPACITY}/{{account}}/health",
    **describe(query=HealthQuery, answer=HealthShown, means="How its connections are", problems=(NoSuchAccount,)),
)
@needs(Scope.READER)
async def connection_health(request: Request) -> Response:
    """How the connections of an account are, when their ticker was heard last, and when instruments ticked last."""
    registry: Registry = request.app.state.registry
    asked, account = read_query(request.scope, HealthQuery), named(request.scope, "account")
    ticks = silences = None
    async with registry.database.transaction(read_only=True) as tx:
        states = await reporting.connections(tx, account)
        silent = await watching.silent_since(tx, account)
        if asked.ticks:
            heard = await reporting.ticks(tx, account)
            names = await lookup.ids_of(tx, [*heard, *silent])
            ticks = {names[number]: at for number, at in heard.items() if number in names}
            silences = {names[number]: since for number, since in silent.items() if number in names}
    answer = HealthShown(
        account=account, lost_after_seconds=registry.configuration.now[CONNECTION_LOST_AFTER],
        connections=[connection_shown(one) for one in states], silent=len(silent), ticks=ticks, silent_since=silences,
    )  # fmt: skip
    return json_response(answer, headers={"cache-control": "no-store"})


@router.post(
    f"{CAPACITY}/{{account}}/health",
    **describe(
        body=HealthBody, answer=HeardShown, means="It was heard",
        problems=(NoSuchAccount, NoSuchConnection, EpochOver),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
@costs(RouteClass.READ)
async def report_health(request: Request) -> Response:
    """Say how connections are, which each ticker does every second of those it holds open."""
    registry: Registry = request.app.state.registry
    asked, account = await read_json(request, HealthBody), named(request.scope, "account")
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        numbers = await lookup.numbers_of(tx, list(asked.ticks)) if asked.ticks else {}
        heard = Report(
            connections={name: (one.state, one.reason) for name, one in asked.connections.items()},
            ticks={numbers[name]: min(when, at) for name, when in asked.ticks.items() if name in numbers},
            epoch=asked.epoch,
        )
        changed = await reporting.report(tx, account, heard, metadata=metadata, at=at)
    if changed:
        await events.wake(registry.database)
    unknown = [name for name in asked.ticks if name not in numbers]
    return json_response(HeardShown(changed=[one.connection for one in changed], unknown_instruments=unknown))


async def _shown(request: Request, account: str) -> Response:
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.find(tx, account)
        states = await reporting.connections(tx, account)
    headers = {"etag": version_tag(found.version), "cache-control": "no-cache"}
    return json_response(capacity_shown(found, states), headers=headers)


def _today(registry: Registry) -> date:
    return registry.clock().astimezone(MARKET_ZONE).date()
