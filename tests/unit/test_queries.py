"""Query strings are read as what they say they are."""

from datetime import UTC, datetime

import msgspec
import pytest

from instrument_registry.http.problems import InvalidRequest
from instrument_registry.http.queries import KnownAt, read_query


class Question(msgspec.Struct, frozen=True, kw_only=True):
    known_at: KnownAt | None = None


def asked(query: str) -> Question:
    return read_query({"type": "http", "query_string": query.encode()}, Question)


def test_an_instant_is_a_date_and_a_time() -> None:
    assert asked("known_at=2026-08-18T06:30:00Z").known_at == datetime(2026, 8, 18, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0.5", "1755500000", "-1", "null", "", "today"])
def test_a_number_is_no_instant(text: str) -> None:
    with pytest.raises(InvalidRequest, match="known_at"):
        asked(f"known_at={text}")
