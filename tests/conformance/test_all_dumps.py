"""Every real dump in market-date order into one catalogue: all in scope apply, and what must hold of any catalogue holds."""

import json
from datetime import date

import psycopg
import pytest

import dumps
from catalogues import Catalogue, broken
from instrument_registry.catalog import feed, truth
from instrument_registry.catalog.ingestion import contesting, intake
from instrument_registry.catalog.search import digest_of

pytestmark = pytest.mark.timeout(1500)

# Dumps left out, each with a reason in the manifest.
LEFT_OUT = {
    "acceptance.tar.enc", "README.md", "nasdaq_2022-06-06_full.json.gz", "nasdaq_2022-06-07_full.json.gz",
    "crypto_2023-05-23_multi_venue.csv.gz", "binance_2025-09-10_exchange_info.json.gz", "angel_2024-04-14_part.csv.gz",
    "angel_2026-06-04_nse_cash_rekeyed.json.gz", "angel_2026-06-11_nse_cash_rekeyed.json.gz", "upstox_2026-08-20_NSE.json.gz",
}  # fmt: skip

COMMON = """
select count(*), count(*) filter (where a.instrument_id = b.instrument_id), count(*) filter (where a.key = b.key)
  from broker_tokens a join broker_tokens b on b.venue = a.venue and b.exchange_token = a.exchange_token
 where a.known_to = 'infinity' and b.known_to = 'infinity' and a.broker = %s and b.broker = %s and a.venue = %s
   and a.kind <> 'index' and b.kind <> 'index' and a.valid @> %s::date and b.valid @> %s::date
   and a.ingestion_id = any(%s) and b.ingestion_id = any(%s)
"""


def test_every_file_is_in_scope_or_left_out_with_a_reason() -> None:
    planned = intake.plan_folder(dumps.folder())

    left_out = {one.path.name: one.reason for one in planned if not one.in_scope}

    assert set(left_out) == LEFT_OUT
    assert all(reason and len(reason) > 20 for reason in left_out.values())
    assert all(one.market_date and one.broker for one in planned if one.in_scope)


def test_every_file_in_scope_applies(everything: Catalogue) -> None:
    in_scope = sorted(one.path.name.removesuffix(".gz") for one in intake.plan_folder(dumps.folder()) if one.in_scope)

    runs = everything.rows("select broker, market_date, status, reasons, files from ingestions order by id")

    assert [(broker, str(day), reasons) for broker, day, status, reasons, _ in runs if status != "applied"] == []
    assert sorted(file["name"] for *_, files in runs for file in files) == in_scope


def test_every_row_is_listed_set_aside_with_a_reason_or_an_exact_duplicate(everything: Catalogue) -> None:
    rows = everything.rows(
        """select i.id, i.broker, (i.report ->> 'rows')::int, (i.report ->> 'duplicates')::int + (i.report ->> 'declared')::int,
                  (select coalesce(sum(rows), 0) from ingestion_segments s where s.ingestion_id = i.id),
                  (select count(*) from rows_set_aside r where r.ingestion_id = i.id and r.dropped and r.reason <> %s)
             from ingestions i where i.report -> 'segments' <> '{}' order by i.id""",
        contesting.REASON,
    )
    unsaid = everything.rows(
        "select ingestion_id, file, line from rows_set_aside where length(reason) < 8 or line < 1 limit 5"
    )

    assert [row for row in rows if row[2] != row[3] + row[4] + row[5]] == []
    assert unsaid == []


def test_what_must_hold_of_any_catalogue_holds(everything: Catalogue) -> None:
    found = broken(everything)

    assert not found, json.dumps(found, default=str, indent=1)


@pytest.mark.parametrize("day", [date(2026, 8, 18), date(2026, 8, 21)])
def test_the_index_holds_what_the_tables_have_when_both_are_read_apart(everything: Catalogue, day: date) -> None:
    with psycopg.connect(everything.service_url, options="-c search_path=instrument_registry") as connection:
        of_index = digest_of(feed.read_all(connection, day))
        of_tables = digest_of(truth.read(connection, day))

    assert of_index == of_tables


@pytest.mark.parametrize(
    ("left", "right", "venue", "day", "common", "same_key"),
    [
        ("shoonya", "upstox", "BFO", "2026-08-18", 4_258, 4_258),
        ("shoonya", "upstox", "MCX", "2026-08-18", 15_227, 15_227),
        ("shoonya", "upstox", "CDS", "2026-08-18", 8_764, 8_764),
        ("shoonya", "upstox", "NSE", "2026-08-18", 9_648, 9_648),
        ("shoonya", "upstox", "BSE", "2026-08-18", 12_666, 12_666),
    ],
)
def test_brokers_of_one_morning_mean_the_same_instruments(
    everything: Catalogue, left: str, right: str, venue: str, day: str, common: int, same_key: int
) -> None:
    found = everything.one(
        """select count(*), count(*) filter (where a.instrument_id = b.instrument_id), count(*) filter (where a.key = b.key)
             from broker_tokens a join broker_tokens b on b.venue = a.venue and b.exchange_token = a.exchange_token
            where a.known_to = 'infinity' and b.known_to = 'infinity' and a.broker = %s and b.broker = %s and a.venue = %s
              and a.kind <> 'index' and b.kind <> 'index' and a.valid @> %s::date and b.valid @> %s::date""",
        left, right, venue, day, day,
    )  # fmt: skip

    assert found == (common, common, same_key)
