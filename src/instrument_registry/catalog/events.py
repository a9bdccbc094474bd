"""The facts the catalogue tells. Every fact about one instrument has the same shape; its type says what happened."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact

# Decimals and dates are text; null means "nobody had said".
Terms = dict[str, str | int | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The row that shows it: file of the run and line in it, from 1."""

    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentFact(Fact):
    """Something happened to one instrument."""

    type: ClassVar[str] = "instrument.changed"

    instrument_id: str
    key: str | None
    effective_date: str
    source: str
    ingestion: int | None
    evidence: Evidence | None
    old: Terms | None
    new: Terms | None

    @property
    def subject(self) -> str | None:
        """The instrument's permanent id."""
        return self.instrument_id


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentListed(InstrumentFact):
    """A new instrument entered the catalogue; with `history` it had already ended by the market date."""

    type: ClassVar[str] = "instrument.listed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentRelisted(InstrumentFact):
    """An instrument that had left the market is listed again, under the same id."""

    type: ClassVar[str] = "instrument.relisted"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentExpired(InstrumentFact):
    """A contract is past its last day."""

    type: ClassVar[str] = "instrument.expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentDelisted(InstrumentFact):
    """No fresh source lists it any more; nobody said why."""

    type: ClassVar[str] = "instrument.delisted"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentStrikeRemoved(InstrumentFact):
    """An option was withdrawn before its expiry."""

    type: ClassVar[str] = "instrument.strike_removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentClosedEarly(InstrumentFact):
    """A contract was closed before its expiry by a declared corporate action."""

    type: ClassVar[str] = "instrument.closed_early"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentUnderlyingAdded(InstrumentFact):
    """The first contracts on an underlying appeared at a venue."""

    type: ClassVar[str] = "instrument.underlying_added"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentExpiryAdded(InstrumentFact):
    """The first contracts of an expiry appeared in a chain."""

    type: ClassVar[str] = "instrument.expiry_added"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentStrikeAdded(InstrumentFact):
    """An option was added to a chain that existed."""

    type: ClassVar[str] = "instrument.strike_added"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentRenamed(InstrumentFact):
    """Its name changed, and with it the canonical key."""

    type: ClassVar[str] = "instrument.renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentStrikeAdjusted(InstrumentFact):
    """The strike of a living contract was adjusted."""

    type: ClassVar[str] = "instrument.strike_adjusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentExpiryMoved(InstrumentFact):
    """The expiry of a living contract was moved."""

    type: ClassVar[str] = "instrument.expiry_moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentSeriesMoved(InstrumentFact):
    """It moved to another series of the exchange."""

    type: ClassVar[str] = "instrument.series_moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentGroupMoved(InstrumentFact):
    """It moved to another group of the exchange."""

    type: ClassVar[str] = "instrument.group_moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentNameChanged(InstrumentFact):
    """Its descriptive name changed."""

    type: ClassVar[str] = "instrument.name_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentNameLearned(InstrumentFact):
    """A source told its descriptive name for the first time."""

    type: ClassVar[str] = "instrument.name_learned"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentKindChanged(InstrumentFact):
    """What it is was corrected by a source that knows."""

    type: ClassVar[str] = "instrument.kind_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentIsinChanged(InstrumentFact):
    """Its ISIN changed."""

    type: ClassVar[str] = "instrument.isin_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentIsinLearned(InstrumentFact):
    """A source told its ISIN for the first time."""

    type: ClassVar[str] = "instrument.isin_learned"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentFaceValueChanged(InstrumentFact):
    """Its face value changed."""

    type: ClassVar[str] = "instrument.face_value_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentLotChanged(InstrumentFact):
    """Its order lot changed."""

    type: ClassVar[str] = "instrument.lot_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentTickChanged(InstrumentFact):
    """Its tick size changed."""

    type: ClassVar[str] = "instrument.tick_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentFreezeQtyChanged(InstrumentFact):
    """The largest quantity of one order changed."""

    type: ClassVar[str] = "instrument.freeze_qty_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentSurveillanceChanged(InstrumentFact):
    """It entered, changed or left a surveillance stage."""

    type: ClassVar[str] = "instrument.surveillance_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentSuspended(InstrumentFact):
    """Trading in it was suspended."""

    type: ClassVar[str] = "instrument.suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentResumed(InstrumentFact):
    """Trading in it was resumed."""

    type: ClassVar[str] = "instrument.resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentTermsLearned(InstrumentFact):
    """Sources told terms that were unknown before."""

    type: ClassVar[str] = "instrument.terms_learned"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentHistoryAdded(InstrumentFact):
    """An older dump showed that it existed, or how it was, before the catalogue knew it."""

    type: ClassVar[str] = "instrument.history_added"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentTokenAssigned(InstrumentFact):
    """A broker gave it a token."""

    type: ClassVar[str] = "instrument.token_assigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentTokenWithdrawn(InstrumentFact):
    """A broker no longer lists it."""

    type: ClassVar[str] = "instrument.token_withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentTokenChanged(InstrumentFact):
    """A broker gave it another token along with another change."""

    type: ClassVar[str] = "instrument.token_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentTokenReused(InstrumentFact):
    """A broker's token that meant another instrument before now means this one."""

    type: ClassVar[str] = "instrument.token_reused"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentRetokenised(InstrumentFact):
    """A broker gave an unchanged contract another token."""

    type: ClassVar[str] = "instrument.retokenised"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentBrokerTermsChanged(InstrumentFact):
    """What one broker says of it changed; the merged terms did not."""

    type: ClassVar[str] = "instrument.broker_terms_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentOverridden(InstrumentFact):
    """An operator set a field against the files."""

    type: ClassVar[str] = "instrument.overridden"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentOverrideWithdrawn(InstrumentFact):
    """An operator's override was taken back."""

    type: ClassVar[str] = "instrument.override_withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionApplied(Fact):
    """A run changed the catalogue; `first_version` to `last_version` are its facts in the stream of the run."""

    type: ClassVar[str] = "ingestion.applied"

    ingestion: int
    broker: str
    feed: str
    market_date: str
    counts: dict[str, int]
    rows: int
    first_version: int
    last_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionQuarantined(Fact):
    """A dump was kept out of the catalogue."""

    type: ClassVar[str] = "ingestion.quarantined"

    ingestion: int
    broker: str
    feed: str
    market_date: str
    status: str
    reasons: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionReleased(Fact):
    """An operator let a dump through that had been kept out; `released_as` is the run that applied it."""

    type: ClassVar[str] = "ingestion.released"

    ingestion: int
    released_as: int
    broker: str
    market_date: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionDiscarded(Fact):
    """An operator gave up a dump that had been kept out."""

    type: ClassVar[str] = "ingestion.discarded"

    ingestion: int
    broker: str
    market_date: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSet(Fact):
    """An operator said when a broker's dump is to be fetched."""

    type: ClassVar[str] = "schedule.set"

    broker: str
    cron: str
    venue: str | None
    grace_minutes: int
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRemoved(Fact):
    """An operator ended the fetching of a broker's dump."""

    type: ClassVar[str] = "schedule.removed"

    broker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasAdded(Fact):
    """An operator gave an instrument or underlying another name to be found by."""

    type: ClassVar[str] = "alias.added"

    alias: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRemoved(Fact):
    """An operator took an alias back."""

    type: ClassVar[str] = "alias.removed"

    alias: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeDeclared(Fact):
    """An operator or an official list declared a corporate action: a symbol change, a demerger or a merger."""

    type: ClassVar[str] = "declaration.added"

    what: str
    exchange: str
    old_symbol: str
    new_symbol: str
    effective_date: str
    reason: str


INSTRUMENT_FACTS: tuple[type[InstrumentFact], ...] = (
    InstrumentListed,
    InstrumentRelisted,
    InstrumentExpired,
    InstrumentDelisted,
    InstrumentStrikeRemoved,
    InstrumentClosedEarly,
    InstrumentUnderlyingAdded,
    InstrumentExpiryAdded,
    InstrumentStrikeAdded,
    InstrumentRenamed,
    InstrumentStrikeAdjusted,
    InstrumentExpiryMoved,
    InstrumentSeriesMoved,
    InstrumentGroupMoved,
    InstrumentNameChanged,
    InstrumentNameLearned,
    InstrumentKindChanged,
    InstrumentIsinChanged,
    InstrumentIsinLearned,
    InstrumentFaceValueChanged,
    InstrumentLotChanged,
    InstrumentTickChanged,
    InstrumentFreezeQtyChanged,
    InstrumentSurveillanceChanged,
    InstrumentSuspended,
    InstrumentResumed,
    InstrumentTermsLearned,
    InstrumentHistoryAdded,
    InstrumentTokenAssigned,
    InstrumentTokenWithdrawn,
    InstrumentTokenChanged,
    InstrumentTokenReused,
    InstrumentRetokenised,
    InstrumentBrokerTermsChanged,
    InstrumentOverridden,
    InstrumentOverrideWithdrawn,
)
FACTS: tuple[type[Fact], ...] = (
    *INSTRUMENT_FACTS, IngestionApplied, IngestionQuarantined, IngestionReleased, IngestionDiscarded, ScheduleSet,
    ScheduleRemoved, AliasAdded, AliasRemoved, ChangeDeclared,
)  # fmt: skip
