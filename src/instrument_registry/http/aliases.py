"""Aliases: nicknames and former names that operators maintain beside our own list."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog import names
from instrument_registry.catalog.names import LONGEST_ALIAS, AliasNotFound, AliasTaken, KeptAlias
from instrument_registry.catalog.search import seed
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry

Target = Annotated[
    str, msgspec.Meta(min_length=1, max_length=100, description="A name as it stands in keys: M&M, INDIA VIX.")
]


class AliasBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another name to be found by, what it leads to, and why."""

    alias: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ALIAS)]
    target: Target
    reason: Reason


class AliasShown(msgspec.Struct, frozen=True, kw_only=True):
    """One alias; those of our own list came with the program, those of an ingestion are former names."""

    alias: str
    target: str
    origin: Literal["operator", "ingestion", "seed"]
    reason: str | None = None
    actor: str | None = None
    created_at: datetime | None = None


class AliasPage(msgspec.Struct, frozen=True, kw_only=True):
    """Aliases by alphabet."""

    aliases: list[AliasShown]
    pagination: Pagination


class AliasesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which aliases to list."""

    target: Target | None = None
    seed: bool = False  # our own list too
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class AliasRemovalQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of an alias's targets is taken back, and why."""

    target: Target
    reason: Reason


router = room(tag="aliases")


@router.get("/aliases", **describe(query=AliasesQuery, answer=AliasPage, means="The aliases"))
async def list_aliases(request: Request) -> Response:
    """What operators call things and what they were called before; with `seed` our own list too."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, AliasesQuery)
    target = asked.target.strip().upper() if asked.target else None
    question = ("aliases", target, asked.seed)
    after = decode_cursor(asked.cursor, tuple[str, str], question=question) if asked.cursor else ("", "")
    async with registry.database.transaction(read_only=True) as tx:
        listed = await names.listed(tx, target=target)
    found = [_shown(one) for one in listed]
    if asked.seed:
        found += [
            AliasShown(alias=one.text, target=to, origin="seed")
            for one in seed()
            for to in one.targets
            if target in (None, to)
        ]
    rest = sorted((one for one in found if (one.alias, one.target) > after), key=lambda one: (one.alias, one.target))
    page = rest[: asked.limit]
    following = encode_cursor((page[-1].alias, page[-1].target), question=question) if len(rest) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following, total=len(found))
    return json_response(AliasPage(aliases=page, pagination=pagination))


@router.post(
    "/aliases",
    **describe(body=AliasBody, answer=AliasShown, status=201, means="It is found by that", problems=(AliasTaken,)),
)
@needs(Scope.OPERATOR)
async def add_alias(request: Request) -> Response:
    """Let something be found by another name."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, AliasBody)
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        added = await names.add(tx, asked.alias, asked.target, reason=asked.reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    return json_response(_shown(added), 201)


@router.delete(
    "/aliases/{alias}",
    **describe(
        query=AliasRemovalQuery, answer=AliasShown, means="It is found by that no longer", problems=(AliasNotFound,)
    ),
)
@needs(Scope.OPERATOR)
async def remove_alias(request: Request) -> Response:
    """Take an alias back; those of our own list stay."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, AliasRemovalQuery)
    alias, at = named(request.scope, "alias"), registry.clock()
    metadata = metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        removed = await names.remove(tx, alias, asked.target, reason=asked.reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    return json_response(_shown(removed))


def _shown(alias: KeptAlias) -> AliasShown:
    return AliasShown(
        alias=alias.alias, target=alias.target, origin="ingestion" if alias.by_ingestion else "operator",
        reason=alias.reason, actor=alias.actor, created_at=alias.created_at,
    )  # fmt: skip
