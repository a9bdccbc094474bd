"""Ladders: where every rule stands and what keeps it from following; and the prices of underlyings they follow."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.demands import Owner, User
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.problems import FieldProblem, refused, shown
from instrument_registry.http.profile_shapes import see_may_read_all
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.subscriptions.demand.wants import DemandSource
from instrument_registry.subscriptions.ladders import Frozen, Price
from instrument_registry.subscriptions.profiles.model import NotYourUser
from instrument_registry.subscriptions.rules import model, pricing, service
from instrument_registry.subscriptions.rules.model import RuleRefused, Underlying
from instrument_registry.subscriptions.rules.prices import PRICES_MAX, PriceVerdict, Told
from instrument_registry.subscriptions.rules.pricing import Taken
from instrument_registry.subscriptions.rules.standing import Kept
from instrument_registry.subscriptions.rules.storage import PriceRow
from instrument_registry.wiring import Registry

Name = Annotated[str, msgspec.Meta(min_length=3, max_length=100, description="As NSE:NIFTY or MCX:GOLD, or its key.")]
Cursor = Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class RuleKind(StrEnum):
    """A ladder follows a price, a filter does not."""

    LADDER = "ladder"
    FILTER = "filter"


class PriceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an underlying costs, and since when; a confirmed price is believed however far from the one before."""

    underlying: Name
    price: Decimal
    at: Annotated[datetime, msgspec.Meta(tz=True, description="Left out: now.")] | None = None
    confirmed: bool = False


class PricesBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices of underlyings, together."""

    prices: Annotated[list[PriceBody], msgspec.Meta(min_length=1, max_length=PRICES_MAX)]


class PriceTaken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a price; `frozen` says whether the ladders on it stay where they are."""

    underlying: str
    verdict: PriceVerdict
    detail: str
    ladders: int
    moves: int
    frozen: bool


class PricesTaken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of each price, in the order they were sent, and how often each came about."""

    prices: list[PriceTaken]
    counts: dict[str, int]


class PriceKnown(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an underlying: the price that is believed, and one that was refused after it."""

    underlying: str
    price: str | None
    priced_at: datetime | None
    age_seconds: float | None
    frozen: Frozen | None
    refused_price: str | None
    refused_at: datetime | None
    actor: str
    received_at: datetime


class PricePage(msgspec.Struct, frozen=True, kw_only=True):
    """Prices by underlying."""

    prices: list[PriceKnown]
    pagination: Pagination


class PricesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page of prices."""

    limit: Limit = 100
    cursor: Cursor | None = None


class LadderShown(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rule stands: its middle strike since when and by which price; between which prices it stays.

    `frozen` says what keeps it from following its price, `truncated` that there are fewer instruments than it asks for
    (a filter: more than its bound), `next_edge` when the first of them ends.
    """

    source: DemandSource
    owner: str
    rule: int
    user_id: str
    kind: RuleKind
    underlying: str | None
    centre: str | None
    since: datetime | None
    price: str | None
    stays_from: str | None
    stays_to: str | None
    frozen: Frozen | None
    instruments: int
    truncated: bool
    next_edge: datetime | None
    due_at: datetime | None
    settled_at: datetime | None
    content: dict[str, str | int | list[str]]


class LadderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Rules by source, owner and number."""

    ladders: list[LadderShown]
    pagination: Pagination


class LaddersQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rules to list."""

    underlying: Name | None = None
    user_id: User | None = None
    source: DemandSource | None = None
    owner: Owner | None = None
    kind: RuleKind | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


router = room(tag="subscriptions", prefix="/subscriptions")


@router.post(
    "/reference-prices",
    **describe(body=PricesBody, answer=PricesTaken, means="What came of each price", problems=(RuleRefused,)),
)
@needs(Scope.OPERATOR)
async def tell_prices(request: Request) -> Response:
    """Say what underlyings cost: ladders whose price left their middle are moved within a second.

    A price that is too old, none at all, or too far from the one before moves nothing, and the answer says so.
    """
    registry: Registry = request.app.state.registry
    asked, at = await read_json(request, PricesBody), registry.clock()
    told = [(_underlying(one, place), _told(one, place, at=at)) for place, one in enumerate(asked.prices)]
    async with registry.database.transaction() as tx:
        taken = await pricing.tell(tx, told, metadata=metadata_of(request.scope), at=at)
    if any(one.moves for one in taken):
        await service.wake(registry.database)
    counts = {verdict.value: sum(one.verdict is verdict for one in taken) for verdict in PriceVerdict}
    if counts[PriceVerdict.IMPLAUSIBLE] or any(one.confirmed for one in asked.prices):
        await events.wake(registry.database)
    return json_response(
        PricesTaken(prices=[_taken(one) for one in taken], counts={k: n for k, n in counts.items() if n})
    )


@router.get("/reference-prices", **describe(query=PricesQuery, answer=PricePage, means="The prices"))
async def list_prices(request: Request) -> Response:
    """What underlyings cost, as it was last believed, and what was refused since."""
    registry: Registry = request.app.state.registry
    asked, at, question = read_query(request.scope, PricesQuery), registry.clock(), ("reference-prices",)
    after = decode_cursor(asked.cursor, str, question=question) if asked.cursor else ""
    async with registry.database.transaction(read_only=True) as tx:
        found = await pricing.listed(tx, after=after, limit=asked.limit + 1)
    page = [_price(row, at=at) for row in found[: asked.limit]]
    following = encode_cursor(page[-1].underlying, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(PricePage(prices=page, pagination=pagination))


@router.get(
    "/ladders",
    **describe(query=LaddersQuery, answer=LadderPage, means="The rules", problems=(RuleRefused, NotYourUser)),
)
async def list_ladders(request: Request) -> Response:
    """Where ladders and filters stand, what they bring, and what keeps a ladder from following its price."""
    registry: Registry = request.app.state.registry
    asked, at = read_query(request.scope, LaddersQuery), registry.clock()
    see_may_read_all(request, asked.user_id)
    question = ("ladders", asked.underlying, asked.user_id, asked.source, asked.owner, asked.kind)
    after = decode_cursor(asked.cursor, tuple[str, str, int], question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.listed(
            tx, at=at, limit=asked.limit + 1, after=after, user_id=asked.user_id, source=asked.source,
            underlying=Underlying.read(asked.underlying) if asked.underlying else None, owner=asked.owner,
            kind=asked.kind,
        )  # fmt: skip
    page = found[: asked.limit]
    following = encode_cursor(page[-1][0].key, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(LadderPage(ladders=[_ladder(*one) for one in page], pagination=pagination))


def _underlying(one: PriceBody, place: int) -> Underlying:
    return Underlying.read(one.underlying, field=f"prices[{place}].underlying")


def _told(one: PriceBody, place: int, *, at: datetime) -> Told:
    if not one.price.is_finite() or abs(one.price) >= 10**12 or one.price.as_tuple().exponent < -12:  # type: ignore[operator]
        field, remedy = f"body.prices[{place}].price", "Send a decimal number with at most 12 digits on either side"
        raise refused([FieldProblem(field=field, problem="is no number", remedy=remedy, value=shown(str(one.price)))])
    return Told(price=Price(value=one.price, at=one.at or at), confirmed=one.confirmed)


def _taken(one: Taken) -> PriceTaken:
    return PriceTaken(
        underlying=str(one.underlying), verdict=one.verdict, detail=one.detail, ladders=one.ladders, moves=one.moves,
        frozen=one.frozen,
    )  # fmt: skip


def _price(row: PriceRow, *, at: datetime) -> PriceKnown:
    price, refused_ = row.known.price, row.known.refused
    return PriceKnown(
        underlying=row.underlying, price=_text(price.value if price else None), priced_at=price.at if price else None,
        age_seconds=round((at - price.at).total_seconds(), 3) if price else None, frozen=row.known.frozen(now=at),
        refused_price=_text(refused_.value if refused_ else None), refused_at=refused_.at if refused_ else None,
        actor=row.actor, received_at=row.received_at,
    )  # fmt: skip


def _ladder(one: Kept, frozen: Frozen | None) -> LadderShown:
    owner, stands = one.owner, one.standing
    return LadderShown(
        source=owner.source, owner=owner.owner, rule=one.number, user_id=owner.user_id, kind=RuleKind(one.rule.RULE),
        underlying=None if one.rule.underlying is None else str(one.rule.underlying), centre=_text(stands.centre),
        since=stands.since, price=_text(stands.price), stays_from=_text(stands.stays_from),
        stays_to=_text(stands.stays_to), frozen=frozen, instruments=stands.instruments, truncated=stands.truncated,
        next_edge=stands.edge_at, due_at=stands.due_at, settled_at=stands.settled_at,
        content=msgspec.convert(model.shown(one.rule), dict[str, str | int | list[str]]),
    )  # fmt: skip


def _text(number: Decimal | None) -> str | None:
    return None if number is None else format(number.normalize() + 0, "f")
