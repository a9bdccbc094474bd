"""The demo universe through the real adapters: three brokers agree, and the night between the days tells its story."""

from collections.abc import Container
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from index_rows import index_rows
from instrument_registry.catalog.brokers import shoonya, upstox, zerodha
from instrument_registry.catalog.brokers.frame import Dump, Parsed
from instrument_registry.catalog.calendars import calendar_of
from instrument_registry.catalog.demo import write_demo
from instrument_registry.catalog.isin import is_isin
from instrument_registry.catalog.search import Index, Query, seed

TODAY = date(2026, 11, 21)  # a Saturday
FIRST, SECOND = date(2026, 11, 19), date(2026, 11, 20)
PARSERS = {"upstox": upstox.parse, "zerodha": zerodha.parse, "shoonya": shoonya.parse}

Days = dict[tuple[date, str], pl.DataFrame]


def parsed(folder: Path, today: date, *, brokers: Container[str] = PARSERS) -> list[tuple[date, str, Parsed]]:
    results = []
    for file in write_demo(folder, today):
        if file.broker not in brokers:
            continue
        result = PARSERS[file.broker](Dump(name=file.path.name, content=file.path.read_bytes()))
        assert isinstance(result, Parsed)
        results.append((file.date, file.broker, result))
    return results


def joined(results: list[tuple[date, str, Parsed]]) -> Days:
    rows: dict[tuple[date, str], list[pl.DataFrame]] = {}
    for day, broker, result in results:
        rows.setdefault((day, broker), []).append(result.rows)
    return {key: pl.concat(frames) for key, frames in rows.items()}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[date, str, Parsed]]:
    return parsed(tmp_path_factory.mktemp("demo"), TODAY)


@pytest.fixture(scope="module")
def days(results: list[tuple[date, str, Parsed]]) -> Days:
    return joined(results)


class TestFiles:
    def test_both_days_are_sessions_and_none_lies_in_the_future(self, days: Days) -> None:
        assert {day for day, _ in days} == {FIRST, SECOND}

    def test_the_adapters_set_nothing_aside(self, results: list[tuple[date, str, Parsed]]) -> None:
        assert [result.rejects.rows() for _, _, result in results if len(result.rejects)] == []
        assert sum(result.duplicates for _, _, result in results) == 0

    def test_no_token_and_no_key_means_two_instruments(self, days: Days) -> None:
        for frame in days.values():
            assert frame.select("segment", "token").is_unique().all()
            assert frame["key"].is_unique().all()

    def test_there_is_enough_to_look_at(self, days: Days) -> None:
        frame = days[SECOND, "upstox"]

        assert len(frame) >= 20_000
        assert set(frame["venue"]) == {"NSE", "BSE", "NFO", "BFO", "CDS", "MCX"}
        assert {
            "equity",
            "etf",
            "reit",
            "invit",
            "bond",
            "gsec",
            "tbill",
            "sdl",
            "sgb",
            "index",
            "future",
            "option",
        } <= set(frame["kind"])

    def test_every_isin_is_one(self, days: Days) -> None:
        assert all(is_isin(text) for text in days[SECOND, "upstox"]["isin"].drop_nulls())

    @pytest.mark.parametrize("other", ["zerodha", "shoonya"])
    def test_brokers_agree_on_every_shared_instrument_but_one_lot(self, days: Days, other: str) -> None:
        told = ["venue", "exchange_token", "key", "lot_size", "tick_size"]
        cash = pl.col("kind") != "index"
        both = (
            days[SECOND, "upstox"]
            .filter(cash)
            .join(days[SECOND, other].filter(cash).select(told), on=["venue", "exchange_token"], suffix="_other")
        )

        assert len(both) > 20_000
        assert both.filter(pl.col("key") != pl.col("key_other")).height == 0
        assert both.filter(pl.col("tick_size") != pl.col("tick_size_other")).height == 0
        assert both.filter(pl.col("lot_size") != pl.col("lot_size_other")).height == (other == "shoonya")

    @pytest.mark.parametrize("broker", PARSERS)
    def test_a_newcomers_searches_have_something_to_find(self, days: Days, broker: str) -> None:
        keys = set(days[SECOND, broker]["key"])

        assert {
            "NSE:RELIANCE", "BSE:RELIANCE", "NSE:HDFCBANK", "NSE:SBIN", "NSE:INFY", "NSE:M&M", "NSE:NIFTYBEES",
            "NSE:NIFTY;IDX", "NSE:BANKNIFTY;IDX", "NFO:NIFTY;2026-11-23;24500;C", "NFO:BANKNIFTY;F;2026-12-29",
            "BFO:SENSEX;2026-11-26;80000;C", "MCX:CRUDEOIL;F;2026-12-18", "MCX:CRUDEOIL;2026-12-17;5800;P",
            "CDS:USDINR;F;2026-12-29",
        } <= keys  # fmt: skip

    def test_the_well_known_tokens_are_the_real_ones(self, days: Days) -> None:
        reliance = {
            broker: days[SECOND, broker].filter(pl.col("key") == "NSE:RELIANCE").row(0, named=True)
            for broker in PARSERS
        }

        assert reliance["zerodha"]["token"] == "738561"
        assert reliance["upstox"]["token"] == "NSE_EQ|INE002A01018"
        assert reliance["shoonya"]["token"] == "2885"
        assert days[SECOND, "shoonya"].filter(pl.col("token") == "2885").height == 2  # and an option on the dollar


class TestSearching:
    def test_what_a_newcomer_types_finds_what_was_meant(self, results: list[tuple[date, str, Parsed]]) -> None:
        listed = next(result for day, broker, result in results if (day, broker) == (SECOND, "upstox"))
        rows = list(index_rows("upstox", listed))
        keys = {row.id: row.key for row in rows}
        index = Index.build(rows, TODAY, aliases=seed())
        wanted = {
            "reliance": "NSE:RELIANCE",
            "INE002A01018": "NSE:RELIANCE",
            "hdfc bank": "NSE:HDFCBANK",
            "sbin": "NSE:SBIN",
            "m&m": "NSE:M&M",
            "nifty": "NSE:NIFTY;IDX",
            "nifty 24500 ce": "NFO:NIFTY;2026-11-23;24500;C",  # the Tuesday is a holiday
            "banknifty fut": "NFO:BANKNIFTY;F;2026-11-23",
            "sensx": "BSE:SENSEX;IDX",
            "crudeoil": "MCX:CRUDEOIL;F;2026-12-18",
            "crudeoil 5800 pe": "MCX:CRUDEOIL;2026-12-17;5800;P",
        }

        assert {text: keys[index.search(Query(text=text, limit=1)).hits[0].id] for text in wanted} == wanted


class TestTheNight:
    def test_contracts_of_the_first_day_expire(self, days: Days) -> None:
        before, after = days[FIRST, "upstox"], days[SECOND, "upstox"]

        assert before.filter(pl.col("expiry") == FIRST)["venue"].n_unique() >= 2  # SENSEX on a Thursday, and MCX
        assert after.filter(pl.col("expiry") < SECOND).height == 0

    def test_shares_are_listed_and_one_is_gone_from_every_broker(self, days: Days) -> None:
        shares = (pl.col("kind") == "equity") & (pl.col("venue") == "NSE")
        for broker in PARSERS:
            before, after = (set(days[day, broker].filter(shares)["key"]) for day in (FIRST, SECOND))
            assert len(after - before) == 3  # two newcomers and the renamed one
            assert len(before - after) == 2  # the one that left and the old name

    def test_a_company_takes_another_name_under_the_same_token(self, days: Days) -> None:
        same = days[FIRST, "zerodha"].join(days[SECOND, "zerodha"], on=["segment", "token"], suffix="_after")
        renamed = same.filter((pl.col("kind") == "equity") & (pl.col("key") != pl.col("key_after")))

        assert renamed["venue"].to_list() in (["NSE"], ["NSE", "BSE"], ["BSE", "NSE"])
        assert renamed["name_after"].str.contains("GLOBAL").all()

    def test_shares_move_between_series_and_keep_key_and_isin(self, days: Days) -> None:
        same = days[FIRST, "upstox"].join(days[SECOND, "upstox"], on=["key", "isin"], suffix="_after")
        moved = same.filter((pl.col("venue") == "NSE") & (pl.col("series") != pl.col("series_after")))

        assert set(moved.select("series", "series_after").rows()) == {("EQ", "BE"), ("BE", "EQ"), ("SM", "ST")}
        assert (moved["exchange_token"] != moved["exchange_token_after"]).all()

    def test_a_split_gives_a_share_another_isin_under_its_token(self, days: Days) -> None:
        same = days[FIRST, "upstox"].join(days[SECOND, "upstox"], on=["venue", "exchange_token"], suffix="_after")
        split = same.filter((pl.col("isin") != pl.col("isin_after")) & (pl.col("venue") == "NSE"))

        assert len(split) == 1
        assert split["key"].to_list() == split["key_after"].to_list()

    def test_a_dividend_moves_strikes_under_their_tokens_and_old_names_go_to_new_contracts(self, days: Days) -> None:
        before, after = days[FIRST, "zerodha"], days[SECOND, "zerodha"]
        options = (pl.col("venue") == "NFO") & (pl.col("kind") == "option")
        same = before.filter(options).join(after, on=["segment", "token"], suffix="_after")
        adjusted = same.filter(pl.col("strike") != pl.col("strike_after"))
        less = adjusted["strike"].cast(pl.Float64) - adjusted["strike_after"].cast(pl.Float64)

        assert set(adjusted["root"]) == {"HINDPETRO"}
        assert set(less) == {19.25}
        assert len(adjusted) == before.filter(options & (pl.col("root") == "HINDPETRO")).height
        relisted = after.join(adjusted.select("key"), on="key")
        assert len(relisted) == 10
        assert not set(relisted["token"]) & set(before["token"])

    def test_tokens_of_expired_contracts_mean_others_the_next_day(self, days: Days) -> None:
        same = days[FIRST, "upstox"].join(days[SECOND, "upstox"], on=["segment", "token"], suffix="_after")
        reused = same.filter((pl.col("expiry") == FIRST) & (pl.col("key") != pl.col("key_after")))

        assert {"MCX", "BFO"} <= set(reused["venue"])
        assert len(reused) <= 3 * 12


class TestAnyDay:
    @pytest.mark.parametrize(
        "today",
        [
            date(2026, 11, 24),  # a holiday
            date(2026, 11, 25),  # after it
            date(2026, 12, 30),  # after a monthly expiry of everything
            date(2027, 1, 4),  # past the end of the calendars
            date(2028, 3, 1),
        ],
    )
    def test_the_story_is_told_on_whichever_day_it_starts(self, tmp_path: Path, today: date) -> None:
        results = parsed(tmp_path, today, brokers=("upstox",))
        days = joined(results)
        first, second = sorted({day for day, _ in days})
        before, after = days[first, "upstox"], days[second, "upstox"]
        same = before.join(after, on=["segment", "token"], suffix="_after")

        assert today - timedelta(days=5) < first < second <= today
        assert sum(len(result.rejects) for _, _, result in results) == 0
        assert before.filter(pl.col("expiry") == first).height > 0
        assert same.filter((pl.col("expiry") == first) & (pl.col("key") != pl.col("key_after"))).height > 0
        assert same.filter((pl.col("root") == "HINDPETRO") & (pl.col("strike") != pl.col("strike_after"))).height >= 30
        for frame in days.values():
            assert frame["key"].is_unique().all()
            assert frame.select("segment", "token").is_unique().all()

    def test_every_expiry_within_the_calendars_is_a_session(self, days: Days) -> None:
        contracts = days[SECOND, "upstox"].filter(pl.col("expiry") <= date(2026, 12, 31))

        for venue, expiry in contracts.select("venue", "expiry").unique().rows():
            assert calendar_of(venue).is_session(expiry), (venue, expiry)

    def test_the_same_day_gives_the_same_bytes_and_another_seed_other_ones(self, tmp_path: Path) -> None:
        def written(name: str, seed: int) -> dict[str, bytes]:
            files = write_demo(tmp_path / name, TODAY, seed=seed)
            return {file.path.name: file.path.read_bytes() for file in files}

        once = written("a", 1)

        assert once == written("b", 1)
        assert once != written("c", 2)
