"""Facts that only tests tell, and a catch-up without a worker."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from instrument_registry.database import Database
from instrument_registry.events import Fact, Metadata, sequencer

AT = datetime(2026, 8, 18, 3, 30, tzinfo=UTC)
METADATA = Metadata(actor="tests", correlation_id="c-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed(Fact):
    """An instrument goes by another name."""

    type: ClassVar[str] = "test.renamed"

    instrument_id: str
    old: str
    new: str

    @property
    def subject(self) -> str:
        return self.instrument_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Fact):
    """Something was counted."""

    type: ClassVar[str] = "test.counted"

    number: int


def renamed(new: str = "NEW", *, instrument_id: str = "I1") -> Renamed:
    return Renamed(occurred_at=AT, instrument_id=instrument_id, old="OLD", new=new)


def counted(number: int) -> Counted:
    return Counted(occurred_at=AT, number=number)


async def catch_up(database: Database) -> int:
    """What the sequencer would do now."""
    async with database.session("test") as session:
        return await sequencer.catch_up(session)
