"""What is asked of the index and what it answers."""

import base64
import hashlib
from datetime import date
from enum import StrEnum
from typing import Annotated

import msgspec

from instrument_registry.errors import Invalid, Unavailable

MAX_LIMIT = 100
Lot = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class InvalidQuery(Invalid):
    """The query cannot be answered as it stands."""

    title = "The query is not valid"


class SearchTookTooLong(Unavailable):
    """Ask for something narrower, or again when there is less to do."""

    title = "The search took too long"


class SortBy(StrEnum):
    """What answers are ordered by; relevance breaks every tie."""

    RELEVANCE = "relevance"
    SYMBOL = "symbol"
    EXPIRY = "expiry"
    STRIKE = "strike"
    LOT_SIZE = "lot_size"


class SortOrder(StrEnum):
    """Smallest or largest first; rows without the value come last either way."""

    ASCENDING = "asc"
    DESCENDING = "desc"


class Filters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions every answer fulfils; several values of one field are alternatives."""

    venue: tuple[str, ...] = ()
    exchange: tuple[str, ...] = ()
    segment: tuple[str, ...] = ()  # FO, or a venue: NFO
    kind: tuple[str, ...] = ()
    asset_class: tuple[str, ...] = ()
    option_type: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    broker: tuple[str, ...] = ()  # that have a token for it
    underlying: tuple[str, ...] = ()  # contracts on these
    expiry_from: date | None = None
    expiry_to: date | None = None
    strike_from: float | None = None
    strike_to: float | None = None
    lot_from: Lot | None = None
    lot_to: Lot | None = None
    has_options: bool | None = None  # whether options are written on its name
    status: tuple[str, ...] = ()  # active and suspended unless told
    include_test: bool = False

    @property
    def for_contracts(self) -> bool:
        """Whether only futures and options can fulfil them."""
        bounds = (self.expiry_from, self.expiry_to, self.strike_from, self.strike_to)
        contracts = bool(self.kind) and set(self.kind) <= {"future", "option", "crypto_future"}
        return contracts or bool(self.underlying or self.option_type) or any(bound is not None for bound in bounds)

    @property
    def hidden_too(self) -> bool:
        """Whether rows may answer that are not shown by default."""
        return self.include_test or bool(set(self.status) - {"active", "suspended"})


NO_FILTERS = Filters()


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One search."""

    text: str = ""
    filters: Filters = NO_FILTERS
    sort_by: SortBy = SortBy.RELEVANCE
    sort_order: SortOrder = SortOrder.ASCENDING
    limit: int = 20
    cursor: str | None = None
    facets: bool = False
    structured: bool = True  # read for month, strike and side; else every word belongs to a name

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidQuery(f"A limit lies between 1 and {MAX_LIMIT}", limit=self.limit)


class Hit(msgspec.Struct, frozen=True):
    """One answer."""

    row: int  # in the view that answered
    id: int
    why: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some answers of one query, in order."""

    hits: tuple[Hit, ...]
    body: bytes  # the hits as a JSON array
    total: int
    next_cursor: str | None
    facets: dict[str, dict[str, int]] | None
    position: int  # of the catalogue, when the answer was made
    as_of: date


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the last answer, and how many came before the next one."""

    query: bytes
    id: int
    offset: int


def fingerprint(query: Query) -> bytes:
    """What makes two queries the same, whatever page of them is asked."""
    asked = (query.text, query.filters, query.sort_by, query.sort_order, query.structured)
    return hashlib.blake2b(msgspec.msgpack.encode(asked), digest_size=6).digest()


def write_cursor(cursor: Cursor) -> str:
    """A cursor as an opaque text."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def read_cursor(query: Query) -> Cursor | None:
    """Where a query goes on; None at its beginning.

    Raises:
        InvalidQuery: the cursor is not one of ours, or of another query.
    """
    if query.cursor is None:
        return None
    try:
        text = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(text, type=Cursor)
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidQuery("is not a cursor that this search gave") from error
    if cursor.query != fingerprint(query):
        raise InvalidQuery("belongs to another question")
    return cursor
