"""Kite's own way to the instruments, for programs that read Kite: at the root, with Kite's header and columns."""

from collections.abc import Iterator
from contextlib import closing
from datetime import date

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as AsgiScope

from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import ApiKey, Scope
from instrument_registry.catalog import kite
from instrument_registry.catalog.model import VENUES
from instrument_registry.database import Database
from instrument_registry.errors import NotFound, RegistryError
from instrument_registry.http.auth import authorize_like_kite
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.problems import nearest
from instrument_registry.http.routes import needs, root
from instrument_registry.http.streaming import TooManyStreams, streamed
from instrument_registry.wiring import Registry

EXCHANGES = sorted(venue for venue in VENUES if venue != "BYBIT")
CSV = {"text/csv": {"schema": {"type": "string"}}}


class NoSuchExchange(NotFound):
    """Choose one of the exchanges Kite knows."""

    title = "There is no such exchange"


async def admit(scope: AsgiScope, needed: Scope) -> ApiKey:
    """As `authorize_like_kite`; a refusal also says in Kite's words that the token is wrong."""
    try:
        return await authorize_like_kite(scope, needed)
    except RegistryError as error:
        _tell_in_kites_words(error, "TokenException")
        raise


router = root(tag="kite")


@router.get("/instruments", **describe(media=CSV, means="Kite's instruments", problems=(TooManyStreams,)))
@needs(Scope.READER, admission=admit)
@costs(RouteClass.EXPENSIVE)
async def kite_instruments(request: Request) -> Response:
    """Zerodha's instruments of today as Kite's own dump prints them.

    `Authorization: token <api_key>:<access_token>` is read too; either of the two may be the key.
    """
    return await _answer(request, exchange=None)


@router.get("/instruments/{exchange}", **describe(media=CSV, means="Those of one exchange", problems=(NoSuchExchange,)))
@needs(Scope.READER, admission=admit)
@costs(RouteClass.EXPENSIVE)
async def kite_instruments_of_one(request: Request) -> Response:
    """The same of one exchange, for example NFO."""
    exchange = named(request.scope, "exchange").upper()
    if exchange not in EXCHANGES:
        problem = f"{exchange} is not an exchange Kite knows; it knows {', '.join(EXCHANGES)}"
        error = NoSuchExchange(problem, value=exchange, nearest=nearest(exchange, EXCHANGES))
        _tell_in_kites_words(error, "InputException")
        raise error
    return await _answer(request, exchange=exchange)


async def _answer(request: Request, *, exchange: str | None) -> Response:
    registry: Registry = request.app.state.registry
    pieces = _pieces(registry.database, registry.catalogue.today(), exchange)
    return await streamed(pieces, media_type="text/csv")


def _pieces(database: Database, day: date, exchange: str | None) -> Iterator[bytes]:
    with (
        database.blocking_session("kite") as connection,
        closing(kite.lines(connection, day, exchange=exchange)) as found,
    ):
        yield from found


def _tell_in_kites_words(error: RegistryError, kind: str) -> None:
    """Add the members which Kite's programs make an exception of."""
    error.facts |= {"error_type": kind, "message": str(error)}
