"""What the index answers over a small universe written by hand."""

from datetime import date
from decimal import Decimal

import msgspec
import pytest

from index_rows import cash, contract
from instrument_registry.catalog.search import Alias, Filters, Index, InvalidQuery, Query, SortBy, SortOrder, TokenRow
from instrument_registry.catalog.search.chains import chain, expiries, relative
from instrument_registry.catalog.search.lookup import resolve

TODAY = date(2026, 8, 18)
ALIASES = (Alias("bnf", ("BANKNIFTY",)), Alias("zomato", ("ETERNAL", "ZOMATO")), Alias("dollar", ("USDINR",)))


def universe():
    names = [
        ("NSE:RELIANCE", "RELIANCE INDUSTRIES LTD"),
        ("BSE:RELIANCE", "RELIANCE INDUSTRIES LTD."),
        ("NSE:RELINFRA", "RELIANCE INFRASTRUCTURE LTD"),
        ("NSE:HDFCBANK", "HDFC BANK LTD"),
        ("NSE:ELECTCAST", "ELECTROSTEEL CASTINGS LTD"),
        ("NSE:ELECTCAST;W1", "ELECTROSTEEL CASTINGS WT"),
        ("NSE:M&M", "MAHINDRA & MAHINDRA LTD"),
        ("NSE:BAJAJ-AUTO", "BAJAJ AUTO LIMITED"),
        ("NSE:ETERNAL", "ETERNAL LIMITED"),
        ("NSE:DOLLAR", "DOLLAR INDUSTRIES LIMITED"),
        ("NSE:MCX", "MULTI COMMODITY EXCHANGE"),
        ("NSE:NIFTY;IDX", "Nifty 50"),
        ("NSE:BANKNIFTY;IDX", "Nifty Bank"),
        ("NSE:INDIA%20VIX;IDX", "India VIX"),
        ("BSE:SENSEX;IDX", "BSE SENSEX"),
        ("NCO:GOLD;SPOT", "GOLD"),
        ("BSE:9RELIANCE;F", "RELIANCE-9%-2030-NCD"),
    ]
    rows = [cash(key, name=name, number=number) for number, (key, name) in enumerate(names, 1)]
    keys = [f"NFO:NIFTY;{day};{strike};{side}" for day in WEEKS for strike in (24400, 24500, 24600) for side in "CP"]
    keys += [f"{venue}:RELIANCE;F;2026-08-{day}" for venue, day in (("NFO", 25), ("BFO", 27))]
    keys += ["NFO:RELIANCE;2026-08-25;1300;C", "NFO:BANKNIFTY;F;2026-08-25", "NFO:BANKNIFTY;F;2026-09-29"]
    keys += ["MCX:GOLD;F;2026-10-05", "MCX:GOLD;F;2026-12-04", "NCO:GOLD;F;2026-09-30", "NFO:MCX;F;2026-08-25"]
    keys += ["CDS:USDINR;2026-08-28;95.5;C", "BCD:USDINR;2026-08-21;95.5;C", "BFO:SENSEX;2026-08-20;77600;P"]
    rows += [contract(key, number=number) for number, key in enumerate(keys, len(rows) + 1)]
    rows.append(contract("NFO:NIFTY;2026-08-11;24500;C", number=900))  # expired a week ago
    rows.append(cash("NSE:011NSETEST", name="NSE TEST", number=901, is_test=True))
    return rows


WEEKS = ("2026-08-18", "2026-08-25", "2026-09-01")


@pytest.fixture(scope="module")
def index():
    return Index.build(universe(), TODAY, position=7, aliases=ALIASES)


def keys(index, text="", **asked):
    return [hit["key"] for hit in msgspec.json.decode(index.search(Query(text=text, **asked)).body)]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("reliance", "NSE:RELIANCE"),
        ("Reliance bse", "BSE:RELIANCE"),
        ("relaince", "NSE:RELIANCE"),
        ("hdfc bank", "NSE:HDFCBANK"),
        ("hdfcbnak", "NSE:HDFCBANK"),
        ("m and m", "NSE:M&M"),
        ("mahindra", "NSE:M&M"),
        ("bajajauto", "NSE:BAJAJ-AUTO"),
        ("BAJAJ-AUTO-EQ", "NSE:BAJAJ-AUTO"),
        ("electcast", "NSE:ELECTCAST"),
        ("electcast w1", "NSE:ELECTCAST;W1"),
        ("zomato", "NSE:ETERNAL"),
        ("bnf fut", "NFO:BANKNIFTY;F;2026-08-25"),
        ("bnf sep fut", "NFO:BANKNIFTY;F;2026-09-29"),
        ("nifty bank", "NSE:BANKNIFTY;IDX"),
        ("sensx", "BSE:SENSEX;IDX"),
        ("india vix", "NSE:INDIA%20VIX;IDX"),
        ("nifty 24500 ce", "NFO:NIFTY;2026-08-18;24500;C"),
        ("nifty 24500 ce next expiry", "NFO:NIFTY;2026-08-25;24500;C"),
        ("nifty 24500 pe monthly", "NFO:NIFTY;2026-08-25;24500;P"),
        ("nfity 24500 ce 1 sep", "NFO:NIFTY;2026-09-01;24500;C"),
        ("NIFTY26AUG24500CE", "NFO:NIFTY;2026-08-25;24500;C"),
        ("reliance fut", "NFO:RELIANCE;F;2026-08-25"),
        ("reliance 1300", "NFO:RELIANCE;2026-08-25;1300;C"),
        ("gold", "MCX:GOLD;F;2026-10-05"),
        ("mcx gold", "MCX:GOLD;F;2026-10-05"),
        ("mcx", "NSE:MCX"),
        ("mcx fut", "NFO:MCX;F;2026-08-25"),
        ("usdinr 95.5 ce", "CDS:USDINR;2026-08-28;95.5;C"),
        ("dollar", "NSE:DOLLAR"),
        ("NSE:RELIANCE", "NSE:RELIANCE"),
        ("nfo:nifty;2026-09-01;24500;c", "NFO:NIFTY;2026-09-01;24500;C"),
        ("upstox:NSE_EQ|1", "NSE:RELIANCE"),
        ("24500 pe", "NFO:NIFTY;2026-08-18;24500;P"),
    ],
)
def test_the_right_answer_comes_first(index, text, key):
    assert keys(index, text)[0] == key


def test_expired_and_test_rows_are_shown_only_when_asked_for(index):
    assert "NFO:NIFTY;2026-08-11;24500;C" not in keys(index, "nifty", limit=100)
    assert "NSE:011NSETEST" not in keys(index, "011nsetest")

    expired = keys(index, "nifty 24500 ce", filters=Filters(status=("expired",)))
    tests = keys(index, "011nsetest", filters=Filters(include_test=True))

    assert (expired, tests) == (["NFO:NIFTY;2026-08-11;24500;C"], ["NSE:011NSETEST"])


def test_cash_comes_first_then_futures_then_names_alike_then_options(index):
    found = keys(index, "reliance")

    assert found[:4] == ["NSE:RELIANCE", "BSE:RELIANCE", "NFO:RELIANCE;F;2026-08-25", "BFO:RELIANCE;F;2026-08-27"]
    assert found.index("NSE:RELINFRA") < found.index("NFO:RELIANCE;2026-08-25;1300;C")


def test_spot_reference_rows_come_after_every_future(index):
    assert keys(index, "gold")[:2] == ["MCX:GOLD;F;2026-10-05", "NCO:GOLD;SPOT"]


def test_a_contract_that_does_not_exist_is_answered_by_the_nearest_and_says_so(index):
    page = index.search(Query(text="nifty 24510 ce"))

    assert keys(index, "nifty 24510 ce")[0] == "NFO:NIFTY;2026-08-18;24500;C"
    assert page.hits[0].why.startswith("no such contract")


def test_every_hit_says_why_it_matched(index):
    why = {text: index.search(Query(text=text)).hits[0].why for text in ("reliance", "bnf", "relaince", "nifty bank")}

    assert why["reliance"] == "symbol"
    assert why["bnf"] == "alias BNF"
    assert why["relaince"] == "spelt like RELIANCE"
    assert why["nifty bank"] == "name"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (Filters(venue=("BFO",)), 2),
        (Filters(segment=("NFO",), kind=("future",)), 4),
        (Filters(underlying=("NIFTY",), option_type=("P",), strike_from=24500), 6),
        (Filters(underlying=("NIFTY",), expiry_from=date(2026, 8, 19), expiry_to=date(2026, 8, 31)), 6),
        (Filters(kind=("equity",), has_options=True), 2),
        (Filters(lot_from=2, venue=("MCX",)), 2),
        (Filters(broker=("zerodha",)), 0),
        (Filters(venue=("NOWHERE",)), 0),
    ],
)
def test_filters(index, filters, found):
    assert index.search(Query(filters=filters)).total == found


def test_facets_count_the_whole_answer(index):
    page = index.search(Query(text="nifty", filters=Filters(kind=("option",)), limit=1, facets=True))

    assert page.facets is not None
    assert page.total == sum(page.facets["option_type"].values()) == 18
    assert page.facets["option_type"] == {"C": 9, "P": 9}
    assert page.facets["expiry"] == dict.fromkeys(WEEKS, 6)
    assert page.facets["broker"] == {"upstox": 18}


@pytest.mark.parametrize("sort_by", SortBy)
@pytest.mark.parametrize("order", SortOrder)
def test_pages_follow_each_other_without_gap_or_repetition(index, sort_by, order):
    query = Query(text="nifty", limit=4, sort_by=sort_by, sort_order=order)
    whole = keys(index, "nifty", limit=100, sort_by=sort_by, sort_order=order)
    pages = []
    while True:
        page = index.search(query)
        pages += [hit["key"] for hit in msgspec.json.decode(page.body)]
        if page.next_cursor is None:
            break
        query = msgspec.structs.replace(query, cursor=page.next_cursor)

    assert pages == whole
    assert len(pages) == page.total


def test_sorting_puts_rows_without_the_value_last(index):
    strikes = [
        hit["strike"]
        for hit in msgspec.json.decode(
            index.search(Query(text="nifty", sort_by=SortBy.STRIKE, sort_order=SortOrder.DESCENDING, limit=100)).body
        )
    ]

    assert strikes[0] == "24600"
    assert strikes[-1] is None


def test_a_page_goes_on_after_a_change_between_two_pages():
    index = Index.build(universe(), TODAY, aliases=ALIASES)
    query = Query(text="nifty", limit=5, filters=Filters(kind=("option",)))
    first = index.search(query)
    removed = first.hits[1].id
    whole = keys(index, "nifty", limit=100, filters=query.filters)

    index.apply(removed=[removed], position=8)
    second = index.search(msgspec.structs.replace(query, cursor=first.next_cursor))

    assert [hit["key"] for hit in msgspec.json.decode(second.body)] == whole[5:10]


@pytest.mark.parametrize("cursor", ["", "x", "zzzzzz", "gaNmb28", "é"])
def test_a_cursor_that_is_not_ours_is_refused(index, cursor):
    with pytest.raises(InvalidQuery):
        index.search(Query(text="nifty", cursor=cursor))


def test_a_cursor_of_another_query_is_refused(index):
    cursor = index.search(Query(text="nifty", limit=1)).next_cursor

    with pytest.raises(InvalidQuery):
        index.search(Query(text="gold", limit=1, cursor=cursor))


def test_a_limit_out_of_bounds_is_refused():
    for limit in (0, 101):
        with pytest.raises(InvalidQuery):
            Query(text="x", limit=limit)


def test_a_hit_has_every_member_the_api_promises(index):
    (hit,) = msgspec.json.decode(index.search(Query(text="NFO:NIFTY;2026-09-01;24500;C")).body)

    assert {
        "id", "key", "symbol", "name", "kind", "mic", "segment", "exchange", "isin", "underlying", "expiry", "strike",
        "option_type", "lot_size", "tick_size", "status", "tokens", "why",
    } <= hit.keys()  # fmt: skip
    assert (hit["expiry"], hit["strike"], hit["underlying"]) == ("2026-09-01", "24500", "NIFTY")
    assert hit["tokens"]["upstox"].startswith("NFO_FO|")


def test_odd_characters_in_names_stay_valid_json():
    odd = 'A "QUOTED" \\ NAME\twith \x1f é'
    index = Index.build([cash("NSE:ODD", name=odd, number=1), cash("NSE:EVEN", name="EVEN", number=2)], TODAY)

    assert msgspec.json.decode(index.search(Query(text="odd")).body)[0]["name"] == odd
    assert keys(index, "even") == ["NSE:EVEN"]


def test_identifiers_of_every_sort_resolve_together(index):
    asked = [
        "NSE:RELIANCE",
        "nse:reliance",
        "upstox:NSE_EQ|1",
        "upstox:NSE_EQ:NSE_EQ|1",
        "RELIANCE",
        "NFO:NIFTY;F;@1",
        "nothing",
        "",
    ]
    rows = [found.rows for found in resolve(index.view, asked)]
    told = [[msgspec.json.decode(index.view.fragment(row) + b"}")["key"] for row in found] for found in rows]

    assert told[:4] == [["NSE:RELIANCE"]] * 4
    assert told[4] == ["NSE:RELIANCE", "BSE:RELIANCE"]
    assert told[5:] == [[], [], []]


def test_one_token_in_two_segments_is_ambiguous_without_the_segment():
    equity = cash("NSE:RELIANCE", number=1, tokens=(TokenRow("shoonya", "NSE", "2885", "2885", "RELIANCE-EQ"),))
    option = contract("CDS:USDINR;2026-09-28;100.25;P", number=2)._replace(
        tokens=(TokenRow("shoonya", "CDS", "2885", "2885", None),)
    )
    index = Index.build([equity, option], TODAY)
    bare, exact = resolve(index.view, ["shoonya:2885", "shoonya:CDS:2885"])

    assert (len(bare.rows), len(exact.rows)) == (2, 1)
    assert keys(index, "2885")[0] == "NSE:RELIANCE"


def test_a_kite_token_is_found_by_its_arithmetic_where_no_kite_dump_was_loaded():
    index = Index.build(
        [cash("NSE:RELIANCE", number=1, tokens=(TokenRow("upstox", "NSE_EQ", "NSE_EQ|INE002A01018", "2885", None),))],
        TODAY,
    )

    assert index.search(Query(text="738561")).hits[0].why == "zerodha token by its arithmetic"


def test_relative_references(index):
    def key(text):
        row = relative(index.view, text)
        return row and msgspec.json.decode(index.view.fragment(row) + b"}")["key"]

    assert key("NFO:BANKNIFTY;F;@2") == "NFO:BANKNIFTY;F;2026-09-29"
    assert key("NFO:NIFTY;@WEEKLY;24500;C") == "NFO:NIFTY;2026-08-18;24500;C"
    assert key("NFO:NIFTY;@MONTHLY;24500;P") == "NFO:NIFTY;2026-08-25;24500;P"
    assert key("NFO:NIFTY;@9;24500;P") is None
    assert key("NFO:NIFTY;@1;99999;P") is None


def test_a_chain_has_both_sides_of_every_strike(index):
    nearest, monthly = chain(index.view, "nifty", "nearest"), chain(index.view, "nifty", "monthly")

    assert nearest is not None and monthly is not None
    assert [strike.price for strike in nearest.strikes] == [Decimal(24400), Decimal(24500), Decimal(24600)]
    assert nearest.interval == Decimal(100)
    assert nearest.one_sided == ()
    assert nearest.at_the_money(Decimal("24540")).price == Decimal(24500)
    assert (nearest.expiry.day, nearest.expiry.cycle) == (date(2026, 8, 18), "weekly")
    assert (monthly.expiry.day, monthly.expiry.cycle) == (date(2026, 8, 25), "monthly")
    assert chain(index.view, "nifty", date(2026, 8, 19)) is None
    assert [expiry.day for expiry in expiries(index.view, "BANKNIFTY", of="futures")] == [
        date(2026, 8, 25),
        date(2026, 9, 29),
    ]


def test_an_empty_index_answers():
    index = Index.build([], TODAY)

    assert index.search(Query(text="reliance")).total == 0
    assert index.search(Query(facets=True)).facets is not None
    assert resolve(index.view, ["NSE:RELIANCE"])[0].rows == ()
    assert index.view.digest == 0
