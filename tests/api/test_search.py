"""Search and lists through the whole door: what is found and why, page by page, filtered, as of when, never stale."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from catalogues import Load, take
from desk import TEA, Caller, Desk, opened
from frame import NOON
from instrument_registry.access.model import Scope
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.remembering import Answers
from instrument_registry.catalog.search import Index, Page, Query
from instrument_registry.configuration.model import Snapshot
from instrument_registry.database import Database
from instrument_registry.http.shapes import InstrumentPage
from market import CALL, ENDED, ISIN

pytestmark = pytest.mark.tea

MEMBERS = {
    "id", "key", "symbol", "name", "kind", "mic", "segment", "exchange", "isin", "underlying", "expiry", "strike",
    "option_type", "lot_size", "tick_size", "status", "tokens", "cfi", "currency", "multiplier", "freeze_qty", "series",
    "is_test", "streamable",
}  # fmt: skip
ENVELOPE = {
    "instruments", "pagination", "as_of", "facets", "catalog_position", "index_age_seconds", "correlation_id",
    "response_time_ms",
}  # fmt: skip
LATER = datetime(2027, 1, 4, 6, tzinfo=UTC)


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


async def found(caller: Caller, query: str, **more: object) -> list[str]:
    return [one["key"] for one in (await caller.told("/search", query=query, **more))["instruments"]]


async def listed(caller: Caller, **conditions: object) -> set[str]:
    answer = await caller.http.get("/instruments", params={"limit": 100} | conditions)
    return {one["key"] for one in answer.json()["instruments"]}


async def bring(desk: Desk, text: str) -> None:
    dump = Dump(name="kite_NSE.csv", content=text.encode())
    outcome = await take(desk.database, Load(broker="zerodha", day=NOON.date(), dumps=(dump,)), clock=desk.clock)
    assert outcome.status == "applied", outcome


async def page_by_page(caller: Caller, query: str) -> tuple[list[str], set[int]]:
    """What pages of two bring together, and the positions they are of."""
    keys: list[str] = []
    positions: set[int] = set()
    cursor: dict[str, str] = {}
    while len(keys) < 100:
        page = await caller.told("/search", query=query, limit=2, **cursor)
        keys += [one["key"] for one in page["instruments"]]
        positions.add(page["catalog_position"])
        if page["pagination"]["next_cursor"] is None:
            break
        cursor = {"cursor": page["pagination"]["next_cursor"]}
    return keys, positions


class ByQuestion(Answers):
    """The memory one writes first: a question has an answer."""

    def search(
        self, index: Index, query: Query, *, terms: Snapshot | None = None, known_at: datetime | None = None
    ) -> Page:
        return self._kept(index, query, asked=query)

    def _kept(self, index: Index, query: Query, *, asked: object) -> Page:
        pages: dict[object, Page] = self.__dict__.setdefault("pages", {})
        return pages.setdefault(asked, index.search(query))


class ByQuestionAndDay(ByQuestion):
    """The next one: of a day."""

    def search(
        self, index: Index, query: Query, *, terms: Snapshot | None = None, known_at: datetime | None = None
    ) -> Page:
        return self._kept(index, query, asked=(index.view.as_of, known_at, query))


class TestWhatTradersType:
    @pytest.mark.parametrize(
        ("typed", "first", "why"),
        [
            ("tealeaf", "NSE:TEALEAF", "symbol"),
            ("tea leaf", "NSE:TEALEAF", "symbol"),
            ("labor", "NSE:R&D", "words of the name"),
            ("r&d", "NSE:R&D", "symbol"),
            ("tealef", "NSE:TEALEAF", "spelt like TEALEAF"),
            ("oldleaf", "NSE:TEALEAF", "alias OLDLEAF"),
            ("bse tealeaf", "BSE:TEALEAF", "symbol"),
            ("nifty", "NSE:NIFTY;IDX", "symbol"),
            ("nifty aug fut", "NFO:NIFTY;F;2026-08-25", "contract on symbol"),
            ("nifty 24500 ce", "NFO:NIFTY;2026-08-25;24500;C", "contract on symbol"),
            ("nifty 1 sep 24500 pe", "NFO:NIFTY;2026-09-01;24500;P", "contract on symbol"),
            ("nifty weekly 24500 ce", CALL, "contract on symbol"),
            ("nifty01sep2624500ce", CALL, None),
            (CALL, CALL, "key"),
            (CALL.lower(), CALL, "key"),
            (ISIN.lower(), "NSE:TEALEAF", "isin"),
            ("23552258", CALL, "zerodha token"),
            ("NSE_FO|92001", CALL, "upstox token"),
            ("shoonya:92002", "NFO:NIFTY;2026-09-01;24500;P", "shoonya token"),
        ],
    )
    async def test_the_right_one_comes_first_and_says_why(
        self, market_reader: Caller, typed: str, first: str, why: str | None
    ) -> None:
        hit = (await market_reader.told("/search", query=typed))["instruments"][0]

        assert hit["key"] == first
        assert hit["why"] == why or why is None

    async def test_what_means_nothing_is_an_empty_page(self, market_reader: Caller) -> None:
        page = await market_reader.told("/search", query="zzzzzzzz")

        assert (page["instruments"], page["pagination"]["total"], page["pagination"]["next_cursor"]) == ([], 0, None)

    async def test_what_has_ended_is_hidden_until_asked_for(self, market_reader: Caller) -> None:
        assert ENDED not in await listed(market_reader)
        assert await listed(market_reader, as_of="2026-08-10", status="expired") == {ENDED}


class TestAnswer:
    async def test_has_the_envelope_and_every_member(self, market_reader: Caller) -> None:
        for page in (await market_reader.told("/search", query="nifty"), await market_reader.told("/instruments")):
            assert page.keys() == ENVELOPE
            assert all(one.keys() >= MEMBERS for one in page["instruments"])
            msgspec.convert(page, InstrumentPage)

    async def test_a_contract_tells_when_it_ends_and_its_cycle(self, market_reader: Caller) -> None:
        hits = (await market_reader.told("/search", query="nifty 24500 ce"))["instruments"]

        assert [(one["expires_at"], one["cycle"]) for one in hits] == [
            ("2026-08-25T15:30:00+05:30", "monthly"),
            ("2026-09-01T15:30:00+05:30", "weekly"),
            ("2026-09-29T15:30:00+05:30", "monthly"),
        ]

    async def test_a_contract_shows_every_brokers_token(self, market_reader: Caller) -> None:
        (hit,) = (await market_reader.told("/search", query=CALL))["instruments"]

        assert hit["tokens"] == {"shoonya": "92001", "upstox": "NSE_FO|92001", "zerodha": "23552258"}
        assert (hit["freeze_qty"], hit["lot_size"], hit["tick_size"], hit["cfi"]) == (1800, 65, "0.05", "OCXIXX")

    async def test_body_and_query_string_ask_the_same(self, market_reader: Caller) -> None:
        body = {"query": "nifty", "filters": {"venue": ["nfo"], "option_type": ["c"]}, "sort_by": "strike", "limit": 3}
        posted = await market_reader.http.post("/search", json=body | {"facets": True, "as_of": "2026-08-18"})
        got = await market_reader.told(
            "/search", query="nifty", venue="NFO", option_type="C", sort_by="strike", limit=3, facets=True
        )

        assert posted.status_code == 200
        assert [posted.json()[name] for name in ("instruments", "facets")] == [got["instruments"], got["facets"]]


class TestFilters:
    @pytest.mark.parametrize(
        ("conditions", "count"),
        [
            ({"venue": "nfo"}, 11),
            ({"venue": ["nse", "Bse"]}, 5),
            ({"exchange": "nse"}, 15),
            ({"segment": "fo"}, 11),
            ({"segment": "nfo"}, 11),
            ({"kind": "OPTION"}, 9),
            ({"kind": ["future", "Index"]}, 3),
            ({"asset_class": "Equity"}, 1),
            ({"option_type": "pe"}, 4),
            ({"series": "eq"}, 3),
            ({"broker": "Shoonya"}, 4),
            ({"underlying": "tealeaf"}, 1),
            ({"status": "ACTIVE"}, 16),
            ({"expiry_from": "2026-08-26", "expiry_to": "2026-09-10"}, 5),
            ({"strike_from": 24550, "strike_to": 24600}, 3),
            ({"lot_from": 100}, 1),
            ({"lot_to": 1}, 4),
            ({"has_options": True, "kind": "index"}, 1),
            ({"venue": "nfo", "broker": "upstox", "option_type": "c"}, 1),
        ],
    )
    async def test_each_keeps_what_it_names_in_whatever_case(
        self, market_reader: Caller, conditions: dict[str, object], count: int
    ) -> None:
        page = (await market_reader.http.get("/instruments", params={"limit": 100} | conditions)).json()

        assert page["pagination"]["total"] == len(page["instruments"]) == count

    @pytest.mark.parametrize(
        ("field", "value", "guess"),
        [
            ("venue", "NFQ", "NFO"),
            ("kind", "options", "option"),
            ("broker", "zeroda", "zerodha"),
            ("status", "live", ""),
        ],
    )
    async def test_a_word_that_is_none_is_refused_with_the_nearest(
        self, market_reader: Caller, field: str, value: str, guess: str
    ) -> None:
        asked = await market_reader.http.get("/search", params={"query": "nifty", field: value})
        posted = await market_reader.http.post("/search", json={"query": "nifty", "filters": {field: [value]}})

        assert (asked.status_code, posted.status_code) == (422, 422)
        for answer, where in ((asked, "query"), (posted, "body.filters")):
            (problem,) = answer.json()["errors"]
            assert (problem["field"], problem["value"]) == (f"{where}.{field}", value)
            assert f"Did you mean {guess}? " in problem["remedy"] or not guess
            assert "Choose from: " in problem["remedy"]

    async def test_facets_count_every_answer_and_not_the_page(self, market_reader: Caller) -> None:
        page = await market_reader.told("/search", query="nifty", limit=2, facets=True)

        assert page["facets"]["venue"] == {"NFO": 10, "NSE": 1}
        assert page["facets"]["kind"] == {"option": 9, "future": 1, "index": 1}
        assert page["facets"]["expiry"] == {"2026-08-25": 3, "2026-09-01": 5, "2026-09-29": 2}
        assert page["facets"]["broker"] == {"zerodha": 11, "shoonya": 2, "upstox": 2}

    async def test_sorting_goes_both_ways(self, market_reader: Caller) -> None:
        for order in ("asc", "desc"):
            page = await market_reader.told("/instruments", kind="option", sort_by="expiry", sort_order=order)
            days = [one["expiry"] for one in page["instruments"]]
            assert days == sorted(days, reverse=order == "desc")


class TestRefusals:
    @pytest.mark.parametrize(
        ("parameters", "field", "value", "remedy"),
        [
            ({"limit": 101}, "limit", "101", "<= 100"),
            ({"limit": 0}, "limit", "0", ">= 1"),
            ({"limit": "many"}, "limit", "many", "a whole number"),
            ({"as_of": "yesterday"}, "as_of", "yesterday", "YYYY-MM-DD"),
            ({"as_known_at": "2026-08-18T06:30:00"}, "as_known_at", "2026-08-18T06:30:00", "offset"),
            ({"sort_by": "price"}, "sort_by", "price", "Choose from"),
            ({"cursor": "!"}, "cursor", "!", "next_cursor"),
            ({"query": "x" * 201}, "query", "x" * 200, "<= 200"),
            ({"venues": "NFO"}, "venues", None, "Did you mean venue"),
        ],
    )
    async def test_what_cannot_be_is_refused_by_field_value_and_remedy(
        self, market_reader: Caller, parameters: dict[str, object], field: str, value: str, remedy: str
    ) -> None:
        answer = await market_reader.http.get("/search", params={"query": "nifty"} | parameters)

        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        (problem,) = answer.json()["errors"]
        assert (problem["field"], problem.get("value")) == (f"query.{field}", value)
        assert remedy in problem["remedy"]

    async def test_a_body_is_refused_the_same_way(self, market_reader: Caller) -> None:
        answer = await market_reader.http.post("/search", json={"query": "nifty", "limit": 101})

        (problem,) = answer.json()["errors"]
        assert (answer.status_code, problem["field"], problem["value"]) == (422, "body.limit", "101")


class TestPages:
    @pytest.mark.parametrize(
        "question", [{"query": "nifty"}, {"query": "nifty", "sort_by": "strike"}, {"query": "leaf"}]
    )
    async def test_together_are_the_whole(self, market_reader: Caller, question: dict[str, object]) -> None:
        whole = await found(market_reader, **question, limit=100)
        pages: list[str] = []
        cursor: dict[str, object] = {}
        while len(pages) < 100:
            page = await market_reader.told("/search", **question, limit=2, **cursor)
            pages += [one["key"] for one in page["instruments"]]
            if page["pagination"]["next_cursor"] is None:
                break
            cursor = {"cursor": page["pagination"]["next_cursor"]}

        assert pages == whole

    async def test_a_cursor_belongs_to_its_question(self, market_reader: Caller) -> None:
        page = await market_reader.told("/search", query="nifty", limit=2)
        other = await market_reader.told(
            "/search", query="tealeaf", limit=2, cursor=page["pagination"]["next_cursor"], status=422
        )

        assert other["errors"][0]["field"] == "query.cursor"
        assert other["errors"][0]["problem"] == "belongs to another question"

    async def test_follow_each_other_while_the_catalogue_changes(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as one, desk.caller(Scope.READER) as other:
            whole = await found(one, "nifty", limit=100)
            first = await one.told("/search", query="nifty", limit=2)
            await bring(
                desk, TEA + "23553026,92004,NIFTY26AUG24500CE,NIFTY,0,2026-08-25,24500,0.05,65,CE,NFO-OPT,NFO\n"
            )
            await one.caught_up((other,))
            rest = await other.told("/search", query="nifty", limit=100, cursor=first["pagination"]["next_cursor"])

        keys = [one["key"] for one in first["instruments"] + rest["instruments"]]
        assert rest["catalog_position"] > first["catalog_position"]
        assert [key for key in keys if key in whole] == whole
        assert set(keys) - set(whole) <= {"NFO:NIFTY;2026-08-25;24500;C"}
        assert len(set(keys)) == len(keys)


class TestTime:
    async def test_a_past_day_is_searched_as_it_was(self, market_reader: Caller) -> None:
        assert (await found(market_reader, "oldleaf", as_of="2026-08-17"))[0] == "NSE:OLDLEAF"
        assert await found(market_reader, "nifty 24000 ce", as_of="2026-08-07") == [ENDED]
        assert await listed(market_reader, kind="option", as_of="2026-08-07") == {ENDED}

    async def test_before_anything_was_known_there_is_nothing(self, market_reader: Caller) -> None:
        page = await market_reader.told("/search", query="nifty", as_known_at="2026-01-01T00:00:00Z")

        assert page["instruments"] == []

    async def test_what_was_corrected_later_is_found_as_it_was_known(self, desk: Desk) -> None:
        async with desk.database.transaction() as tx:
            (before,) = await (await tx.execute("select clock_timestamp()")).fetchone()
        await bring(desk, TEA.replace("24500,0.05,65,CE", "24500,0.05,75,CE"))
        desk.now = LATER
        moments = {"as_of": "2026-08-18", "as_known_at": before.isoformat()}
        async with desk.caller(Scope.READER) as one:
            answers = [
                [(await one.told("/search", query=CALL, **when))["instruments"][0]["lot_size"],
                 (await one.told("/instruments", kind="option", option_type="c", **when))["instruments"][0]["lot_size"],
                 (await one.told("/chains/NIFTY", **when))["strikes"][0]["call"]["lot_size"],
                 (await one.instrument(CALL, **when))["lot_size"]]
                for when in (moments, {"as_of": "2026-08-18"})
            ]  # fmt: skip

        assert answers[0] == [65] * 4
        assert answers[1][0] == answers[1][2] == answers[1][3] == 75


class TestRememberedAnswers:
    async def test_the_same_question_is_answered_from_memory(self, market_reader: Caller) -> None:
        answers = market_reader.catalogue.answers
        once = await market_reader.told("/search", query="nifty", venue="NFO")
        again = await market_reader.told("/search", query="nifty", venue="nfo")

        assert (answers.misses, answers.hits) == (1, 1)
        assert once["instruments"] == again["instruments"]

    async def test_no_answer_outlives_a_change_in_any_worker(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as one, desk.caller(Scope.READER) as other:
            before = [(await each.told("/search", query=CALL))["instruments"][0] for each in (one, other)]
            await bring(desk, TEA.replace("24500,0.05,65,CE", "24500,0.05,75,CE"))
            await one.caught_up((other,))
            after = [(await each.told("/search", query=CALL))["instruments"][0] for each in (one, other)]

        assert [hit["lot_size"] for hit in before + after] == [65, 65, 75, 75]

    @pytest.mark.parametrize(("memory", "holds"), [(Answers, True), (ByQuestion, False), (ByQuestionAndDay, False)])
    async def test_pages_read_after_a_change_are_the_whole_and_a_memory_that_forgets_the_position_is_noticed(
        self, desk: Desk, memory: type[Answers], holds: bool
    ) -> None:
        async with desk.caller(Scope.READER) as one:
            one.catalogue.answers = memory()
            before, _ = await page_by_page(one, "nifty")  # every page is remembered
            await bring(
                desk, TEA + "23553026,92004,NIFTY26AUG24500CE,NIFTY,0,2026-08-25,24500,0.05,65,CE,NFO-OPT,NFO\n"
            )
            await one.caught_up()
            after, positions = await page_by_page(one, "nifty")
            new = "NFO:NIFTY;2026-08-25;24500;C"
            whole = after == await found(one, "nifty", limit=100) and new in after and new not in before
            current = positions == {one.catalogue.position}

        assert (whole, current) == (holds, holds)

    async def test_days_and_moments_are_told_apart(self, market_reader: Caller) -> None:
        now = await found(market_reader, "oldleaf")
        then = await found(market_reader, "oldleaf", as_of="2026-08-17")
        unknown = await found(market_reader, "oldleaf", as_of="2026-08-17", as_known_at="2026-01-01T00:00:00Z")

        assert (now[0], then[0], unknown) == ("NSE:TEALEAF", "NSE:OLDLEAF", [])
