"""Which insertion numbers a page reads, and which ids its events have."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from facts import METADATA
from instrument_registry.events import Append
from instrument_registry.events.model import PLACE_BITS, Part, append_id, intervals, nth_id

AT = datetime(2026, 8, 18, tzinfo=UTC)


def append(block: int, facts: int = 1) -> Append:
    return Append(
        number=block << PLACE_BITS,
        event_id=UUID(int=block << PLACE_BITS),
        stream="s",
        version=facts,
        facts=facts,
        metadata=METADATA,
        recorded_at=AT + timedelta(seconds=block % 7),
    )


class TestIntervals:
    def test_neighbours_are_read_together(self) -> None:
        parts = [Part(append(block), 0, 1) for block in (4, 2, 3, 9)]

        found = intervals(parts)

        assert [(part.first >> PLACE_BITS, part.last >> PLACE_BITS) for part in found] == [(2, 4), (9, 9)]

    def test_a_piece_of_an_append_ends_the_run(self) -> None:
        parts = [Part(append(1, facts=10), 0, 4), Part(append(2), 0, 1), Part(append(3, facts=10), 2, 8)]

        found = intervals(parts)

        assert len(found) == 3
        assert (found[2].first - (3 << PLACE_BITS), found[2].last - (3 << PLACE_BITS)) == (2, 9)

    @given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9), st.data()), unique_by=lambda one: one[0]))
    def test_every_fact_asked_for_is_read_and_no_other_append(
        self, drawn: list[tuple[int, int, st.DataObject]]
    ) -> None:
        parts = []
        for block, facts, data in drawn:
            skip = data.draw(st.integers(0, facts - 1))
            parts.append(Part(append(block, facts), skip, data.draw(st.integers(1, facts - skip))))

        found = intervals(parts)

        for block, facts, _ in drawn:
            for place in range(facts):
                number = (block << PLACE_BITS) + place
                asked = any(
                    part.append.number == block << PLACE_BITS and part.skip <= place < part.skip + part.facts
                    for part in parts
                )
                at = append(block).recorded_at
                read = any(one.first <= number <= one.last and one.earliest <= at <= one.latest for one in found)
                assert read == asked


class TestIds:
    @given(st.uuids(), st.integers(0, (1 << PLACE_BITS) - 1))
    def test_of_facts_lead_back_to_their_append(self, chosen: UUID, place: int) -> None:
        first = append_id(chosen)

        assert append_id(nth_id(first, place)) == first
