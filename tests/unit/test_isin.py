import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import isin as reference

from instrument_registry.catalog.isin import is_isin, valid_isins

bodies = st.from_regex(r"[A-Z]{2}[A-Z0-9]{9}", fullmatch=True)
countries = st.sampled_from(["IN", "US", "GB", "XS", "DE"])


class TestCheckDigit:
    @settings(deadline=None)
    @given(countries, st.from_regex(r"[A-Z0-9]{9}", fullmatch=True), st.integers(0, 9))
    def test_it_agrees_with_an_independent_implementation(self, country: str, body: str, digit: int) -> None:
        text = f"{country}{body}{digit}"

        assert is_isin(text) == reference.is_valid(text)

    @settings(deadline=None)
    @given(bodies)
    def test_exactly_one_digit_completes_a_body(self, body: str) -> None:
        assert sum(is_isin(body + str(digit)) for digit in range(10)) == 1

    def test_what_has_not_the_shape_is_none(self) -> None:
        for text in ("", "INE002A0101", "INE002A010188", "ine002a01018", "INEl48I07QA5", "INE002A0101\u0668"):
            assert not is_isin(text)

    def test_a_column_keeps_the_good_and_loses_the_bad(self) -> None:
        column = pl.Series(["INE002A01018", "INE002A01019", None, "DUMMYSAN001", "INE002A01018"])

        assert valid_isins(column).to_list() == ["INE002A01018", None, None, None, "INE002A01018"]
