"""Rules are read as they are written, and what is refused says which field, which value, and what to send instead."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_registry.catalog.model import Kind
from instrument_registry.subscriptions.rules.model import (
    FilterRule,
    LadderRule,
    RuleRefused,
    Underlying,
    parsed,
    shown,
)

NIFTY = Underlying("NSE", "NIFTY")
LADDER: dict[str, object] = {"rule": "ladder", "underlying": "NSE:NIFTY", "around": 10, "expiries": 3}
FILTER: dict[str, object] = {"rule": "filter", "kind": "future", "underlying": "MCX:GOLD", "most": 20}


class TestARule:
    def test_is_read_with_what_was_left_out_as_it_usually_is(self) -> None:
        ladder, few = parsed([LADDER, FILTER])

        assert ladder == LadderRule(underlying=NIFTY, around=10, expiries=3)
        assert (ladder.most, ladder.hysteresis, ladder.interval_seconds) == (126, Decimal("0.5"), 60)
        assert few == FilterRule(kind=Kind.FUTURE, underlying=Underlying("MCX", "GOLD"), most=20)

    @pytest.mark.parametrize("text", ["NSE:NIFTY", "nse:nifty", "NSE:NIFTY;IDX", "NFO:NIFTY"])
    def test_means_one_underlying_however_it_is_named(self, text: str) -> None:
        assert Underlying.read(text) == NIFTY

    def test_keeps_a_name_that_needs_escapes(self) -> None:
        assert Underlying.read("NSE:NIFTY%20NEXT%2050") == Underlying("NSE", "NIFTY NEXT 50")
        assert str(Underlying("NSE", "NIFTY NEXT 50")) == "NSE:NIFTY%20NEXT%2050"

    @given(
        around=st.integers(0, 100), expiries=st.integers(1, 24), hysteresis=st.decimals(0, 10, places=3),
        sides=st.sampled_from([["C"], ["P"], ["C", "P"]]), interval=st.integers(1, 86_400),
    )  # fmt: skip
    def test_comes_back_from_its_json_form(
        self, around: int, expiries: int, hysteresis: Decimal, sides: list[str], interval: int
    ) -> None:
        rules = parsed(
            [
                LADDER | {"around": around, "expiries": expiries, "hysteresis": str(hysteresis), "sides": sides,
                          "interval_seconds": interval},
                {"rule": "filter", "kind": "option", "venue": "NFO", "most": 50, "expiry": "2026-08-25", "side": "C",
                 "strike_from": str(hysteresis)},
            ]
        )  # fmt: skip

        assert parsed([shown(rule) for rule in rules]) == rules
        assert isinstance(rules[1], FilterRule)
        assert rules[1].expiry == date(2026, 8, 25)


REFUSED: list[tuple[dict[str, object], str, str]] = [
    ({**LADDER, "rule": "steps"}, "rule", "ladder, filter"),
    ({**LADDER, "arround": 3}, "arround", "around"),
    ({"rule": "ladder", "around": 3}, "underlying", "underlying"),
    ({"rule": "filter", "venue": "NFO"}, "most", "most"),
    ({**LADDER, "around": 101}, "around", "0 to 100"),
    ({**LADDER, "around": "ten"}, "around", "whole number"),
    ({**LADDER, "around": True}, "around", "whole number"),
    ({**LADDER, "expiries": 0}, "expiries", "1 to 24"),
    ({**LADDER, "hysteresis": "-1"}, "hysteresis", "0 to 10"),
    ({**LADDER, "hysteresis": "NaN"}, "hysteresis", "decimal"),
    ({**LADDER, "interval_seconds": 0}, "interval_seconds", "1 to"),
    ({**LADDER, "sides": ["C", "C"]}, "sides", "C and P"),
    ({**LADDER, "sides": "C"}, "sides", "["),
    ({**LADDER, "underlying": "NFO:NIFTY;2026-09-01;24500;C"}, "underlying", "NSE:NIFTY"),
    ({**LADDER, "underlying": "NSX:NIFTY"}, "underlying", "NSE"),
    ({**LADDER, "underlying": "nifty"}, "underlying", "NSE:NIFTY"),
    ({"rule": "filter", "kind": "option", "most": 5}, "underlying", "venue"),
    ({**FILTER, "most": 5_001}, "most", "1 to 5000"),
    ({**FILTER, "kind": "futures"}, "kind", "future"),
    ({**FILTER, "venue": "NF0"}, "venue", "NFO"),
    ({**FILTER, "side": "C"}, "kind", "option"),
    ({**FILTER, "kind": "option", "side": "X"}, "side", "C, P"),
    ({**FILTER, "expiry": "tuesday"}, "expiry", "YYYY-MM-DD"),
    ({**FILTER, "expiry": "2026-09-01", "expiries": 1}, "expiries", "one"),
    ({**FILTER, "kind": "option", "strike_from": 10, "strike_to": 5}, "strike_to", "above"),
    ({"rule": "filter", "kind": "equity", "venue": "NSE", "most": 5, "expiries": 1}, "kind", "option"),
]


class TestWhatIsRefused:
    @pytest.mark.parametrize(("rule", "field", "remedy"), REFUSED, ids=lambda value: str(value)[:40])
    def test_names_field_value_and_remedy(self, rule: dict[str, object], field: str, remedy: str) -> None:
        with pytest.raises(RuleRefused) as error:
            parsed([FILTER, rule])

        facts = error.value.facts
        assert facts["field"] == f"rules[1].{field}"
        assert remedy in str(facts["remedy"])
        assert "value" in facts

    def test_is_too_many_rules(self) -> None:
        with pytest.raises(RuleRefused, match="At most 100"):
            parsed([LADDER] * 101)
