"""What the hand-written samples of Zerodha, Upstox, Dhan and Fyers must become: every trap was found in a real dump."""

from pathlib import Path

import polars as pl
import pytest

from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import Dump, Parsed, Unreadable

SAMPLES = Path(__file__).parents[1] / "samples"


def parsed(broker: str, file: str) -> Parsed:
    result = BROKERS[broker].parse(Dump(name=file, content=(SAMPLES / broker / file).read_bytes()))
    assert isinstance(result, Parsed)
    return result


def column(result: Parsed, name: str) -> dict[str, object]:
    return dict(result.rows.select("token", name).iter_rows())


def set_aside(result: Parsed) -> list[tuple[int, str, bool]]:
    return list(result.rejects.select("line", "field", "dropped").iter_rows())


class TestZerodha:
    def test_a_suffix_is_a_series_only_if_the_exchange_has_such_a_series(self) -> None:
        result = parsed("zerodha", "kite_NSE.csv")

        assert list(column(result, "key").values()) == [
            "NSE:NIFTY;IDX",
            "NSE:BANKNIFTY;IDX",
            "NSE:INDIA%20VIX;IDX",
            "NSE:TEA-LEAF",
            "NSE:R&D",
            "NSE:TEA-LEAF;W1",
            "NSE:SGBTEA35I;GB",
            "NSE:712TN41;SG",
            "NSE:GOLDLEAFETF",
            "NSE:TINYTEA",
            "NSE:011NSETEST",
            "NSE:TEALEAINAV;IDX",
            "NSE:TEA-LEAF-RE",
            "NSE:NXT-TEA;IV",
        ]
        assert column(result, "series")["23041793"] == "ST"

    def test_kinds_are_told_by_series_and_words(self) -> None:
        kinds = column(parsed("zerodha", "kite_NSE.csv"), "kind")

        assert list(kinds.values()) == [
            *["index"] * 3,
            "equity",
            "equity",
            "warrant",
            "sgb",
            "sdl",
            "etf",
            "equity",
            "equity",
            "index",
            "rights",
            "invit",
        ]

    def test_what_cannot_be_believed_is_set_aside_by_line(self) -> None:
        result = parsed("zerodha", "kite_NSE.csv")

        assert set_aside(result) == [
            (16, "token", True),
            (17, "lot_size", True),
            (18, "kind", True),
            (19, "segment", True),
            (20, "line", True),
        ]
        assert [token for token, test in column(result, "is_test").items() if test] == ["23042049"]

    def test_the_number_of_an_index_is_not_the_exchange_s_and_it_has_no_lot(self) -> None:
        first = parsed("zerodha", "kite_NSE.csv").rows.row(0, named=True)

        assert (first["segment"], first["token"], first["exchange_token"]) == ("INDICES", "256265", None)
        assert (first["lot_size"], first["tick_size"]) == (None, None)

    def test_numbers_printed_in_two_ways_are_the_same_contracts(self) -> None:
        result = parsed("zerodha", "kite_NFO.csv")

        assert list(column(result, "key").values())[:5] == [
            "NFO:NIFTY;F;2026-09-29",  # the later of two rows with one token: both are kept for ingestion to judge
            "NFO:NIFTY;2026-09-01;24500;C",
            "NFO:NIFTY;2026-09-29;24500;P",
            "NFO:R&D;2026-09-29;177.5;C",
            "NFO:TEA-LEAF;2026-09-29;370.75;P",
        ]
        assert result.rows.filter(pl.col("token") == "23552002")["expiry"].cast(pl.String).to_list() == [
            "2026-08-25",
            "2026-09-29",
        ]
        assert (result.read, result.duplicates) == (12, 1)
        assert set(column(result, "asset_class").values()) == {"index", "equity"}

    def test_strikes_that_are_no_number_and_days_that_are_none_are_set_aside(self) -> None:
        assert set_aside(parsed("zerodha", "kite_NFO.csv")) == [
            (7, "strike", True),
            (8, "strike", True),
            (9, "expiry", True),
            (10, "strike", True),
            (11, "expiry", True),
        ]

    def test_the_constants_of_the_reduced_format_are_not_told_and_its_tokens_still_are(self) -> None:
        result = parsed("zerodha", "kite_NSE_reduced.csv")

        assert result.dialect == "kite-reduced"
        assert result.rows.select("key", "exchange_token", "lot_size", "tick_size").rows() == [
            ("NSE:TEA-LEAF", "90001", None, None),
            ("NSE:TEA-LEAF;W1", "90003", None, None),
        ]

    def test_at_bse_the_scrip_code_tells_debt_which_has_its_group_in_the_key(self) -> None:
        result = parsed("zerodha", "kite_BSE.csv")

        assert result.rows.select("key", "kind").rows() == [
            ("BSE:SENSEX;IDX", "index"),
            ("BSE:TEALEAF", "equity"),
            ("BSE:775TEA33;F", "bond"),
            ("BSE:SGBTEA35I;G", "sgb"),
        ]


class TestUpstox:
    def test_every_segment_gets_its_keys(self) -> None:
        assert column(parsed("upstox", "complete.json"), "key") == {
            "NSE_EQ|INE111Q01013": "NSE:TEA-LEAF",
            "NSE_EQ|INE111Q13018": "NSE:TEA-LEAF;W1",
            "NSE_EQ|IN3120990012": "NSE:712TN41;SG",
            "BSE_EQ|INE111Q07010": "BSE:TEA-7.75%25;F",
            "BSE_EQ|": "BSE:KELP%24",
            "NSE_INDEX|Nifty 50": "NSE:NIFTY;IDX",
            "BSE_INDEX|METAL": "BSE:METAL;IDX",
            "GLOBAL_INDEX|^DJI": "GLOBAL:%5EDJI;IDX",
            "GLOBAL_INDICATOR|USDINR": "GLOBAL:USDINR;SPOT",
            "NSE_FO|92001": "NFO:NIFTY;2026-09-01;24500;C",
            "NSE_FO|92010": "NFO:R&D;2026-09-29;177.5;P",
            "NCD_FO|90001": "CDS:USDINR;F;2026-09-29",
            "MCX_FO|480001": "MCX:GOLD;F;2026-10-05",
            "MCX_FO|480002": "MCX:CRUDEOILM;2026-09-17;5800;C",
            "NSE_COM|14": "NCO:NATURALGAS;SPOT",
            "BCD_FO|210001": "BCD:668GS2040;2026-09-29;99.25;C",
            "NSE_EQ|INE111Q01010": "NSE:WRONGDIGIT",
        }

    def test_ticks_come_in_paise_and_the_worth_of_a_point_is_divided_by_the_lot_at_mcx_only(self) -> None:
        rows = parsed("upstox", "complete.json").rows

        told = rows.select("token", "lot_size", "multiplier", "tick_size", "quote_unit").rows()
        assert {token: rest for token, *rest in told if token.split("|")[0] in ("NSE_FO", "NCD_FO", "MCX_FO")} == {
            "NSE_FO|92001": [65, "1", "0.05", None],
            "NSE_FO|92010": [900, "1", "0.05", None],
            "NCD_FO|90001": [1, "1000", "0.0025", None],
            "MCX_FO|480001": [1, "100", "1", "GRMS"],
            "MCX_FO|480002": [10, "1", "0.1", "BBL"],
        }

    def test_kinds_classes_and_currencies(self) -> None:
        result = parsed("upstox", "complete.json")

        kinds, classes, currencies = (column(result, name) for name in ("kind", "asset_class", "currency"))
        assert (kinds["NSE_EQ|INE111Q13018"], kinds["BSE_EQ|INE111Q07010"]) == ("warrant", "bond")
        assert (kinds["GLOBAL_INDICATOR|USDINR"], currencies["GLOBAL_INDEX|^DJI"]) == ("spot_currency", None)
        assert (classes["BCD_FO|210001"], classes["NSE_FO|92001"]) == ("rate", "index")
        assert column(result, "surveillance")["NSE_EQ|INE111Q13018"] == "PCA"

    def test_elements_that_are_no_instruments_and_wrong_values_are_set_aside(self) -> None:
        result = parsed("upstox", "complete.json")

        assert set_aside(result) == [
            (17, "expiry", True),
            (18, "element", True),
            (19, "isin", False),
            (20, "element", True),
            (21, "segment", True),
        ]
        assert column(result, "isin")["NSE_EQ|INE111Q01010"] is None

    def test_the_old_csv_has_its_underlyings_inside_the_symbols(self) -> None:
        result = parsed("upstox", "complete.csv")

        assert result.rows.select("key", "tick_size", "series", "asset_class").rows() == [
            ("NSE:TEA-LEAF", "0.1", None, None),
            ("NSE:712TN41;SG", "0.01", "SG", None),
            ("NFO:NIFTY;2026-09-01;24500;C", "0.05", None, "index"),
            ("NFO:R&D;2026-09-29;177.5;C", "0.05", None, "equity"),
            ("BFO:SENSEX50;F;2026-09-24", "0.05", None, "index"),
            ("CDS:USDINR;F;2026-09-29", "0.0025", None, "currency"),
            ("NCO:BRCRUDE;SPOT", "1", None, None),
            ("NSE:BANKNIFTY;IDX", None, None, None),
        ]

    def test_without_a_series_a_warrant_has_no_name_and_a_symbol_against_its_columns_no_underlying(self) -> None:
        result = parsed("upstox", "complete.csv")

        assert set_aside(result) == [(3, "row", True), (11, "root", True)]

    def test_the_fields_as_a_csv_say_the_same(self) -> None:
        fields, array = parsed("upstox", "fields.csv"), parsed("upstox", "complete.json")

        expected = array.rows.filter(pl.col("token").is_in(fields.rows["token"].to_list()))
        told = ["token", "key", "lot_size", "tick_size", "isin", "expiry", "freeze_qty"]
        assert fields.rows.select(told).rows() == expected.select(told).rows()

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b'[{"segment":"NSE_EQ"', "not a whole JSON array"),
            (b'{"error":"try later"}', "not a whole JSON array"),
            (b"[]", "an empty array"),
            (b'[{"a":1},{"b":2}]', "its elements are not instruments"),
        ],
    )
    def test_json_that_is_no_dump_is_refused(self, content: bytes, reason: str) -> None:
        with pytest.raises(Unreadable, match=reason):
            BROKERS["upstox"].parse(Dump(name="complete.json", content=content))


class TestDhan:
    def test_underlyings_are_read_before_the_month_and_codes_of_bse_are_not_names(self) -> None:
        assert column(parsed("dhan", "compact.csv"), "key") == {
            "90001": "CDS:USDINR;2026-09-29;88.375;C",  # the same number as the share's: unique by segment only
            "90003": "NSE:TEA-LEAF;W1",
            "90006": "NSE:GOLDLEAF",
            "970002": "BSE:KELP%24",
            "970003": "BSE:05LEAF;F",
            "92001": "NFO:NIFTY;2026-09-01;24500;C",
            "92030": "NFO:NIFTY;2026-09-08;24500;C",
            "92000": "NFO:NIFTY;F;2026-08-25",
            "870002": "BFO:SENSEX;2026-09-24;80000.5;P",
            "870003": "BFO:TEA-LEAF;F;2026-09-24",
            "210002": "BCD:USDINR;F;2026-08-28",
            "480002": "MCX:CRUDEOILM;2026-09-17;5800;C",
            "480003": "MCX:MCXBULLDEX;F;2026-09-24",
            "13": "NSE:NIFTY;IDX",
            "83": "BSE:SENSEX50;IDX",
            "36687": "NFO:011NSETEST;F;2036-11-27",
            "5024": "GLOBAL:GIFT%20NIFTY;IDX",
        }

    def test_one_number_in_two_segments_is_two_instruments(self) -> None:
        rows = parsed("dhan", "compact.csv").rows

        assert rows.filter(pl.col("token") == "90001").select("segment", "key").rows() == [
            ("NSE_E", "NSE:TEA-LEAF"),
            ("NSE_C", "CDS:USDINR;2026-09-29;88.375;C"),
        ]

    def test_ticks_are_paise_but_for_indices_and_the_lot_of_commodities_is_not_told(self) -> None:
        result = parsed("dhan", "compact.csv")

        ticks, lots = column(result, "tick_size"), column(result, "lot_size")
        assert (ticks["92001"], ticks["13"], ticks["5024"], ticks["90003"]) == ("0.05", "0.05", None, "0.05")
        assert (lots["92001"], lots["480002"], lots["13"]) == (65, None, None)

    def test_funds_are_told_by_type_and_closed_ended_ones_by_series(self) -> None:
        result = parsed("dhan", "compact.csv")

        kinds, classes = column(result, "kind"), column(result, "asset_class")
        assert (kinds["90006"], kinds["970003"], kinds["90003"]) == ("etf", "mutual_fund", "warrant")
        assert (classes["870002"], classes["870003"], classes["480003"]) == ("index", "equity", "index")

    def test_rows_without_day_side_name_or_lot_are_set_aside(self) -> None:
        assert set_aside(parsed("dhan", "compact.csv")) == [
            (19, "expiry", True),
            (20, "option_type", True),
            (21, "root", True),
            (22, "lot_size", True),
        ]

    def test_its_last_line_has_no_newline_and_must_be_whole(self) -> None:
        content = (SAMPLES / "dhan" / "compact.csv").read_bytes()

        assert not content.endswith(b"\n")
        with pytest.raises(Unreadable, match="cut off in its last line"):
            BROKERS["dhan"].parse(Dump(name="compact.csv", content=content[:-40]))

    def test_the_detailed_format_tells_isin_and_surveillance(self) -> None:
        result = parsed("dhan", "detailed.csv")

        assert result.dialect == "dhan-detailed"
        assert result.rows.select("key", "isin", "surveillance", "is_test").rows() == [
            ("NSE:TEA-LEAF", "INE111Q01013", "ASM2", False),
            ("NSE:712TN41;SG", "IN3120990012", None, False),
            ("NSE:011NSETEST", None, "P", True),
            ("NSE:MIDCPNIFTY;IDX", None, None, False),
            ("NFO:NIFTY;2026-09-01;24500;C", None, None, False),
            ("BFO:SENSEX;2026-09-24;80000;P", None, None, False),
        ]
        assert set_aside(result) == [(4, "isin", False)]


class TestFyers:
    def test_cash_symbols_always_end_in_their_series(self) -> None:
        result = parsed("fyers", "NSE_CM.csv")

        assert result.rows.select("key", "kind", "exchange_token").rows() == [
            ("NSE:TEA-LEAF", "equity", "90001"),
            ("NSE:TEA-LEAF;W1", "warrant", "90003"),
            ("NSE:GOLDLEAF", "etf", "90006"),
            ("NSE:NXT-TEA;IV", "invit", "90011"),
            ("NSE:NIFTY;IDX", "index", "26000"),
            ("NSE:NIFTY%20MIDCAP%20100;IDX", "index", None),
            ("NSE:WRONGDIGIT", "equity", "90017"),
        ]
        assert set_aside(result) == [(7, "isin", False), (8, "kind", True)]

    def test_expiries_are_seconds_at_the_close_and_strikes_of_futures_mean_nothing(self) -> None:
        options, currencies = parsed("fyers", "BSE_FO.csv"), parsed("fyers", "NSE_CD.csv")

        assert list(column(options, "key").values()) == [
            "BFO:SENSEX;2026-09-24;80000;P",
            "BFO:TEA-LEAF;F;2026-09-24",
        ]
        assert set_aside(options) == [(3, "strike", True), (4, "expiry", True)]
        assert currencies.rows.select("key", "asset_class", "tick_size").rows() == [
            ("CDS:USDINR;2026-09-29;88.375;C", "currency", "0.0025"),
            ("CDS:668GS2040;F;2026-09-29", "rate", "0.0025"),
        ]

    def test_a_table_of_another_publisher_is_refused(self) -> None:
        other = b",".join(str(n).encode() for n in range(21)) + b"\n"

        with pytest.raises(Unreadable, match="not those of Fyers"):
            BROKERS["fyers"].parse(Dump(name="NSE_CM.csv", content=other * 3))
