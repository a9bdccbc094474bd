import pytest
from stdnum import cfi as reference

from instrument_registry.catalog.cfi import CASH, FUTURES, OPTION_UNDERLYING, cfi_of
from instrument_registry.catalog.model import AssetClass, Kind


class TestCfi:
    @pytest.mark.parametrize("kind", Kind)
    def test_every_kind_has_a_code_of_six_letters_in_an_iso_group(self, kind: Kind) -> None:
        code = cfi_of(kind, asset_class=AssetClass.EQUITY, option_type="C")

        assert len(code) == 6
        assert reference.info(code)["category"]

    @pytest.mark.parametrize("asset_class", AssetClass)
    def test_contracts_tell_what_they_are_written_on(self, asset_class: AssetClass) -> None:
        future = cfi_of(Kind.FUTURE, asset_class=asset_class)
        call = cfi_of(Kind.OPTION, asset_class=asset_class, option_type="C")
        put = cfi_of(Kind.OPTION, asset_class=asset_class, option_type="P")

        assert (future[0], call[:2], put[:2]) == ("F", "OC", "OP")
        assert call[3] == put[3] == OPTION_UNDERLYING[asset_class]
        assert reference.is_valid(future)
        assert reference.is_valid(call)

    def test_known_instruments(self) -> None:
        assert cfi_of(Kind.EQUITY) == "ESXXXX"
        assert cfi_of(Kind.FUTURE, asset_class=AssetClass.INDEX) == "FFIXXX"
        assert cfi_of(Kind.FUTURE, asset_class=AssetClass.COMMODITY) == "FCXXXX"
        assert cfi_of(Kind.OPTION, asset_class=AssetClass.INDEX, option_type="C") == "OCXIXX"
        assert cfi_of(Kind.INDEX) == "TIXXXX"

    def test_what_was_not_told_is_an_x(self) -> None:
        assert cfi_of(Kind.FUTURE) == "FXXXXX"
        assert cfi_of(Kind.OPTION) == "OMXXXX"

    def test_no_kind_is_forgotten(self) -> None:
        assert set(CASH) | {Kind.FUTURE, Kind.OPTION} == set(Kind)
        assert set(FUTURES) == set(OPTION_UNDERLYING) == set(AssetClass)
