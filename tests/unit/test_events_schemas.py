"""The data of facts: written, checked, published."""

import json
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

import jsonschema_rs
import pytest

from facts import AT, Renamed, renamed
from instrument_registry.events import Fact, FactRefused
from instrument_registry.events.schemas import check, encode, file_name, published


class Side(StrEnum):
    CALL = "C"
    PUT = "P"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The row that shows it."""

    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted(Fact):
    """The strike of a contract
    was adjusted."""

    type: ClassVar[str] = "test.adjusted"
    version: ClassVar[int] = 2

    strike: Decimal
    side: Side
    effective: date
    evidence: Evidence | None = None
    notes: list[str] = field(default_factory=list)


ADJUSTED = Adjusted(
    occurred_at=AT, strike=Decimal("370.75"), side=Side.CALL, effective=date(2026, 8, 18), evidence=Evidence(7)
)


class TestData:
    def test_is_every_field_but_the_envelope(self) -> None:
        assert encode(ADJUSTED) == (
            '{"strike":"370.75","side":"C","effective":"2026-08-18","evidence":{"line":7},"notes":[]}'
        )

    def test_of_the_wrong_type_is_refused(self) -> None:
        with pytest.raises(FactRefused, match="strike"):
            encode(Adjusted(occurred_at=AT, strike=None, side=Side.CALL, effective=date(2026, 8, 18)))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "data", ['{"instrument_id":"I1","old":"a"}', '{"instrument_id":1,"old":"a","new":"b"}', "[", "[]"]
    )
    def test_written_elsewhere_is_held_to_the_same(self, data: str) -> None:
        check(Renamed, encode(renamed()))
        with pytest.raises(FactRefused, match=r"test\.renamed"):
            check(Renamed, data)

    def test_with_a_field_nobody_promised_is_refused(self) -> None:
        with pytest.raises(FactRefused, match="more"):
            check(Renamed, '{"instrument_id":"I1","old":"a","new":"b","more":1}')


class TestPublished:
    def test_schema_says_what_the_data_is(self) -> None:
        schema = json.loads(published(Adjusted))

        assert file_name(Adjusted) == "test.adjusted.v2.json"
        assert (schema["title"], schema["description"]) == ("test.adjusted", "The strike of a contract was adjusted.")
        assert schema["required"] == ["strike", "side", "effective"]
        assert schema["additionalProperties"] is False

    def test_schema_takes_what_we_write_and_nothing_else(self) -> None:
        judge = jsonschema_rs.validator_for(json.loads(published(Adjusted)))
        data = json.loads(encode(ADJUSTED))

        assert judge.is_valid(data)
        assert not judge.is_valid(data | {"side": "X"})
        assert not judge.is_valid(data | {"more": 1})
        assert not judge.is_valid({name: value for name, value in data.items() if name != "strike"})
