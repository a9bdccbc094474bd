"""What instruments look like to callers: the structs that the OpenAPI document publishes.

Hot paths send JSON that was prepared when the row entered the index; a test reads real answers back with these.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import msgspec

from instrument_registry.http.encoding import Pagination

Cycle = Literal["weekly", "monthly"]


class MeaningInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What an identifier meant from one market date until before another."""

    id: str
    key: str
    valid_from: date
    valid_to: date | None


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One listing as of a market date. Decimals are plain text; absent facts are null."""

    id: str
    key: str
    symbol: str
    name: str | None
    kind: str
    venue: str
    mic: str | None
    segment: str
    exchange: str
    series: str | None
    isin: str | None
    underlying: str | None
    expiry: date | None
    strike: str | None
    option_type: str | None
    lot_size: int | None
    tick_size: str | None
    freeze_qty: int | None
    multiplier: str | None
    status: str
    is_test: bool
    streamable: bool
    asset_class: str | None
    currency: str | None
    tokens: dict[str, str]
    cfi: str
    expires_at: str | None = None  # of a contract: the instant in the exchange's zone
    cycle: Cycle | None = None  # of a live contract: monthly ends last of its chain in that month, else weekly
    face_value: str | None = None
    quote_unit: str | None = None
    surveillance: str | None = None
    overridden: dict[str, str | int | None] | None = None  # fields an operator set, with what the files say
    why: str | None = None  # of a search hit: what made it one
    meant: MeaningInterval | None = None  # asked for by a name it does not bear on the day: when it does


class InstrumentPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of instruments."""

    instruments: list[Instrument]
    pagination: Pagination
    as_of: date
    catalog_position: int
    index_age_seconds: float
    correlation_id: str | None
    response_time_ms: float
    facets: dict[str, dict[str, int]] | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One of the instruments an identifier may mean."""

    id: str
    key: str


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that means nothing on the day, but did or will on others."""

    requested: str
    intervals: Sequence[MeaningInterval]


class Ambiguous(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that means several instruments on the day."""

    requested: str
    candidates: list[Candidate]


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that never meant anything here; the first of them get suggestions."""

    requested: str
    suggestions: list[Candidate]


class BulkInstrument(msgspec.Struct, frozen=True, kw_only=True):
    """A found identifier; with metadata it has all members of an instrument, without it only these three."""

    requested: str
    id: str
    key: str
    symbol: str | None = None
    name: str | None = None
    kind: str | None = None
    venue: str | None = None
    mic: str | None = None
    segment: str | None = None
    exchange: str | None = None
    series: str | None = None
    isin: str | None = None
    underlying: str | None = None
    expiry: date | None = None
    strike: str | None = None
    option_type: str | None = None
    lot_size: int | None = None
    tick_size: str | None = None
    freeze_qty: int | None = None
    multiplier: str | None = None
    status: str | None = None
    is_test: bool | None = None
    streamable: bool | None = None
    asset_class: str | None = None
    currency: str | None = None
    tokens: dict[str, str] | None = None
    cfi: str | None = None
    expires_at: str | None = None
    cycle: Cycle | None = None
    face_value: str | None = None
    quote_unit: str | None = None
    surveillance: str | None = None
    overridden: dict[str, str | int | None] | None = None


class BulkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What many identifiers mean."""

    instruments: list[BulkInstrument]
    partial: list[Partial]
    ambiguous: list[Ambiguous]
    not_found: list[Missing]
    could_not_tell: list[str]  # not in memory, while the database is away; otherwise empty
    counts: dict[str, int]
    as_of: date
    catalog_position: int
    index_age_seconds: float
    correlation_id: str | None
    response_time_ms: float


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """How an instrument was during some market dates, as known since an instant."""

    key: str
    valid_from: date
    valid_to: date | None
    known_from: datetime
    known_to: datetime | None
    name: str | None
    isin: str | None
    series: str | None
    expiry: date | None
    strike: str | None
    lot_size: int | None
    tick_size: str | None
    freeze_qty: int | None
    face_value: str | None
    suspended: bool


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about the instrument."""

    type: str
    position: int | None
    occurred_at: datetime
    data: msgspec.Raw


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known to have happened to an instrument."""

    id: str
    listed_on: date
    ended_on: date | None
    ended_as: str | None
    versions: list[Version]
    events: list[HistoryEvent]


class TokenValidity(msgspec.Struct, frozen=True, kw_only=True):
    """What one broker called the instrument, when, and that broker's own view of it.

    Of a stale answer only broker and token are known.
    """

    broker: str
    segment: str | None
    token: str
    exchange_token: str | None
    symbol: str | None
    valid_from: date | None
    valid_to: date | None
    lot_size: int | None
    tick_size: str | None
    name: str | None


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The broker tokens of an instrument over time, and where brokers disagree on the day."""

    id: str
    key: str
    tokens: list[TokenValidity]
    disagreements: dict[str, dict[str, str]] | None  # null: the database is away


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A completion while typing."""

    text: str
    key: str
    name: str | None


class ChainSide(msgspec.Struct, frozen=True, kw_only=True):
    """One contract of a chain."""

    id: str
    key: str
    lot_size: int | None
    freeze_qty: int | None
    tick_size: str | None
    tokens: dict[str, str]


class ChainStrike(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of a strike; a missing one is null."""

    strike: str
    call: ChainSide | None
    put: ChainSide | None
    one_sided: bool


class ChainExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """An expiry of the chain's underlying."""

    expiry: date
    cycle: str


class ChainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The option chain of one underlying and expiry."""

    underlying: str
    venue: str
    expiry: date
    expires_at: str | None  # an instant in the exchange's zone
    cycle: str
    expiries: list[ChainExpiry]
    strikes: list[ChainStrike]
    strike_interval: str | None
    at_the_money: str | None
    one_sided: list[str]
    completeness: dict[str, float]
    as_of: date
    catalog_position: int
    index_age_seconds: float
    correlation_id: str | None
    response_time_ms: float
