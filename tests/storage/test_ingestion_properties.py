"""Random sequences of slices of real dumps: whatever comes in whatever order, what must hold of a catalogue holds."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogues import Load, broken, catalogue, digest
from instrument_registry.catalog.ingestion.model import RunStatus
from keeper import Template
from slices import CHAINS, chain, cut, kept

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "6"))
pytestmark = pytest.mark.timeout(1800)
SLOW = [
    HealthCheck.too_slow,
    HealthCheck.function_scoped_fixture,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
]


# Which load of a story, and what is left of its file: all of it, some of its rows, over and over, or its beginning.
WHAT_IS_LEFT = st.one_of(st.none(), st.lists(st.booleans(), max_size=6), st.floats(0.05, 0.99))
SEQUENCES = st.lists(st.tuples(st.integers(0, 99), WHAT_IS_LEFT), min_size=2, max_size=6)


def made(story: str, place: int, left: list[bool] | float | None) -> Load:
    load = chain(story)[place % len(CHAINS[story])]
    if left is None:
        return load
    return cut(load, left) if isinstance(left, float) else kept(load, [*left, True])


@pytest.mark.parametrize("story", CHAINS)
def test_any_sequence_of_slices_keeps_what_must_hold(story: str, templates: dict[str, Template]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW, derandomize=True)
    @given(SEQUENCES)
    def holds(sequence: list[tuple[int, list[bool] | float | None]]) -> None:
        with catalogue(templates["embedded"]) as one:
            for place, left in sequence:
                (outcome,) = one.load(made(story, place, left))
                assert outcome.status is not RunStatus.FAILED
                assert (
                    outcome.rows == outcome.set_aside + outcome.duplicates + sum(outcome.segments.values())
                    or not outcome.segments
                )
            found = broken(one)
        assert not found, f"{sequence} {json.dumps(found, default=str, indent=1)}"

    holds()


@pytest.mark.parametrize("story", CHAINS)
def test_the_days_in_their_order_and_each_twice(story: str, templates: dict[str, Template]) -> None:
    with catalogue(templates["embedded"]) as one:
        for load in chain(story):
            (first,) = one.load(load)
            before = digest(one.owner_url)
            (again,) = one.load(load)
            assert first.status in (RunStatus.APPLIED, RunStatus.UNCHANGED), first.reasons
            assert again.status is RunStatus.UNCHANGED
            assert digest(one.owner_url) == before
        found = broken(one)

    assert not found, json.dumps(found, default=str, indent=1)
