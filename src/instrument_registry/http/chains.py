"""Option chains."""

from datetime import date
from decimal import Decimal
from typing import Annotated

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.catalog import feed
from instrument_registry.catalog.search.chains import Chain, Expiry, Strike, chain, expiries
from instrument_registry.catalog.search.view import View
from instrument_registry.errors import NotFound
from instrument_registry.http.correlation import correlation_of
from instrument_registry.http.encoding import entity_tag, json_response, not_modified, response_time_ms
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.problems import FieldProblem, refused, shown
from instrument_registry.http.queries import KnownAt, read_query
from instrument_registry.http.routes import room
from instrument_registry.http.shapes import ChainAnswer, ChainExpiry, ChainSide, ChainStrike
from instrument_registry.http.spelling import spelt
from instrument_registry.http.stale import from_memory
from instrument_registry.wiring import Registry

PRICE_MAX = 10**9
WORDS = ("nearest", "weekly", "monthly")


class ChainNotFound(NotFound):
    """Choose one of the expiries listed."""

    title = "There is no such chain"


class ChainQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which chain, around which price, with whose tokens."""

    expiry: Annotated[str, msgspec.Meta(max_length=10, description="A date, or nearest, weekly, monthly.")] = "nearest"
    venue: Annotated[str, msgspec.Meta(max_length=10)] | None = None
    price: Decimal | None = None
    strikes: (
        Annotated[int, msgspec.Meta(ge=1, le=500, description="Only so many on each side of the price.")] | None
    ) = None
    broker: tuple[Annotated[str, msgspec.Meta(max_length=40)], ...] = ()
    as_of: date | None = None
    as_known_at: KnownAt | None = None


router = room(tag="chains")


@router.get(
    "/chains/{underlying}",
    **describe(
        query=ChainQuery,
        answer=ChainAnswer,
        means="The chain",
        problems=(ChainNotFound,),
        tagged=True,
        from_memory=True,
    ),
)
async def option_chain(request: Request) -> Response:
    """The options of an underlying that end on one day, by strike, with both sides."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, ChainQuery)
    underlying = named(request.scope, "underlying")
    view = (await registry.catalogue.as_of(asked.as_of, known_at=asked.as_known_at)).view
    words = spelt({"venue": (asked.venue,) if asked.venue else (), "broker": asked.broker}, where="query")
    _refuse_no_price(asked.price)
    tag = entity_tag(view.position, view.as_of, asked, underlying)
    if unchanged := not_modified(request.scope, tag):
        return from_memory(request.scope, unchanged)
    found, days = _found(view, underlying, asked.expiry, venue=next(iter(words["venue"]), None))
    strikes = list(found.strikes)
    at_the_money = found.at_the_money(asked.price) if asked.price is not None else None
    if asked.strikes is not None and at_the_money is not None:
        middle = strikes.index(at_the_money)
        strikes = strikes[max(0, middle - asked.strikes) : middle + asked.strikes + 1]
    told = [_strike(view, strike, words["broker"]) for strike in strikes]
    interval = found.interval
    answer = json_response(
        ChainAnswer(
            underlying=found.underlying,
            venue=found.venue,
            expiry=found.expiry.day,
            expires_at=feed.expires_at(found.venue, found.underlying, found.expiry.day),
            cycle=found.expiry.cycle,
            expiries=[ChainExpiry(expiry=day.day, cycle=day.cycle) for day in days],
            strikes=told,
            strike_interval=None if interval is None else _text(interval),
            at_the_money=None if at_the_money is None else _text(at_the_money.price),
            one_sided=[_text(strike.price) for strike in found.one_sided],
            completeness=_completeness(view, found),
            as_of=view.as_of,
            catalog_position=view.position,
            index_age_seconds=registry.catalogue.age_seconds,
            correlation_id=correlation_of(request.scope),
            response_time_ms=response_time_ms(request.scope),
        ),
        headers={"etag": tag},
    )
    return from_memory(request.scope, answer)


def _found(view: View, underlying: str, expiry: str, *, venue: str | None) -> tuple[Chain, list[Expiry]]:
    """The chain, and every expiry it could have been; Raises: ChainNotFound."""
    day = _expiry(expiry)
    days = expiries(view, underlying, venue=venue)
    found = chain(view, underlying, day, venue=venue) if days else None
    if found is None:
        detail = f"{underlying} has no options ending {expiry} as of {view.as_of}"
        raise ChainNotFound(detail, underlying=underlying, expiries=[one.day for one in days])
    return found, days


def _refuse_no_price(price: Decimal | None) -> None:
    if price is not None and not (price.is_finite() and abs(price) <= PRICE_MAX):
        remedy = f"Send a number of at most {PRICE_MAX}"
        raise refused(
            [FieldProblem(field="query.price", problem="is no price", remedy=remedy, value=shown(str(price)))]
        )


def _expiry(text: str) -> date | str:
    if text.lower() in WORDS:
        return text.lower()
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        remedy = f"Send a date (YYYY-MM-DD) or one of: {', '.join(WORDS)}"
        raise refused(
            [FieldProblem(field="query.expiry", problem="is no expiry", remedy=remedy, value=text)]
        ) from error


def _strike(view: View, strike: Strike, brokers: tuple[str, ...]) -> ChainStrike:
    call, put = (None if row is None else _side(view, row, brokers) for row in (strike.call, strike.put))
    return ChainStrike(strike=_text(strike.price), call=call, put=put, one_sided=call is None or put is None)


def _side(view: View, row: int, brokers: tuple[str, ...]) -> ChainSide:
    side = msgspec.json.decode(view.fragment(row) + b"}", type=ChainSide)
    if not brokers:
        return side
    tokens = {broker: token for broker, token in side.tokens.items() if broker in brokers}
    return msgspec.structs.replace(side, tokens=tokens)


def _completeness(view: View, found: Chain) -> dict[str, float]:
    """Of each broker, the share of the whole chain's contracts it has a token for."""
    rows = [row for strike in found.strikes for row in (strike.call, strike.put) if row is not None]
    masks = view.columns.brokers[rows]
    counts = {
        broker: int(np.count_nonzero(masks >> code & 1)) for code, broker in enumerate(view.shelf.brokers.texts) if code
    }
    return {broker: round(count / len(rows), 4) for broker, count in sorted(counts.items()) if count}


def _text(number: Decimal) -> str:
    return format(number, "f")
