"""Declarations: corporate actions that no dump says by itself."""

from datetime import date, datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog import declaring
from instrument_registry.catalog.declaring import Action, AlreadyDeclared, What
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry

Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
Either = Annotated[str, msgspec.Meta(min_length=1, max_length=60, description="The old or the new one.")]
Exchange = Annotated[str, msgspec.Meta(min_length=1, max_length=10)]


class DeclarationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened to a company, at which exchange, from which market date on, and how one knows."""

    what: What
    exchange: Exchange
    old_symbol: Symbol
    new_symbol: Symbol
    effective_date: date
    reason: Reason


class DeclarationShown(msgspec.Struct, frozen=True, kw_only=True):
    """A declared change; `source` names the ingestion that brought it, or an operator's reason."""

    id: int
    what: What
    exchange: str
    old_symbol: str
    new_symbol: str
    effective_date: date
    source: str
    actor: str
    declared_at: datetime


class DeclarationPage(msgspec.Struct, frozen=True, kw_only=True):
    """Declared changes, the latest first."""

    declarations: list[DeclarationShown]
    pagination: Pagination


class DeclarationsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which declarations to list."""

    what: What | None = None
    exchange: Exchange | None = None
    symbol: Either | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


router = room(tag="declarations")


@router.get("/declarations", **describe(query=DeclarationsQuery, answer=DeclarationPage, means="The declarations"))
async def list_declarations(request: Request) -> Response:
    """Symbol changes, demergers and mergers that exchanges' lists and operators declared."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, DeclarationsQuery)
    question = ("declarations", asked.what, asked.exchange, asked.symbol)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await declaring.listed(
            tx, what=asked.what, exchange=asked.exchange, symbol=asked.symbol, before=before, limit=asked.limit + 1
        )
    page = [msgspec.convert(one, DeclarationShown, from_attributes=True) for one in found[: asked.limit]]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(DeclarationPage(declarations=page, pagination=pagination))


@router.post(
    "/declarations",
    **describe(
        body=DeclarationBody, answer=DeclarationShown, status=201, means="It is declared", problems=(AlreadyDeclared,)
    ),
)
@needs(Scope.OPERATOR)
async def declare(request: Request) -> Response:
    """Declare a corporate action: the next ingestions follow it, and a changed symbol is found by the old one."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, DeclarationBody)
    action = Action(**{name: getattr(asked, name) for name in DeclarationBody.__struct_fields__})
    async with registry.database.transaction() as tx:
        made = await declaring.declare(tx, action, metadata=metadata_of(request.scope), at=registry.clock())
    await events.wake(registry.database)
    return json_response(msgspec.convert(made, DeclarationShown, from_attributes=True), 201)
