"""Contracts and listings whose identity was worked out by hand from the real dumps: the adapters must say the same."""

from collections import Counter
from functools import cache

import polars as pl
import pytest

import dumps
from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import Parsed

KITE_NFO = "zerodha/kite_2026-08-17_NFO.csv.gz"
KITE_NFO_BEFORE = "zerodha/kite_2026-08-10_NFO.csv.gz"
UPSTOX = "upstox/upstox_2026-08-18_complete.json.gz"
UPSTOX_LATER = "upstox/upstox_2026-08-21_NSE.json.gz"
DHAN = "dhan/dhan_2026-02-10_compact_full.csv.gz"
FYERS_BSE_FO = "fyers/fyers_2025-10-{}_BSE_FO.csv.gz"


@cache
def rows(path: str) -> pl.DataFrame:
    broker = path.split("/")[0]
    result = BROKERS[broker].parse(dumps.dump(path))
    assert isinstance(result, Parsed)
    return result.rows


def key(path: str, segment: str, token: str) -> str:
    found: str = rows(path).filter(pl.col("segment") == segment, pl.col("token") == token)["key"].item()
    return found


@pytest.mark.parametrize(
    ("path", "segment", "token", "expected"),
    [
        (UPSTOX, "NSE_EQ", "NSE_EQ|INE002A01018", "NSE:RELIANCE"),
        ("zerodha/kite_2026-08-05_NSE.csv.gz", "NSE", "738561", "NSE:RELIANCE"),
        ("shoonya/shoonya_2026-08-18_NSE.txt.gz", "NSE", "2885", "NSE:RELIANCE"),
        (DHAN, "NSE_E", "2885", "NSE:RELIANCE"),
        ("fyers/fyers_2025-10-14_NSE_CM.csv.gz", "NSE_CM", "10100000002885", "NSE:RELIANCE"),
        (UPSTOX, "BSE_EQ", "BSE_EQ|INE002A01018", "BSE:RELIANCE"),
        (DHAN, "BSE_E", "500325", "BSE:RELIANCE"),
        ("zerodha/kite_2026-08-05_NSE.csv.gz", "INDICES", "256265", "NSE:NIFTY;IDX"),
        (UPSTOX, "NSE_INDEX", "NSE_INDEX|Nifty 50", "NSE:NIFTY;IDX"),
        (DHAN, "NSE_I", "13", "NSE:NIFTY;IDX"),
        ("fyers/fyers_2025-10-14_NSE_CM.csv.gz", "NSE_CM", "101000000026000", "NSE:NIFTY;IDX"),
        (DHAN, "BSE_I", "51", "BSE:SENSEX;IDX"),
        (KITE_NFO, "NFO", "12033282", "NFO:NIFTY;2026-09-01;24500;C"),
        (UPSTOX, "NSE_FO", "NSE_FO|47005", "NFO:NIFTY;2026-09-01;24500;C"),
        (KITE_NFO, "NFO", "14865154", "NFO:BANKNIFTY;F;2026-08-25"),
        (UPSTOX, "NSE_FO", "NSE_FO|58067", "NFO:BANKNIFTY;F;2026-08-25"),
        (UPSTOX, "NCD_FO", "NCD_FO|2885", "CDS:USDINR;2026-09-28;100.25;P"),
        (UPSTOX, "BSE_FO", "BSE_FO|824138", "BFO:SENSEX;2026-08-27;80000;C"),
        (UPSTOX, "MCX_FO", "MCX_FO|483079", "MCX:GOLD;F;2026-10-05"),
        (UPSTOX, "NSE_EQ", "NSE_EQ|INE086A01029", "NSE:ELECTCAST"),
        (UPSTOX, "NSE_EQ", "NSE_EQ|INE086A13016", "NSE:ELECTCAST;W1"),
        (UPSTOX, "NSE_FO", "NSE_FO|101768", "NFO:HINDPETRO;2026-08-25;370.75;C"),
        (UPSTOX, "NSE_FO", "NSE_FO|53451", "NFO:HINDPETRO;2026-08-25;390;C"),
        ("shoonya/shoonya_2024-12-06_NFO.txt.gz", "NFO", "48504", "NFO:NIFTY;2025-01-09;29900;C"),
        (DHAN, "NSE_D", "48504", "NFO:SUNPHARMA;2026-03-30;2010;P"),
        (DHAN, "NSE_D", "42500", "NFO:NIFTY;2026-02-10;25000;C"),
        (DHAN, "NSE_D", "48177", "NFO:NIFTY;2026-02-17;25000;C"),
        (DHAN, "NSE_D", "64829", "NFO:NIFTY;2026-02-24;25000;C"),
    ],
)
def test_a_token_means_what_its_row_says(path: str, segment: str, token: str, expected: str) -> None:
    assert key(path, segment, token) == expected


def test_the_lots_and_ticks_of_known_rows() -> None:
    told = ["lot_size", "tick_size"]
    reliance = rows(UPSTOX).filter(pl.col("key") == "NSE:RELIANCE").select(told).row(0)
    warrant = rows(UPSTOX).filter(pl.col("key") == "NSE:ELECTCAST;W1").select("exchange_token", "lot_size").row(0)
    option = rows(KITE_NFO).filter(pl.col("token") == "12033282").select(told).row(0)

    assert (reliance, warrant, option) == ((1, "0.1"), ("18116", 33340), (65, "0.05"))


def test_nifty_expires_on_tuesdays_but_once() -> None:
    days = rows(KITE_NFO).filter(pl.col("root") == "NIFTY")["expiry"].unique().sort()

    weekly = [day for day, after in zip(days, [*days[1:], None], strict=True) if after and after.month == day.month]
    assert len(days) == 18
    assert [f"{day:%m-%d}" for day in weekly] == ["08-18", "09-01", "09-08", "09-15"]
    assert [str(day) for day in days if day.weekday() != 1] == ["2029-12-24"]


def test_the_nifty_chain_of_a_month_and_of_a_quarter() -> None:
    nifty = rows(KITE_NFO).filter(pl.col("root") == "NIFTY", pl.col("kind") == "option")
    nifty = nifty.with_columns(pl.col("expiry").cast(pl.String), pl.col("strike").cast(pl.Int64))

    month, quarter = (nifty.filter(pl.col("expiry") == day) for day in ("2026-08-25", "2026-12-29"))
    strikes = month["strike"].unique().sort()
    assert (month.height, len(strikes), strikes[0], strikes[-1]) == (242, 121, 21200, 27200)
    assert strikes.diff().drop_nulls().unique().to_list() == [50]
    assert Counter(quarter["option_type"]) == {"C": 23, "P": 26}
    one_sided = quarter.filter(~pl.col("strike").is_duplicated())["strike"].sort().to_list()
    assert one_sided == [12000, 13000, 14000, 15000, 17000, 31000, 34500]


def test_a_week_of_kite_is_new_and_gone_contracts_and_nothing_else() -> None:
    before, after = rows(KITE_NFO_BEFORE), rows(KITE_NFO)

    gone = before.join(after, on="token", how="anti")
    both = before.join(after, on="token", suffix="_after")
    assert (after.join(before, on="token", how="anti").height, gone.height) == (1359, 1545)
    assert gone.filter(pl.col("expiry").cast(pl.String) == "2026-08-11").height == 226
    assert both.filter(pl.col("key") != pl.col("key_after")).is_empty()
    assert both.filter(pl.col("lot_size") != pl.col("lot_size_after")).is_empty()
    added = after.filter(pl.col("root") == "NIFTYFPI")
    assert (added.height, added["lot_size"].unique().to_list()) == (339, [1100])


def test_upstox_three_days_apart_moves_eight_series_and_reuses_no_share() -> None:
    left, right = (rows(path).filter(pl.col("segment") == "NSE_EQ") for path in (UPSTOX, UPSTOX_LATER))

    moved = left.join(right, on="token", suffix="_later").filter(pl.col("series") != pl.col("series_later"))
    assert Counter(moved.select("series", "series_later").rows()) == {("EQ", "BE"): 7, ("SM", "ST"): 1}
    assert moved.filter(pl.col("key") != pl.col("key_later")).is_empty()


def test_fyers_lists_one_share_again_under_new_tokens_overnight() -> None:
    before, after = (rows(FYERS_BSE_FO.format(day)) for day in (13, 14))

    again = before.join(after, on="key", suffix="_after").filter(pl.col("token") != pl.col("token_after"))
    assert (again.height, again["root"].unique().to_list()) == (135, ["TATAMOTORS"])
    assert before.join(after, on="token", how="inner").height == 6670
    fresh = after.join(before, on="key", how="anti")
    assert Counter(fresh["option_type"]) == {"C": 327, "P": 327}
