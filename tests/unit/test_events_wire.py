"""Under which name an event travels, and to whom."""

import pytest

from instrument_registry.events import wire
from instrument_registry.events.wire import BadFilter, check_filters, matches, sent_as, wire_types


class TestNames:
    def test_every_instrument_fact_but_a_listing_is_also_an_update(self) -> None:
        assert wire_types("instrument.delisted") == ("instrument.delisted", "instrument.updated")
        assert wire_types("instrument.listed") == ("instrument.listed",)
        assert wire_types("ingestion.applied") == ("ingestion.applied",)

    @pytest.mark.parametrize(
        ("pattern", "type_", "meant"),
        [
            ("*", "ingestion.applied", True),
            ("instrument.*", "instrument.delisted", True),
            ("instrument.*", "instrumental.delisted", False),
            ("instrument.delisted", "instrument.delisted", True),
            ("instrument.delisted", "instrument.delisted_again", False),
            ("instrument", "instrument.delisted", False),
        ],
    )
    def test_a_filter_means_a_name_a_family_or_everything(self, pattern: str, type_: str, meant: bool) -> None:
        assert matches(pattern, type_) is meant

    @pytest.mark.parametrize(
        ("filters", "name"),
        [
            (["*"], "instrument.delisted"),
            (["instrument.*"], "instrument.delisted"),
            (["instrument.updated"], "instrument.updated"),
            (["instrument.updated", "instrument.delisted"], "instrument.delisted"),
            (["ingestion.*"], None),
            ([], None),
        ],
    )
    def test_one_event_goes_out_once_under_the_name_that_says_most(self, filters: list[str], name: str | None) -> None:
        assert sent_as("instrument.delisted", filters) == name


@pytest.mark.parametrize("pattern", ["", "**", "instrument.", "*.listed", "instrument.*.x", "Instrument.listed", "a b"])
def test_a_filter_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(BadFilter):
        check_filters([pattern], field="event_types[0]")


def test_filters_of_every_form_are_taken() -> None:
    check_filters([wire.EVERYTHING, "instrument.*", "instrument.updated", "external.desk.*"], field="event_types")
