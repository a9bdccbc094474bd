"""What the hand-written samples of each broker must become: every trap in them was found in a real dump."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import Declared, Dump, Parsed, Unreadable

SAMPLES = Path(__file__).parents[1] / "samples"


def parsed(broker: str, file: str) -> Parsed:
    result = BROKERS[broker].parse(Dump(name=file, content=(SAMPLES / broker / file).read_bytes()))
    assert isinstance(result, Parsed)
    return result


def declared(broker: str, file: str) -> Declared:
    result = BROKERS[broker].parse(Dump(name=file, content=(SAMPLES / broker / file).read_bytes()))
    assert isinstance(result, Declared)
    return result


def read(broker: str, content: str) -> Parsed | Declared:
    return BROKERS[broker].parse(Dump(name="dump", content=content.encode()))


def page(category: str, length: int, *, cursor: str = "") -> str:
    """An answer of Bybit with that many rows."""
    result = {"category": category, "list": [{}] * length, "nextPageCursor": cursor}
    return json.dumps({"retCode": 0, "result": result})


def column(result: Parsed, name: str) -> dict[str, object]:
    return dict(result.rows.select("token", name).iter_rows())


def set_aside(result: Parsed | Declared) -> list[tuple[int, str, bool]]:
    return list(result.rejects.select("line", "field", "dropped").iter_rows())


class TestShoonya:
    def test_the_series_is_part_of_the_key_unless_it_is_of_the_share_family(self) -> None:
        result = parsed("shoonya", "shoonya_NSE.txt")

        assert column(result, "key") == {
            "26000": "NSE:NIFTY;IDX",
            "26017": "NSE:INDIA%20VIX;IDX",
            "90001": "NSE:TEA-LEAF",
            "90002": "NSE:R&D",
            "90003": "NSE:TEA-LEAF;W1",
            "90004": "NSE:SGBTEA35I;GB",
            "90005": "NSE:712TN41;SG",
            "90006": "NSE:GOLDLEAFETF",
            "90007": "NSE:TINYTEA",
            "90008": "NSE:011NSETEST",
        }
        assert column(result, "kind")["90006"] == "etf"
        assert [token for token, test in column(result, "is_test").items() if test] == ["90008"]
        assert set_aside(result) == [(12, "token", True), (13, "lot_size", True)]

    def test_the_constant_lot_of_an_index_is_not_told(self) -> None:
        result = parsed("shoonya", "shoonya_NSE.txt")

        assert column(result, "lot_size")["26000"] is None
        assert column(result, "tick_size")["26000"] is None

    def test_rows_torn_by_a_colon_are_set_aside_whole(self) -> None:
        result = parsed("shoonya", "shoonya_BSE.txt")

        assert list(column(result, "key").values()) == ["BSE:TEALEAF", "BSE:900TEA29;F", "BSE:TEALEAF-RE"]
        assert set_aside(result) == [(5, "row", True), (6, "row", True)]

    def test_absurd_expiries_and_strikes_are_set_aside_and_a_repeated_row_is_counted(self) -> None:
        result = parsed("shoonya", "shoonya_NFO.txt")

        assert list(column(result, "key").values()) == [
            "NFO:NIFTY;2026-09-01;24500;C",
            "NFO:NIFTY;2026-09-01;24500;P",
            "NFO:R&D;2026-09-29;177.5;C",
            "NFO:BANKNIFTY;F;2026-08-25",
            "NFO:011NSETEST;F;2036-11-27",
        ]
        assert set_aside(result) == [(7, "expiry", True), (8, "strike", True), (9, "expiry", True)]
        assert (result.read, result.duplicates) == (9, 1)

    def test_the_codes_of_bse_underlyings_are_read_from_the_symbol_and_only_if_the_columns_agree(self) -> None:
        result = parsed("shoonya", "shoonya_BFO.txt")

        assert list(column(result, "root").values()) == ["SENSEX", "SENSEX50", "SENSEX50", "R&D"]
        assert set_aside(result) == [(6, "row", True)]

    def test_a_header_with_one_comma_more_than_its_rows_is_read(self) -> None:
        result = parsed("shoonya", "shoonya_CDS.txt")

        assert list(column(result, "key").values()) == [
            "CDS:USDINR;SPOT",
            "CDS:USDINR;F;2026-09-11",
            "CDS:EURINR;2026-12-29;110.25;P",
            "CDS:EURUSD;2026-12-29;1.315;C",
        ]
        assert set(column(result, "multiplier").values()) == {"1000"}
        assert column(result, "tick_size")["6003"] == "0.0001"

    def test_lot_and_multiplier_of_a_commodity_are_kept_apart(self) -> None:
        result = parsed("shoonya", "shoonya_MCX.txt")

        lots = result.rows.select("root", "lot_size", "multiplier").rows()
        assert lots == [("GOLD", 1, "100"), ("GOLDGUINEA", 8, "0.125"), ("CRUDEOIL", 100, "1"), ("MCXBULLDEX", 30, "1")]
        assert column(result, "asset_class")["48004"] == "index"


class TestAliceBlue:
    def test_columns_are_found_by_name_whatever_their_order(self) -> None:
        nfo, bfo = parsed("aliceblue", "alice_NFO.csv"), parsed("aliceblue", "alice_BFO.csv")

        assert list(column(nfo, "symbol").values()) == ["MIDCPNIFTY29SEP26F", "R&D29SEP26C177.5"]
        assert list(column(bfo, "symbol").values()) == ["SENSEX2690380000PE", "R&D26SEPFUT"]
        assert list(column(bfo, "key").values()) == ["BFO:SENSEX;2026-09-03;80000;P", "BFO:R&D;F;2026-09-24"]
        assert set_aside(nfo) == [(4, "option_type", True)]

    def test_the_type_of_the_exchange_goes_before_what_a_name_sounds_like(self) -> None:
        result = parsed("aliceblue", "alice_NSE.csv")

        assert column(result, "kind") == {
            "90001": "equity",  # TEA LEAF BEES is no fund
            "90006": "etf",
            "90010": "preference_share",
            "90003": "warrant",
            "90011": "bond",
            "90008": "equity",
            "26037": "index",
        }
        assert column(result, "key")["26037"] == "NSE:FINNIFTY;IDX"
        assert set_aside(result) == [(9, "kind", True)]

    def test_the_lot_of_a_commodity_is_its_board_lot(self) -> None:
        result = parsed("aliceblue", "alice_MCX.csv")

        assert result.rows.select("key", "lot_size", "freeze_qty").rows() == [
            ("MCX:CRUDEOIL;2026-09-17;5800;C", 100, 100),
            ("MCX:GOLD;F;2026-10-05", 1, 10),
            ("MCX:MCXAGRI;IDX", None, None),
        ]


class TestNuvama:
    def test_names_tokens_and_isins_are_taken_from_where_they_really_are(self) -> None:
        result = parsed("nuvama", "nuvama_instruments.csv")

        assert column(result, "key") == {
            "90001_NSE": "NSE:TEALEAF",
            "90013_NSE": "NSE:TEA-LEAF",
            "90011_NSE": "NSE:9TEA29;N3",
            "90014_NSE": "NSE:8TEA28;N4",
            "590001_BSE": "BSE:TEALEAF",
            "-29": "NSE:NIFTY;IDX",
            "-22": "NSE:NIFTY%20MIDCAP%20100;IDX",
            "40003_NFO": "NFO:R&D;2026-09-29;177.5;C",
            "40004_NFO": "NFO:BANKNIFTY;F;2026-08-25",
            "6003_CDS": "CDS:EURUSD;2026-12-29;1.315;C",
            "48001_MCX": "MCX:GOLD;F;2026-10-05",
            "48004_MCX": "MCX:MCXBULLDEX;F;2026-08-28",
            "GUARSEED1027AUG26CE6500FSEP26_NCDEX": "NCDEX:GUARSEED10;2026-08-27;6500;C",
        }
        assert column(result, "exchange_token")["90001_NSE"] == "90001"
        assert column(result, "exchange_token")["-29"] is None
        assert column(result, "isin")["90001_NSE"] == "INE900T01013"
        assert result.duplicates == 1

    def test_a_garbled_token_takes_the_row_and_a_wrong_isin_only_the_isin(self) -> None:
        result = parsed("nuvama", "nuvama_instruments.csv")

        assert set_aside(result) == [(6, "isin", False), (16, "row", True)]
        assert column(result, "isin")["90014_NSE"] is None

    def test_the_warning_is_kept_without_the_question(self) -> None:
        told = {k: v for k, v in column(parsed("nuvama", "nuvama_instruments.csv"), "surveillance").items() if v}

        assert told == {"90013_NSE": "Stage I ESM Scrip."}

    def test_what_a_price_is_for_is_told_and_a_constant_multiplier_is_not(self) -> None:
        result = parsed("nuvama", "nuvama_instruments.csv")

        gold = result.rows.filter(pl.col("root") == "GOLD").select("lot_size", "multiplier", "quote_unit").rows()
        assert gold == [(1, None, "10 GRMS")]
        assert column(result, "multiplier")["6003_CDS"] == "1000"


class TestAngel:
    def test_the_documented_array_is_read_with_strikes_in_paise_and_in_millionths(self) -> None:
        result = parsed("angel", "OpenAPIScripMaster.json")

        assert column(result, "key") == {
            "90001": "NSE:TEA-LEAF",
            "90003": "NSE:TEA-LEAF;W1",
            "590001": "BSE:TEALEAF",
            "99926000": "NSE:NIFTY;IDX",
            "99919000": "BSE:SENSEX;IDX",
            "40001": "NFO:NIFTY;2026-09-01;24500;C",
            "40003": "NFO:R&D;2026-09-29;177.5;C",
            "40004": "NFO:BANKNIFTY;F;2026-08-25",
            "6002": "CDS:EURINR;2026-12-29;110.25;P",
            "48001": "MCX:GOLD;F;2026-10-05",
        }
        assert column(result, "tick_size") | {"99926000": None} == column(result, "tick_size")
        assert (column(result, "tick_size")["90001"], column(result, "tick_size")["6002"]) == ("0.1", "0.0025")
        assert column(result, "exchange_token")["99926000"] == "26000"

    def test_what_is_no_scrip_is_set_aside_by_element(self) -> None:
        result = parsed("angel", "OpenAPIScripMaster.json")

        assert set_aside(result) == [
            (10, "strike", True),
            (12, "option_type", True),
            (13, "kind", True),
            (14, "element", True),
        ]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ('{"NIFTY":{"token":"99926000","name":"NIFTY"}}\n', "lost every other row"),
            ("token,symbol,name\n17022,TEA-EQ,TEA\n", "not the broker's JSON array"),
            ('[{"token":"1","symbol":"A"},{"token":"2","symbol":"B"}]\n', "not the broker's array of scrips"),
            ('[{"token":"1","sym', "not a whole JSON array"),
            ("[]\n", "it is empty"),
        ],
    )
    def test_everything_else_is_refused_with_its_reason(self, content: str, reason: str) -> None:
        with pytest.raises(Unreadable, match=reason):
            read("angel", content)


class TestOfficialLists:
    def test_equities_have_a_symbol_for_a_token_and_no_exchange_token(self) -> None:
        result = parsed("nse", "EQUITY_L.csv")

        assert result.rows.select("segment", "token", "exchange_token", "key", "series", "face_value").rows() == [
            ("EQUITY_L", "TEA-LEAF", None, "NSE:TEA-LEAF", "EQ", "5"),
            ("EQUITY_L", "R&D", None, "NSE:R&D", "BE", "10"),
            ("EQUITY_L", "TEA-LEAF-RE", None, "NSE:TEA-LEAF-RE", "BE", "10"),
            ("EQUITY_L", "WRONGISIN", None, "NSE:WRONGISIN", "BZ", "10"),
        ]
        assert column(result, "name")["R&D"] == "Research, Drinks and Sons Limited"
        assert set_aside(result) == [(5, "isin", False)]

    def test_symbol_changes_have_no_header_and_a_symbol_is_not_changed_into_itself(self) -> None:
        result = declared("nse", "symbolchange.csv")

        assert result.what == "symbol_changes"
        assert result.rows.rows() == [
            ("LEAFTEA", "TEA-LEAF", date(2026, 8, 3), "Tea Leaf Limited"),
            ("RLEAF", "NLEAF", date(2019, 10, 30), "Leaf MF \N{EN DASH} Fund"),
            ("7TEA30", "8TEA30", date(2025, 2, 19), None),
        ]
        assert set_aside(result) == [
            (4, "new_symbol", True),
            (5, "effective_date", True),
            (6, "effective_date", True),
        ]

    def test_lots_are_declared_by_the_name_the_contracts_use(self) -> None:
        result = declared("nse", "fo_mktlots.csv")

        assert result.rows.rows() == [("BANKNIFTY", 35), ("NIFTYNXT50", 25), ("R&D", 2500)]
        assert set_aside(result) == [(5, "Lot Size", True)]

    def test_scrips_of_bse_are_read_past_their_padding_and_surplus_commas(self) -> None:
        result = parsed("bse", "list_of_scrips.csv")

        assert result.rows.select("token", "key", "series", "kind", "suspended").rows() == [
            ("590001", "BSE:TEALEAF", "A", "equity", False),
            ("590002", "BSE:R&D", "XT", "equity", True),
            ("590003", "BSE:TEALEAF-RE", "R", "rights", False),
            ("590004", "BSE:LEAFETF", "B", "etf", False),
            ("590006", "BSE:WRONG", "B", "equity", False),
        ]
        assert set_aside(result) == [(6, "row", True), (7, "isin", False)]

    def test_market_codes_are_declared_with_their_status(self) -> None:
        result = declared("iso10383", "iso10383.csv")

        assert result.rows.rows() == [
            ("XTEA", "XTEA", "TEA EXCHANGE, LEAF AND BUD", "IN", "ACTIVE", "TEAX"),
            ("XBUD", "XTEA", "TEA EXCHANGE - BUDS", "IN", "EXPIRED", None),
        ]
        assert set_aside(result) == [(4, "MIC", True)]


class TestBybit:
    def test_perpetuals_and_dated_futures_are_read(self) -> None:
        result = parsed("bybit", "bybit_linear.json")

        assert result.rows.select("token", "key", "kind", "currency", "lot_size", "tick_size", "suspended").rows() == [
            ("BTCUSDT", "BYBIT:BTC/USDT:USDT;PERP", "crypto_perpetual", "USDT", None, "0.1", False),
            ("1000TEAPERP", "BYBIT:1000TEA/USDC:USDC;PERP", "crypto_perpetual", "USDC", 100, "0.000001", True),
            ("BTCUSDT-25SEP26", "BYBIT:BTC/USDT:USDT;F;2026-09-25", "crypto_future", "USDT", None, "0.5", False),
        ]
        assert set_aside(result) == [
            (4, "tickSize", True),
            (5, "contractType", True),
            (6, "deliveryTime", True),
            (7, "element", True),
        ]

    def test_the_object_keyed_by_symbol_is_read_as_well(self) -> None:
        result = parsed("bybit", "bybit_by_symbol.json")

        assert list(column(result, "key").values()) == ["BYBIT:BTC/USDT:USDT;PERP", "BYBIT:ETH/USDT:USDT;PERP"]

    def test_spot_pairs_have_no_settlement(self) -> None:
        assert list(column(parsed("bybit", "bybit_spot.json"), "key").values()) == ["BYBIT:BTC/USDT"]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (page("linear", 20, cursor="first%3DA"), "one page of several"),
            (page("linear", 1000), "one page of several"),
            (json.dumps({f"S{number}": {} for number in range(500)}), "one page of several"),
            ('{"retCode":10001,"retMsg":"params error","result":{"list":[]}}', "answered with an error"),
            (page("option", 1), "Only linear, inverse and spot"),
            (page("linear", 0), "empty"),
            ('{"A":{"token":"1"}}', "Not one element"),
            ('{"A":{"tok', "not an answer"),
            ("<html></html>", "web page"),
        ],
    )
    def test_a_page_an_error_or_something_else_is_refused(self, content: str, reason: str) -> None:
        with pytest.raises(Unreadable, match=reason):
            read("bybit", content)
