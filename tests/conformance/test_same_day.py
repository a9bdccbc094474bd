"""Real dumps of different publishers joined on the exchange's own token: the same listing must get the same key."""

from functools import cache

import polars as pl
import pytest

import dumps
from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import Declared, Parsed, Unreadable
from instrument_registry.catalog.model import Kind

UPSTOX = ("upstox", "upstox/upstox_2026-08-18_complete.json.gz")
SHOONYA = "shoonya/shoonya_2026-08-18_{}.txt.gz"
KITE = "zerodha/kite_2026-08-17_NFO.csv.gz"
ALICE_NFO = ("aliceblue", "aliceblue/alice_2025-02-04_NFO.csv.gz")
NUVAMA = ("nuvama", "nuvama/nuvama_2025-02-12_instruments.csv.gz")
NUVAMA_LATER = ("nuvama", "nuvama/nuvama_2025-02-14_instruments.csv.gz")


@cache
def dump(broker: str, path: str) -> Parsed:
    result = BROKERS[broker].parse(dumps.dump(path))
    assert isinstance(result, Parsed)
    return result


def listed(broker: str, path: str, venue: str) -> pl.DataFrame:
    """The rows of one venue that can be compared by token: indices have tokens of the broker's own."""
    return dump(broker, path).rows.filter(pl.col("venue") == venue, pl.col("kind") != Kind.INDEX)


def joined(left: tuple[str, str], right: tuple[str, str], venue: str) -> pl.DataFrame:
    return listed(*left, venue).join(listed(*right, venue), on="exchange_token", suffix="_right")


def differing(rows: pl.DataFrame, *columns: str) -> dict[str, int]:
    """How many rows tell two different things of each column; what one of them does not tell is no difference."""
    return {name: rows.filter(pl.col(name) != pl.col(f"{name}_right")).height for name in columns}


@pytest.mark.parametrize(
    ("venue", "rows", "common"),
    [("BFO", 41048, 4258), ("MCX", 15269, 15227), ("CDS", 11099, 8764), ("NSE", 9836, 9648), ("BSE", 12691, 12666)],
)
def test_shoonya_and_upstox_agree_on_every_common_row_of_one_morning(venue: str, rows: int, common: int) -> None:
    shoonya = ("shoonya", SHOONYA.format(venue))

    both = joined(shoonya, UPSTOX, venue)

    assert (listed(*shoonya, venue).height, both.height) == (rows, common)
    assert not any(differing(both, "key", "lot_size", "tick_size", "multiplier", "asset_class").values())


def test_kite_and_upstox_agree_but_for_the_strikes_adjusted_overnight() -> None:
    both = joined(("zerodha", KITE), UPSTOX, "NFO")

    assert both.height == 34_764
    assert differing(both, "key", "lot_size", "tick_size") == {"key": 74, "lot_size": 0, "tick_size": 0}
    moved = both.filter(pl.col("key") != pl.col("key_right"))
    assert moved["root"].unique().to_list() == ["HINDPETRO"]
    assert moved.select(
        (pl.col("strike_right").cast(pl.Decimal(18, 4)) - pl.col("strike").cast(pl.Decimal(18, 4))).unique()
    ).to_series().cast(pl.Float64).to_list() == [-19.25]


@pytest.mark.parametrize(
    ("left", "right", "venue", "common", "same"),
    [
        (("zerodha", "zerodha/kite_2026-08-05_NSE.csv.gz"), UPSTOX, "NSE", 9235, 9234),
        (("aliceblue", "aliceblue/alice_2025-07-17_NSE.csv.gz"), UPSTOX, "NSE", 7005, 6943),
        (ALICE_NFO, NUVAMA, "NFO", 35017, 34551),
    ],
)
def test_days_or_months_apart_only_renames_and_adjustments_differ(
    left: tuple[str, str], right: tuple[str, str], venue: str, common: int, same: int
) -> None:
    both = joined(left, right, venue)

    assert (both.height, both.filter(pl.col("key") == pl.col("key_right")).height) == (common, same)


def test_nuvama_and_alice_differ_by_dividends_and_by_tokens_used_again() -> None:
    moved = joined(ALICE_NFO, NUVAMA, "NFO").filter(pl.col("key") != pl.col("key_right"))

    pairs = moved.group_by("root", "root_right").len().sort("len").rows()
    assert pairs == [("GAIL", "GAIL", 128), ("HEROMOTOCO", "HEROMOTOCO", 142), ("NIFTY", "GAIL", 196)]


def test_nuvama_two_days_apart_moves_306_strikes_on_their_tokens() -> None:
    both = dump(*NUVAMA).rows.join(dump(*NUVAMA_LATER).rows, on=["segment", "token"], suffix="_right")

    moved = both.filter(pl.col("strike") != pl.col("strike_right"))
    assert moved.group_by("segment", "root").len().sort("segment").rows() == [
        ("BFO", "NATIONALUM", 104),
        ("NFO", "NATIONALUM", 202),
    ]
    assert differing(moved, "root", "expiry", "option_type") == {"root": 0, "expiry": 0, "option_type": 0}


def test_nuvama_repeats_rows_and_has_one_garbled_token() -> None:
    first = dump(*NUVAMA)

    assert (first.read, first.duplicates, first.rows.height) == (166_081, 1_003, 165_077)
    assert first.rejects.group_by("field", "dropped").len().sort("field").rows() == [
        ("isin", False, 3),
        ("row", True, 1),
    ]


def test_the_official_lists_agree_with_upstox_by_code_and_by_isin() -> None:
    scrips = joined(("bse", "nse_bse_official/bse_2026-03-07_list_of_scrips.csv.gz"), UPSTOX, "BSE")
    equities = listed("nse", "nse_bse_official/nse_2026-07-10_EQUITY_L.csv.gz", "NSE").join(
        listed(*UPSTOX, "NSE"), on="isin", suffix="_right"
    )

    assert (scrips.height, scrips.filter(pl.col("isin") == pl.col("isin_right")).height) == (4_788, 4_761)
    assert (equities.height, equities.filter(pl.col("root") == pl.col("root_right")).height) == (2_374, 2_371)


def test_fyers_and_dhan_four_months_apart_and_dhan_and_upstox_by_isin() -> None:
    names = joined(
        ("fyers", "fyers/fyers_2025-10-14_NSE_CM.csv.gz"), ("dhan", "dhan/dhan_2026-02-10_compact_full.csv.gz"), "NSE"
    )
    # One of the 8,560 equal texts is no ISIN (IN1520250085): both adapters take it away.
    isins = joined(("dhan", "dhan/dhan_2026-04_detailed_part.csv.gz"), UPSTOX, "NSE")

    assert (names.height, names.filter(pl.col("root") == pl.col("root_right")).height) == (8_080, 8_049)
    assert (isins.height, isins.filter(pl.col("isin") == pl.col("isin_right")).height) == (8_579, 8_559)


def test_three_torn_rows_of_shoonya_are_set_aside_and_explained() -> None:
    result = dump("shoonya", SHOONYA.format("BSE"))

    assert result.read == 12_694
    assert result.rejects["dropped"].to_list() == [True] * 3


def test_a_lot_belongs_to_the_contract_not_to_its_underlying() -> None:
    rows = dump("shoonya", "shoonya/shoonya_2024-12-06_NFO.txt.gz").rows.filter(pl.col("root") == "NIFTY")

    lots = dict(rows.group_by("expiry").agg(pl.col("lot_size").unique().implode()).rows())
    assert {str(day): lot for day, lot in lots.items() if str(day) in ("2025-01-30", "2025-02-27")} == {
        "2025-01-30": [25],
        "2025-02-27": [75],
    }


def test_an_index_has_one_key_whoever_prints_its_name() -> None:
    dumps_with_indices = [
        ("aliceblue", "aliceblue/alice_2025-07-17_NSE.csv.gz"),
        ("shoonya", SHOONYA.format("NSE")),
        NUVAMA,
    ]
    known = set(dump(*UPSTOX).rows.filter(pl.col("kind") == Kind.INDEX)["key"])

    strange = {
        key
        for broker, path in dumps_with_indices
        for key in dump(broker, path).rows.filter(pl.col("kind") == Kind.INDEX)["key"]
        if key not in known
    }
    assert strange == {"BSE:MIDCAP;IDX", "BSE:SMLCAP;IDX"}  # not in that dump of Upstox


def test_renames_form_chains_and_self_renames_are_set_aside() -> None:
    result = BROKERS["nse"].parse(dumps.dump("nse_bse_official/nse_2026-05-17_symbolchange.csv.gz"))

    assert isinstance(result, Declared)
    assert (result.read, result.rows.height, result.rejects.height) == (1_029, 1_023, 6)
    later = {old: new for old, new, *_ in result.rows.sort("effective_date").rows()}
    chain = ["GECALSTHOM"]
    while chain[-1] in later:
        chain.append(later[chain[-1]])
    assert chain == ["GECALSTHOM", "AREVA", "AREVAT&D", "ALSTOMT&D", "GET&D", "GVT&D"]


def test_market_codes_name_the_indian_venues() -> None:
    result = BROKERS["iso10383"].parse(dumps.dump("iso/iso10383_2024-10.csv.gz"))

    assert isinstance(result, Declared)
    india = result.rows.filter(pl.col("country") == "IN")
    assert (result.rows.height, india.height, result.rows.filter(pl.col("status") == "EXPIRED").height) == (
        2701,
        25,
        501,
    )
    assert dict(india.filter(pl.col("mic").is_in(["XIMC", "MCXX"])).select("mic", "acronym").rows()) == {
        "XIMC": "MCX",
        "MCXX": None,
    }


def test_bybit_perpetuals_are_read_from_the_misnamed_file() -> None:
    result = dump("bybit", "binance/binance_2025-09-21_exchange_info.json.gz")

    assert (result.rows.height, result.rejects.height) == (573, 0)
    assert set(result.rows["kind"]) == {Kind.CRYPTO_PERPETUAL}


@pytest.mark.parametrize(
    ("broker", "path", "reason"),
    [
        ("bybit", "binance/binance_2025-09-10_exchange_info.json.gz", "one page of several"),
        ("angel", "angel/angel_2024-04-14_part.csv.gz", "not the broker's JSON array"),
        ("angel", "angel/angel_2026-06-04_nse_cash_rekeyed.json.gz", "lost every other row"),
        ("angel", "angel/angel_2026-06-11_nse_cash_rekeyed.json.gz", "lost every other row"),
    ],
)
def test_a_dump_that_is_only_part_of_one_is_refused_with_its_reason(broker: str, path: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        BROKERS[broker].parse(dumps.dump(path))
