from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument_registry.catalog.keys import (
    MARKERS,
    InvalidKey,
    Key,
    escape,
    escape_series,
    format_key,
    key_expr,
    minimal_decimal,
    parse_key,
    symbol_expr,
    symbol_of,
)

CANONICAL = [
    "NSE:RELIANCE",
    "NSE:BAJAJ-AUTO",
    "NSE:M&M",
    "NSE:GVT&D",
    "NSE:HANGSENG%20BEES-NAV",
    "NSE:NIFTY;IDX",
    "NSE:INDIA%20VIX;IDX",
    "NSE:ELECTCAST;W1",
    "NSE:SGBJUN31I;GB",
    "BSE:KEL%24",
    "BSE:IRFC-7.75%25-15-4-33-PVT;F",
    "GLOBAL:%5EDJI;IDX",
    "NCO:NATURALGAS;SPOT",
    "NFO:BANKNIFTY;F;2026-08-25",
    "NFO:NIFTY;2026-09-01;24500;C",
    "NFO:ASHOKLEY;2026-08-25;177.5;P",
    "NFO:HINDPETRO;2026-08-25;370.75;C",
    "CDS:USDINR;2025-10-17;88.375;C",
    "BYBIT:BTC/USDT",
    "BYBIT:BTC/USDT:USDT;PERP",
    "BYBIT:BTC/USDT:USDT;F;2026-09-25",
    "BYBIT:BTC/USDC:USDC;2026-09-25;60000;P",
]

names = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=24).map(str.upper)
names = names.filter(lambda name: bool(name.strip()) and name.isprintable() and name == name.upper())
venues = st.from_regex(r"[A-Z][A-Z0-9]{0,7}", fullmatch=True)
days = st.dates(date(1990, 1, 1), date(2100, 12, 31))
strikes = st.decimals(min_value=0, max_value=10**9, places=4).map(lambda value: minimal_decimal(f"{value:f}"))


@st.composite
def keys(draw: st.DrawFn) -> Key:
    pair = draw(st.sampled_from([0, 1, 2]))
    names_ = {"venue": draw(venues), "name": draw(names)}
    names_ |= {"quote": draw(names)} if pair else {}
    names_ |= {"settle": draw(names)} if pair == 2 else {}
    match draw(st.sampled_from(["cash", "series", "marker", "future", "option"])):
        case "series" if not pair:
            series = st.from_regex(r"[A-Z0-9]{1,4}", fullmatch=True).filter(lambda text: text not in MARKERS)
            return Key(**names_, series=draw(series))
        case "marker":
            return Key(**names_, marker=draw(st.sampled_from(["IDX", "SPOT", "PERP"])))
        case "future":
            return Key(**names_, expiry=draw(days))
        case "option":
            return Key(
                **names_,
                expiry=draw(days),
                strike=draw(strikes),
                side=draw(st.sampled_from(["C", "P"])),
            )
    return Key(**names_)


class TestText:
    @pytest.mark.parametrize("text", CANONICAL)
    def test_a_canonical_key_reads_and_writes_back_unchanged_in_either_case(self, text: str) -> None:
        assert format_key(parse_key(text)) == text
        assert format_key(parse_key(text.lower())) == text

    @settings(deadline=None)
    @given(keys())
    def test_every_key_survives_its_own_text(self, key: Key) -> None:
        text = format_key(key)

        assert parse_key(text) == key
        assert format_key(parse_key(text.swapcase())) == text

    def test_needless_zeros_and_long_sides_are_brought_to_the_one_text(self) -> None:
        assert format_key(parse_key(" nfo:nifty;2026-09-01;024500.50;ce ")) == "NFO:NIFTY;2026-09-01;24500.5;C"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "RELIANCE",
            ":RELIANCE",
            "NSE:",
            "NSE:%20",
            "NSE:A%2",
            "NSE:A%ZZ",
            "NSE:%FF",
            "NSE:%00",
            "N SE:A",
            "NSE:A;",
            "NSE:A;W 1",
            "NSE:A;B;C",
            "NFO:A;F;2026-02-30",
            "NFO:A;F;20260225",
            "NFO:A;2026-02-25;1e5;C",
            "NFO:A;2026-02-25;-5;C",
            "NFO:A;2026-02-25;5;X",
            "NFO:A;2026-02-25;\u0663;C",
            "BYBIT:BTC/",
            "BYBIT:BTC/USDT:",
            "BYBIT:BTC/USDT;W1",
            "NSE:\ud800",
        ],
    )
    def test_anything_else_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(InvalidKey):
            parse_key(text)


class TestColumns:
    def test_the_column_of_keys_is_what_the_one_by_one_rule_says(self) -> None:
        day = date(2026, 8, 25)
        rows = pl.DataFrame(
            [
                (
                    "NSE",
                    "equity",
                    "RELIANCE",
                    "EQ",
                    None,
                    None,
                    None,
                    "NSE:RELIANCE",
                    "RELIANCE",
                ),
                (
                    "NSE",
                    "equity",
                    "VIJIFIN",
                    "BE",
                    None,
                    None,
                    None,
                    "NSE:VIJIFIN",
                    "VIJIFIN",
                ),
                ("NSE", "equity", "M&M", None, None, None, None, "NSE:M&M", "M&M"),
                (
                    "NSE",
                    "warrant",
                    "ELECTCAST",
                    "W1",
                    None,
                    None,
                    None,
                    "NSE:ELECTCAST;W1",
                    "ELECTCAST",
                ),
                ("BSE", "equity", "KEL$", "XT", None, None, None, "BSE:KEL%24", "KEL$"),
                (
                    "BSE",
                    "bond",
                    "7.5% A/B",
                    "F",
                    None,
                    None,
                    None,
                    "BSE:7.5%25%20A%2FB;F",
                    "7.5% A/B",
                ),
                (
                    "NSE",
                    "index",
                    "INDIA VIX",
                    None,
                    None,
                    None,
                    None,
                    "NSE:INDIA%20VIX;IDX",
                    "INDIA VIX",
                ),
                (
                    "CDS",
                    "spot_currency",
                    "USDINR",
                    None,
                    None,
                    None,
                    None,
                    "CDS:USDINR;SPOT",
                    "USDINR",
                ),
                (
                    "NFO",
                    "future",
                    "M&M",
                    None,
                    day,
                    None,
                    None,
                    "NFO:M&M;F;2026-08-25",
                    "M&M25AUG26FUT",
                ),
                (
                    "NFO",
                    "option",
                    "A",
                    None,
                    day,
                    "177.5",
                    "C",
                    "NFO:A;2026-08-25;177.5;C",
                    "A25AUG26177.5CE",
                ),
            ],
            schema=[
                "venue",
                "kind",
                "root",
                "series",
                "expiry",
                "strike",
                "option_type",
                "key",
                "symbol",
            ],
            orient="row",
        )

        made = rows.select(key=key_expr(), symbol=symbol_expr())

        assert made["key"].to_list() == rows["key"].to_list()
        assert made["symbol"].to_list() == rows["symbol"].to_list()
        assert [symbol_of(parse_key(key)) for key in made["key"]] == rows["symbol"].to_list()

    @settings(deadline=None)
    @given(st.lists(names, max_size=8))
    def test_escaping_a_column_is_escaping_each(self, texts: list[str]) -> None:
        assert escape_series(pl.Series(texts, dtype=pl.String)).to_list() == [escape(text) for text in texts]

    def test_crypto_symbols_carry_base_and_quote(self) -> None:
        assert symbol_of(parse_key("BYBIT:BTC/USDT:USDT;PERP")) == "BTCUSDTPERP"
        assert symbol_of(parse_key("BYBIT:BTC/USDT")) == "BTCUSDT"
        assert symbol_of(parse_key("NFO:NIFTY;2026-09-01;24500;C")) == "NIFTY01SEP2624500CE"
