"""An index that followed changes answers like one built anew."""

import threading
from collections.abc import Iterator
from datetime import date

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_rows import cash, contract
from instrument_registry.catalog.search import Alias, Filters, Index, IndexRow, Query, SortBy
from instrument_registry.catalog.search.lookup import resolve

TODAY = date(2026, 8, 18)
ALIASES = (Alias("ril", ("RELIANCE",)), Alias("zomato", ("ETERNAL", "ZOMATO")))
KEYS = (
    "NSE:RELIANCE", "BSE:RELIANCE", "NSE:ZOMATO", "NSE:ETERNAL", "NSE:NIFTY;IDX", "NSE:M&M", "NSE:ELECTCAST;W1",
    "NFO:NIFTY;2026-08-18;24500;C", "NFO:NIFTY;2026-08-25;24500;C", "NFO:NIFTY;2026-08-25;24600;P",
    "NFO:RELIANCE;F;2026-08-25", "NFO:RELIANCE;F;2026-09-29", "BFO:RELIANCE;F;2026-08-27", "MCX:GOLD;F;2026-10-05",
    "MCX:GOLD;F;2026-12-04", "NCO:GOLD;SPOT",
)  # fmt: skip
NAMES = ("RELIANCE INDUSTRIES LTD", "Eternal Limited", "NIFTY 50", None)
TEXTS = (
    "reliance",
    "ril",
    "zomato",
    "eternal",
    "nifty 24500",
    "gold",
    "fut",
    "relaince",
    "industries",
    "m and m",
    "",
    "NSE:RELIANCE",
)


@st.composite
def rows(draw: st.DrawFn) -> IndexRow:
    number = draw(st.integers(1, len(KEYS)))
    key = KEYS[number - 1]
    lot = draw(st.integers(1, 3))
    row = (
        contract(key, number=number)
        if key.count(";") > 1
        else cash(key, number=number, name=draw(st.sampled_from(NAMES)))
    )
    return row._replace(lot_size=lot, status=draw(st.sampled_from(["active", "active", "suspended", "delisted"])))


@st.composite
def changes(draw: st.DrawFn) -> tuple[list[IndexRow], list[int], int]:
    changed = {row.id: row for row in draw(st.lists(rows(), max_size=8))}
    removed = draw(st.lists(st.integers(1, len(KEYS)), max_size=3))
    return list(changed.values()), [number for number in removed if number not in changed], draw(st.integers(0, 9))


def answers(index: Index) -> list[object]:
    told: list[object] = [index.view.digest]
    for text in TEXTS:
        for query in (
            Query(text=text, limit=100, facets=True),
            Query(text=text, filters=Filters(status=("delisted", "active"))),
        ):
            page = index.search(query)
            told.append((text, msgspec.json.decode(page.body), page.total, page.facets))
    told.append([hit["key"] for hit in msgspec.json.decode(index.search(Query(sort_by=SortBy.EXPIRY)).body)])
    found = resolve(index.view, [*KEYS, "RELIANCE", "upstox:NSE_EQ|1"])
    told.append([[bytes(index.view.fragment(row)) for row in answer.rows] for answer in found])
    return told


@settings(max_examples=30, deadline=None)
@given(st.lists(rows(), max_size=12), st.lists(changes(), max_size=5))
def test_following_changes_equals_building_anew(first, following):
    truth = {row.id: row for row in first}
    index = Index.build(truth.values(), TODAY, aliases=ALIASES)
    day = TODAY
    for changed, removed, days in following:
        truth |= {row.id: row for row in changed}
        truth = {number: row for number, row in truth.items() if number not in removed}
        day = date.fromordinal(max(day.toordinal(), TODAY.toordinal() + days))
        index.apply(changed, removed, as_of=day)

    assert answers(index) == answers(Index.build(truth.values(), day, aliases=ALIASES))


# Names that are near to one another, in a catalogue large enough that a few changed names stand beside the others.
CROWD = [cash(f"NSE:QUIET{place}", name=f"TEXMORAIL {place} LTD", number=100 + place) for place in range(120)]
NEAR_KEYS = (
    "NSE:RELIANCE", "NSE:RELIANCF", "NSE:RELIENCE", "NSE:RELIANTE", "NSE:TELIENCE", "BSE:RELIANCE;F", "NSE:BAJAJ-AUTO",
    "NSE:BAJAJAUTO", "BSE:BAJAJ-AUTO;F", "NFO:RELIANCE;F;2026-08-20", "NFO:BAJAJ-AUTO;F;2026-08-25", "NSE:RIL",
    "NSE:ZOMATO", "NSE:ETERNAL",
)  # fmt: skip
NEAR_NAMES = ("RELIANCE POWER", "RELIENCE INFRA LTD", "BAJAJ AUTO LTD", "AUTOMOTIVE AXLES", None)
NEAR_TEXTS = (
    "relaince", "reliamce", "rlience", "reliance", "ril", "ril fut", "zomato", "bajajauto", "bajaj auto fut",
    "bajaajauto", "relience infa", "automotve axles", "reliance power plant", "reliance bse", "auto", "reli",
    "power reliance", "txmorail", "relianc aug fut",
)  # fmt: skip


@st.composite
def near_rows(draw: st.DrawFn) -> IndexRow:
    number = draw(st.integers(1, len(NEAR_KEYS)))
    key, name = NEAR_KEYS[number - 1], draw(st.sampled_from(NEAR_NAMES))
    row = contract(key, number=number) if key.count(";") > 1 else cash(key, number=number, name=name)
    return row._replace(status=draw(st.sampled_from(["active", "active", "delisted"])))


@st.composite
def near_changes(draw: st.DrawFn) -> tuple[list[IndexRow], list[int], int]:
    changed = {row.id: row for row in draw(st.lists(near_rows(), max_size=3))}
    removed = draw(st.lists(st.integers(1, len(NEAR_KEYS)), max_size=3))
    return list(changed.values()), [number for number in removed if number not in changed], draw(st.integers(0, 9))


def near_answers(index: Index) -> list[object]:
    told: list[object] = [index.view.digest]
    filters = Filters(status=("delisted", "active"))
    for text in NEAR_TEXTS:
        for query in (Query(text=text, limit=100), Query(text=text, limit=100, filters=filters)):
            page = index.search(query)
            told.append((text, [(hit["key"], hit["why"]) for hit in msgspec.json.decode(page.body)]))
    return told


@settings(max_examples=40, deadline=None)
@given(st.lists(near_rows(), max_size=12), st.lists(near_changes(), min_size=1, max_size=4))
def test_following_a_few_names_among_many_equals_building_anew(first, following):
    truth = {row.id: row for row in (*CROWD, *first)}
    index = Index.build(truth.values(), TODAY, aliases=ALIASES)
    day = TODAY
    for changed, removed, days in following:
        truth |= {row.id: row for row in changed}
        truth = {number: row for number, row in truth.items() if number not in removed}
        day = date.fromordinal(max(day.toordinal(), TODAY.toordinal() + days))
        index.apply(changed, removed, as_of=day)

    assert near_answers(index) == near_answers(Index.build(truth.values(), day, aliases=ALIASES))


def test_a_changed_row_answers_with_what_it_is_now_and_the_position_moves_on():
    index = Index.build([cash("NSE:RELIANCE", name="RELIANCE", number=1)], TODAY, position=3)
    before = index.view.digest

    index.apply([cash("NSE:RELIANCE", name="RELIANCE INDUSTRIES", number=1)], position=4)
    page = index.search(Query(text="industries"))

    assert (page.total, page.position) == (1, 4)
    assert index.view.digest != before


def test_an_alias_is_found_as_soon_as_it_is_told():
    index = Index.build([cash("NSE:RELIANCE", name="RELIANCE", number=1)], TODAY)
    assert index.search(Query(text="ambani")).total == 0

    index.apply(aliases=[Alias("ambani", ("RELIANCE",))])

    assert index.search(Query(text="ambani")).hits[0].why == "alias AMBANI"


def test_readers_see_all_of_a_change_or_nothing_of_it():
    def generation(number: int) -> list[IndexRow]:
        return [cash(f"NSE:SHARE{place}", name="SHARE", number=place, lot_size=number) for place in range(1, 200)]

    index = Index.build(generation(0), TODAY)
    seen: list[set[int]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            body = index.search(Query(text="share", limit=100)).body
            seen.append({hit["lot_size"] for hit in msgspec.json.decode(body)})

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(1, 30):
        index.apply(generation(number))
    stop.set()
    reader.join()

    assert len(seen) > 1
    assert all(len(lots) == 1 for lots in seen)


def test_what_was_forgotten_leaves_the_memory():
    index = Index.build([cash(f"NSE:SHARE{place}", name="SHARE", number=place) for place in range(1, 500)], TODAY)
    size = len(index.view.shelf.arena)

    for _ in range(20):
        index.apply([cash(f"NSE:SHARE{place}", name="SHARE", number=place) for place in range(1, 500)])

    assert len(index.view.shelf.arena) < 2.5 * size
    assert index.search(Query(text="share", limit=1)).total == 499


def test_rows_that_break_off_leave_no_trace() -> None:
    first = [cash(KEYS[0], number=1, name="RELIANCE INDUSTRIES LTD")]
    second = cash(KEYS[2], number=3, name="Eternal Limited")
    index = Index.build(first, TODAY, aliases=ALIASES)

    def broken() -> Iterator[IndexRow]:
        yield from (second._replace(id=number) for number in range(10, 3_000))
        raise ConnectionError("the database went away")

    with pytest.raises(ConnectionError):
        index.apply(broken(), position=1)
    index.apply([second], position=2)

    assert answers(index) == answers(Index.build([*first, second], TODAY, position=2, aliases=ALIASES))
