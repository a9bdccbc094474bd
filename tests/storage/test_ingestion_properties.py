"""Random sequences of slices of real dumps: whatever comes in whatever order, what must hold of a catalogue holds."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogues import IDENTITY, Load, broken, catalogue, digest
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


@st.composite
def sequences(draw: st.DrawFn, story: str) -> list[Load]:
    loads: list[Load] = []
    for place in draw(st.lists(st.integers(0, len(CHAINS[story]) - 1), min_size=2, max_size=6)):
        load = chain(story)[place]
        match draw(st.sampled_from(["whole", "whole", "some", "cut"])):
            case "some":
                load = kept(load, [*draw(st.lists(st.booleans(), min_size=1, max_size=7)), True])
            case "cut":
                load = cut(load, draw(st.floats(0.05, 0.99)))
        loads.append(load)
    return loads


@pytest.mark.parametrize("story", CHAINS)
def test_any_sequence_of_slices_keeps_what_must_hold(story: str, templates: dict[str, Template]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW, derandomize=True)
    @given(sequences(story))
    def holds(loads: list[Load]) -> None:
        with catalogue(templates["embedded"]) as one:
            for load in loads:
                (outcome,) = one.load(load)
                assert outcome.status is not RunStatus.FAILED
                assert (
                    outcome.rows == outcome.set_aside + outcome.duplicates + sum(outcome.segments.values())
                    or not outcome.segments
                )
            found = broken(one)
        assert not found, json.dumps(found, default=str, indent=1)

    holds()


@pytest.mark.parametrize("story", CHAINS)
def test_the_days_in_their_order_and_each_twice(story: str, templates: dict[str, Template]) -> None:
    with catalogue(templates["embedded"]) as one:
        for load in chain(story):
            (first,) = one.load(load)
            before = digest(one.owner_url)
            (again,) = one.load(load)
            assert first.status is RunStatus.APPLIED, first.reasons
            assert again.status is RunStatus.UNCHANGED
            assert digest(one.owner_url) == before
        found = broken(one)

    assert not found, json.dumps(found, default=str, indent=1)
