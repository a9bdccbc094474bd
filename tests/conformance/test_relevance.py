"""The right answer comes first: real queries over one real dump."""

import csv
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import pytest

from dumps import dump
from index_rows import index_rows
from instrument_registry.catalog.brokers.frame import Parsed
from instrument_registry.catalog.brokers.upstox import parse
from instrument_registry.catalog.search import Index, Query, seed

SAMPLES = Path(__file__).parents[1] / "samples" / "search"
FIRST, FIVE = 0.95, 0.98


@pytest.fixture(scope="module")
def index():
    parsed = parse(dump("upstox/upstox_2026-08-18_complete.json.gz"))
    assert isinstance(parsed, Parsed)
    return Index.build(index_rows("upstox", parsed), date(2026, 8, 18), aliases=seed())


def queries(file: str, *, held_out: str | None = None) -> list[tuple[str, list[str]]]:
    with (SAMPLES / file).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [
        (row["query"], row["expected_key"].split("|"))
        for row in rows
        if held_out is None or row["held_out"] == held_out
    ]


@pytest.mark.parametrize(
    ("file", "held_out"),
    [("relevance.csv", None), ("relevance_extra.csv", "no"), ("relevance_extra.csv", "yes")],
)
def test_the_right_answer_comes_first(index, file, held_out):
    missed, first, five = [], 0, 0
    asked = queries(file, held_out=held_out)
    for text, expected in asked:
        hits = msgspec.json.decode(index.search(Query(text=text, limit=5)).body)
        right = [any(fnmatchcase(hit["key"], pattern) for pattern in expected) for hit in hits]
        first += right[:1] == [True]
        five += any(right)
        if right[:1] != [True]:
            missed.append(f"{text} -> {[hit['key'] for hit in hits[:2]]}")

    assert len(asked) >= 70
    assert (first >= FIRST * len(asked), five >= FIVE * len(asked)) == (True, True), missed


def test_no_expired_contract_of_the_day_before_is_shown(index):
    page = index.search(Query(text="crudeoil 5800 pe"))

    assert b"2026-08-17" not in page.body


def test_every_row_resolves_by_its_key_and_by_its_token(index):
    from instrument_registry.catalog.search.lookup import resolve

    view = index.view
    hits = [msgspec.json.decode(view.fragment(row) + b"}") for row in range(0, len(view.columns), 7)]
    found = resolve(view, [hit["key"] for hit in hits])
    by_token = resolve(view, [f"upstox:{hit['tokens']['upstox']}" for hit in hits])

    assert [answer.rows for answer in found] == [(row,) for row in range(0, len(view.columns), 7)]
    assert by_token == [answer._replace(by="token") for answer in found]
