"""The manifest: every stored file is judged, and what is said of one file wins over what is said of its family."""

from datetime import date

import pytest

import dumps
from instrument_registry.catalog.brokers import manifest
from instrument_registry.catalog.ingestion.file_names import date_in_name

BROKER_IDS = {
    "zerodha", "upstox", "angel", "dhan", "fyers", "shoonya", "aliceblue", "nuvama", "nse", "bse", "iso10383", "bybit",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "broker", "day"),
    [
        ("zerodha/kite_2026-09-01_NFO.csv.gz", "zerodha", date(2026, 9, 1)),
        ("kite_2025-07-24_NSE_reduced.csv", "zerodha", date(2025, 7, 24)),
        ("/anywhere/upstox/upstox_2026-09-02_complete.json.gz", "upstox", date(2026, 9, 2)),
        ("upstox/upstox_2025-08-18_complete.csv.gz", "upstox", date(2025, 8, 18)),
        ("dhan/dhan_2026-03-02_compact_full.csv.gz", "dhan", date(2026, 3, 2)),
        ("dhan/dhan_2026-02_detailed_part.csv.gz", "dhan", date(2026, 2, 28)),
        ("fyers/fyers_2025-10-15_NSE_FO.csv.gz", "fyers", date(2025, 10, 15)),
        ("shoonya/shoonya_2026-08-19_NFO.txt.gz", "shoonya", date(2026, 8, 19)),
        ("aliceblue/alice_2025-02-05_CDS.csv.gz", "aliceblue", date(2025, 2, 5)),
        ("nuvama/nuvama_2025-02-17_instruments.csv.gz", "nuvama", date(2025, 2, 17)),
        ("angel/angel_2026-06-18_full.json.gz", "angel", date(2026, 6, 18)),
        ("nse_bse_official/nse_2026-07-11_symbolchange.csv.gz", "nse", date(2026, 7, 11)),
        ("nse_bse_official/bse_2026-03-14_list_of_scrips.csv.gz", "bse", date(2026, 3, 14)),
        ("iso/iso10383_2025-02.csv.gz", "iso10383", date(2025, 2, 28)),
        ("binance/binance_2025-10-01_exchange_info.json.gz", "bybit", date(2025, 10, 1)),
    ],
)
def test_a_file_of_a_known_family_is_read_as_of_the_date_in_its_name(path: str, broker: str, day: date) -> None:
    row = manifest.match(path)

    assert row is not None
    assert (row.broker, row.in_scope) == (broker, True)
    assert (manifest.market_date(path, row) or date_in_name(path)) == day


@pytest.mark.parametrize(
    ("path", "day"),
    [
        ("upstox/upstox_2025-08-17_complete.csv.gz", date(2025, 8, 14)),
        ("dhan/dhan_2026-04_detailed_part.csv.gz", date(2026, 4, 16)),
    ],
)
def test_a_misleading_name_is_overridden_with_the_reason(path: str, day: date) -> None:
    row = manifest.match(path)

    assert row is not None and row.reason
    assert manifest.market_date(path, row) == day


@pytest.mark.parametrize(
    "path",
    [
        "angel/angel_2026-06-18_nse_cash_rekeyed.json.gz",
        "angel/angel_2024-05-01_part.csv.gz",
        "binance/binance_2025-09-10_exchange_info.json.gz",
        "upstox/upstox_2026-08-20_NSE.json.gz",
        "us_nasdaq_screener/nasdaq_2022-06-08_full.json.gz",
        "crypto_multi/crypto_2023-05-24_multi_venue.csv.gz",
    ],
)
def test_a_file_that_is_not_read_says_why(path: str) -> None:
    row = manifest.match(path)

    assert row is not None and not row.in_scope
    assert row.reason and len(row.reason) > 20


def test_a_file_nobody_has_judged_matches_nothing() -> None:
    assert manifest.match("groww/groww_2026-08-18_instruments.csv.gz") is None


def test_every_row_is_whole() -> None:
    for row in manifest.rows():
        assert row.broker is None or row.broker in BROKER_IDS
        assert row.in_scope or row.reason
        assert row.broker or not row.in_scope
        assert (row.date_override is not None) == (row.date_from is manifest.DateFrom.OVERRIDE)


def test_every_stored_dump_is_judged() -> None:
    unjudged = [path.name for path in dumps.folder().rglob("*") if path.is_file() and manifest.match(path) is None]

    assert not unjudged
