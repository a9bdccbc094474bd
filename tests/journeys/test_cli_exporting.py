"""`diff` and `export` against one running instance with the demo universe."""

import csv
import io
import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyarrow import parquet

from journeys.test_cli_reading import instance, refused, said
from journeys.test_serve import Serving

__all__ = ["instance"]  # the fixture is theirs


class TestDiff:
    def test_a_night_of_the_demo_is_summed_up_by_sort_of_change(self, instance: Serving) -> None:
        first, last = days(instance)
        answer = json.loads(said(instance, "diff", first, last, "--broker", "zerodha", "--limit", "10000", "--json"))
        table = said(instance, "diff", first, last).splitlines()

        counts = answer["counts"]
        assert {"listed", "renamed", "series_moved", "strike_adjusted", "token_reused"} <= set(counts)
        assert answer["pagination"]["total"] == sum(counts.values()) == len(answer["changes"])
        assert table[0].split() == ["change", "instruments"]

    def test_a_page_leads_to_the_next(self, instance: Serving) -> None:
        span = (*days(instance), "--json", "-n", "5")
        page = json.loads(said(instance, "diff", *span))
        cursor = page["pagination"]["next_cursor"]
        following = json.loads(said(instance, "diff", *span, "--cursor", cursor))

        keys = [one["key"] for one in (*page["changes"], *following["changes"])]
        assert keys == sorted(keys)
        assert page["changes"] != following["changes"]

    def test_dates_the_wrong_way_round_are_wrong_usage(self, instance: Serving) -> None:
        first, last = days(instance)

        assert "give the earlier date first" in refused(instance, "diff", last, first, code=2)

    def test_an_instant_without_an_offset_is_wrong_usage(self, instance: Serving) -> None:
        said_then = refused(instance, "diff", *days(instance), "--as-known-at", "2026-08-18T10:00:00", code=2)

        assert "Add Z, or an offset such as +05:30" in said_then


class TestExport:
    def test_a_file_and_standard_output_hold_the_same(self, instance: Serving, tmp_path: Path) -> None:
        file = tmp_path / "futures.csv"
        told = said(instance, "export", "--kind", "future")
        said(instance, "export", str(file), "--kind", "future")

        rows = list(csv.DictReader(io.StringIO(told)))
        assert file.read_text() == told
        assert {row["kind"] for row in rows} == {"future"}
        assert all(row["token_zerodha"] or row["token_upstox"] or row["token_shoonya"] for row in rows)
        assert [one.name for one in tmp_path.iterdir()] == ["futures.csv"]

    def test_the_name_of_a_file_tells_its_format(self, instance: Serving, tmp_path: Path) -> None:
        file = tmp_path / "all.parquet"
        said(instance, "export", str(file))

        assert parquet.read_table(file).num_rows >= 20_000

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["all.xlsx"], "tells no format"),
            (["--format", "xml"], "xml is no format"),
            (["--kind", "futur"], "Did you mean future"),
            (["/nowhere/at/all.csv"], "cannot be written"),
            (["--as-known-at", "2026-08-18T10:00:00"], "Add Z, or an offset such as +05:30"),
        ],
    )
    def test_what_cannot_be_exported_is_one_sentence(
        self, instance: Serving, arguments: list[str], sentence: str
    ) -> None:
        assert sentence in refused(instance, "export", *arguments, code=2)

    def test_what_the_instance_refuses_leaves_the_file_as_it_was(self, instance: Serving, tmp_path: Path) -> None:
        file = tmp_path / "all.csv"
        file.write_text("as it was")

        refused(instance, "export", str(file), "--as-of", "tomorrow", code=2)

        assert file.read_text() == "as it was"
        assert len(list(tmp_path.iterdir())) == 1


def days(instance: Serving) -> tuple[str, str]:
    """The later market date of the demo and the day before it, on which the earlier dump still stands."""
    runs = json.loads(said(instance, "summary", "--json"))["runs"]
    last = max(date.fromisoformat(run["market_date"]) for run in runs)
    return str(last - timedelta(days=1)), str(last)
