import io
from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument_registry.catalog.brokers import tables
from instrument_registry.catalog.brokers.columns import (
    contract_root,
    decimals,
    index_name,
    integers,
    ist_date,
    sides,
    split_series,
)
from instrument_registry.catalog.brokers.frame import Dump, Unreadable
from instrument_registry.catalog.brokers.kinds import cash_kind, contract_class
from instrument_registry.catalog.brokers.tables import read_csv
from instrument_registry.catalog.keys import minimal_decimal

cells = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters='",'), max_size=8)
quoted = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters='"'), max_size=8)


def one(expression: pl.Expr, **values: object) -> object:
    return pl.DataFrame({name: [value] for name, value in values.items()}).select(expression).item()


def text_column(*texts: str | None) -> pl.Series:
    return pl.Series(texts, dtype=pl.String)


class TestNumbers:
    @settings(deadline=None)
    @given(st.decimals(0, 10**9, places=5))
    def test_a_decimal_keeps_its_value_and_loses_its_needless_zeros(self, value: Decimal) -> None:
        made = decimals(text_column(f"{value:f}"))[0]

        assert Decimal(made) == value
        assert made == minimal_decimal(made)

    @settings(deadline=None)
    @given(st.decimals(0, 10**9, places=4))
    def test_paise_are_hundredths(self, value: Decimal) -> None:
        assert Decimal(decimals(text_column(f"{value:f}"), divisor=100)[0]) * 100 == value

    @pytest.mark.parametrize(
        ("printed", "meant"),
        [
            ("24500.00000", "24500"),
            ("0024500", "24500"),
            ("177.50", "177.5"),
            ("0.0025", "0.0025"),
            ("-0", "0"),
            ("1e2", "100"),
            ("5.", "5"),
            ("1e-07", "0.0000001"),
            ("NaN", None),
            ("inf", None),
            ("-0.01", None),
            ("1_000", None),
            ("1,000", None),
            ("1e99", None),
            ("٣", None),
            ("9" * 31, None),
            (None, None),
        ],
    )
    def test_what_is_no_finite_number_is_null(self, printed: str | None, meant: str | None) -> None:
        assert decimals(text_column(printed)).to_list() == [meant]

    def test_lots_are_whole(self) -> None:
        assert integers(text_column("65.0", "0", "65.5", "-1", "x", "9" * 25)).to_list() == [
            65,
            0,
            None,
            None,
            None,
            None,
        ]

    def test_epochs_are_days_in_india_whatever_the_hour(self) -> None:
        assert one(ist_date(pl.col("at"), unit="ms"), at="1788287399000") == date(2026, 9, 1)
        assert one(ist_date(pl.col("at"), unit="s"), at="1790244000") == date(2026, 9, 24)
        assert one(ist_date(pl.col("at"), unit="s"), at="soon") is None


class TestNames:
    @pytest.mark.parametrize(
        ("symbol", "name", "series"),
        [
            ("RELIANCE", "RELIANCE", "EQ"),
            ("RELIANCE-EQ", "RELIANCE", "EQ"),
            ("BAJAJ-AUTO", "BAJAJ-AUTO", "EQ"),
            ("BAJAJ-AUTO-BE", "BAJAJ-AUTO", "BE"),
            ("NXT-INFRA-IV", "NXT-INFRA", "IV"),
            ("NAM-INDIA", "NAM-INDIA", "EQ"),
            ("UMIYA-MRO", "UMIYA-MRO", "EQ"),
            ("MCCHRLS-B", "MCCHRLS-B", "EQ"),
            ("SGBJUN31I-GB", "SGBJUN31I", "GB"),
            ("TEA-RE-BE", "TEA-RE", "BE"),
            ("IMC1-N2", "IMC1", "N2"),
            ("-EQ", "-EQ", "EQ"),
        ],
    )
    def test_a_tail_is_a_series_only_if_there_is_one_of_that_name(self, symbol: str, name: str, series: str) -> None:
        found = pl.DataFrame({"symbol": [symbol]}).select(
            *(part.alias(str(i)) for i, part in enumerate(split_series(pl.col("symbol"))))
        )

        assert found.row(0) == (name, series)

    @pytest.mark.parametrize(
        ("symbol", "day", "strike", "side", "root"),
        [
            ("NIFTY26AUG24450CE", date(2026, 8, 25), "24450", "C", "NIFTY"),
            ("NIFTY2690124450CE", date(2026, 9, 1), "24450", "C", "NIFTY"),
            ("SENSEX25O1687300PE", date(2025, 10, 16), "87300", "P", "SENSEX"),
            ("EURINR25O17110.25PE", date(2025, 10, 17), "110.25", "P", "EURINR"),
            ("SENSEX5025OCTFUT", date(2025, 10, 30), None, None, "SENSEX50"),
            ("633GS203525OCT102PE", date(2025, 10, 30), "102", "P", "633GS2035"),
            ("NIFTY26AUG24450CE", date(2026, 9, 29), "24450", "C", None),
            ("NIFTY26AUG24450CE", date(2026, 8, 25), "24400", "C", None),
        ],
    )
    def test_an_underlying_is_what_the_other_columns_leave_of_a_symbol(
        self, symbol: str, day: date, strike: str | None, side: str | None, root: str | None
    ) -> None:
        row = pl.DataFrame(
            {"symbol": [symbol], "expiry": [day], "strike": [strike], "side": [side]},
            schema={"symbol": pl.String, "expiry": pl.Date, "strike": pl.String, "side": pl.String},
        )

        found = contract_root(pl.col("symbol"), expiry=pl.col("expiry"), strike=pl.col("strike"), side=pl.col("side"))
        assert row.select(found).item() == root

    @pytest.mark.parametrize(
        ("venue", "printed", "name"),
        [
            ("NSE", "Nifty 50", "NIFTY"),
            ("NSE", "NIFTY50", "NIFTY"),
            ("NSE", "Nifty Fin Services", "FINNIFTY"),
            ("NSE", "Nifty  Fin  Service", "FINNIFTY"),
            ("NSE", "INDIAVIX", "INDIA VIX"),
            ("NSE", "NIFTYMCAP50", "NIFTY MIDCAP 50"),
            ("NSE", "Nifty Newly  Made", "NIFTY NEWLY MADE"),
            ("BSE", "SNSX50", "SENSEX50"),
            ("BSE", "100", "BSE100"),
            ("GLOBAL", "DOW JONES", "^DJI"),
            ("MCX", "MCXBULLDEX", "MCXBULLDEX"),
        ],
    )
    def test_an_index_has_one_name_however_it_is_printed(self, venue: str, printed: str, name: str) -> None:
        assert index_name(venue, printed) == name

    def test_sides_in_any_case_and_nothing_else(self) -> None:
        assert pl.DataFrame({"s": ["CE", "pe", "C", "P", "XX", "FF", None]}).select(sides(pl.col("s")))[
            "s"
        ].to_list() == ["C", "P", "C", "P", None, None, None]


class TestKinds:
    @pytest.mark.parametrize(
        ("venue", "series", "root", "isin", "name", "kind"),
        [
            ("NSE", "EQ", "RELIANCE", "INE002A01018", "RELIANCE INDUSTRIES", "equity"),
            ("NSE", "EQ", "FIRSTCRY", None, "BRAINBEES SOLUTIONS", "equity"),
            ("NSE", "EQ", "JETFREIGHT", None, "JET FREIGHT LOGISTICS", "equity"),
            ("NSE", "EQ", "NIFTYBEES", None, "NIPPON INDIA ETF", "etf"),
            ("NSE", "EQ", "IT", "INF174KA1KA5", "KOTAK", "etf"),
            ("NSE", "SM", "TINY", None, "TINY", "equity"),
            ("NSE", "E1", "TEAPP", "IN9111Q01018", "TEA RS.5 PPD UP", "equity"),
            ("NSE", "N0", "900TEA29", None, None, "bond"),
            ("NSE", "D1", "CHOLAFIN", None, "CHOLAMANDALAM", "bond"),
            ("NSE", "IV", "NHIT", None, None, "invit"),
            ("BSE", "F", "07AGG", "INF204KB1234", "A Mutual Fund", "mutual_fund"),
            ("BSE", "F", "EBBETF0430", "INF754K01KN3", "Edelweiss Mutual Fund", "etf"),
            ("BSE", "F", "79AMC29", None, "AMC-7.90%-6-2-29-MB", "bond"),
            ("BSE", "F", "TVSMNCRPS", "INE494B04019", "TVS Motor", "preference_share"),
            ("BSE", "G", "SGBJUN31I", None, None, "sgb"),
            ("BSE", "G", "364T151026", None, None, "tbill"),
            ("BSE", "G", "757GS33", "IN0020230085", "GOI", "gsec"),
            ("BSE", "G", "X", "IN002026Z015", None, "tbill"),
            ("BSE", "G", "Y", "IN2220200306", None, "sdl"),
            ("BSE", "IF", "KRT", "INE1JAR25012", "KNOWLEDGE REALTY TRUST", "reit"),
            ("BSE", "IF", "BIRET", None, "Brookfield India Real Estate Trust", "reit"),
            ("BSE", "IF", "ANZEN", None, "Anzen India Energy Yield Plus", "invit"),
            ("BSE", "R", "TEA-RE", None, None, "rights"),
            ("BSE", "B", "ATLPP", "IN90KNT01012", "Allcargo", "equity"),
        ],
    )
    def test_cash_rows(self, venue: str, series: str, root: str, isin: str | None, name: str | None, kind: str) -> None:
        row = pl.DataFrame(
            {"venue": [venue], "series": [series], "root": [root], "isin": [isin], "name": [name]},
            schema=dict.fromkeys(("venue", "series", "root", "isin", "name"), pl.String),
        )

        assert row.select(cash_kind()).item() == kind

    @pytest.mark.parametrize(
        ("venue", "root", "asset_class"),
        [
            ("NFO", "RELIANCE", "equity"),
            ("NFO", "MIDCPNIFTY", "index"),
            ("NFO", "011NSETEST", "equity"),
            ("BFO", "SENSEX50", "index"),
            ("CDS", "USDINR", "currency"),
            ("CDS", "668GS2040", "rate"),
            ("CDS", "91DTB", "rate"),
            ("MCX", "MCXBULLDEX", "index"),
            ("MCX", "GOLD", "commodity"),
        ],
    )
    def test_contracts(self, venue: str, root: str, asset_class: str) -> None:
        assert one(contract_class(), venue=venue, root=root, kind="future") == asset_class


class TestTables:
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 999), cells, quoted, cells), min_size=1, max_size=30),
        st.sampled_from(["\n", "\r\n"]),
        st.integers(1, 7),
    )
    def test_what_was_written_is_read_with_its_line_numbers(
        self, rows: list[tuple[int, str, str, str]], end: str, rows_at_once: int
    ) -> None:
        out = io.StringIO()
        out.write(f"id,a,b,c,{end}")
        for number, a, b, c in rows:
            out.write(f'{number},{a},"{b}",{c},{end}')

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tables, "PART_ROWS", rows_at_once)
            table = read_csv(Dump(name="x", content=out.getvalue().encode()), required=["c", "id"], optional=["b", "z"])

        assert table.read == len(rows)
        assert table.rejects.is_empty()
        assert table.frame.columns == ["line", "c", "id", "b", "z"]
        assert table.frame.rows() == [
            (line, c or None, str(number), b.strip() or None, None)
            for line, (number, _, b, c) in enumerate(rows, start=2)
        ]

    def test_lines_that_are_not_whole_are_set_aside_and_the_others_keep_their_numbers(self) -> None:
        content = b'a,b\n1,2\n3\n4,5,6\n\n"7,8\n"9,9",10\n11,12\n13,14\n'

        table = read_csv(Dump(name="x", content=content), required=["a", "b"])

        assert table.frame.rows() == [(2, "1", "2"), (7, "9,9", "10"), (8, "11", "12"), (9, "13", "14")]
        assert table.rejects.select("line", "reason").rows() == [
            (3, "It has 1 fields instead of 2"),
            (4, "It has 3 fields instead of 2"),
            (6, "A quote is opened and not closed"),
        ]
        assert table.read == 7

    def test_surplus_commas_of_header_or_rows_do_no_harm(self) -> None:
        longer_header = read_csv(Dump(name="x", content=b"a,b,,\n1,2,\n3,4,\n"), required=["b"])
        longer_rows = read_csv(Dump(name="x", content=b"a,b\n1,2,,,\n3,4,,,\n"), required=["b"])

        assert longer_header.frame["b"].to_list() == longer_rows.frame["b"].to_list() == ["2", "4"]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"a,b\n1,2", "cut off"),
            (b"a,b\n", "no rows"),
            (b"a,c\n1,2\n", "the header lacks b"),
            (b"a,b,c\n1,2\n3,4\n", "its rows have 2 fields, its header 3"),
            (b"a,b\n1,2\n2,3\n3,4,5\n6\n8,8,8,8\n9,9,9,9,9\n", "most of its lines"),
            (b"a,b\n1,\xff\n", "not UTF-8 at byte 6"),
            (b"a,b\n1,\x00\n", "binary"),
            (b"\n<html>", "web page"),
        ],
    )
    def test_what_is_no_table_is_refused(self, content: bytes, reason: str) -> None:
        with pytest.raises(Unreadable, match=reason):
            read_csv(Dump(name="x", content=content), required=["a", "b"])

    def test_a_line_without_end_may_be_the_last_of_some_publishers_if_it_is_whole(self) -> None:
        table = read_csv(Dump(name="x", content=b"a,b\n1,2\n3,4"), required=["a", "b"], open_end=True)

        assert table.frame.rows() == [(2, "1", "2"), (3, "3", "4")]
        with pytest.raises(Unreadable, match="cut off in its last line"):
            read_csv(Dump(name="x", content=b"a,b\n1,2\n3,4\n5"), required=["a", "b"], open_end=True)
