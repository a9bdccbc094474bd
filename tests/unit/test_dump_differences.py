"""What changed between two dumps of a broker, told from the files alone."""

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

import dumps
from desk import TEA
from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.differences import Difference
from instrument_registry.catalog.dump_differences import compare, read
from instrument_registry.errors import Invalid

DAY = date(2026, 8, 19)
CALL = "23552258,92001,NIFTY2690124500CE,NIFTY,0,2026-09-01,24500,0.05,65,CE,NFO-OPT,NFO"


def kite(last: str, *, day: date | None = DAY) -> list[tuple]:
    zerodha = BROKERS["zerodha"]
    first, then = (read(zerodha, [Dump(name="kite.csv", content=text.encode())]) for text in (TEA, last))
    return [(one.change, one.key, one.field, one.old, one.new) for one in compare("zerodha", first, then, day=day)]


def real(broker: str, first: str, last: str, day: date) -> list[Difference]:
    return compare(broker, *(read(BROKERS[broker], [dumps.dump(path)]) for path in (first, last)), day=day)


class TestDumps:
    def test_the_same_dump_has_not_changed(self) -> None:
        assert kite(TEA) == []

    def test_a_field_that_differs_is_named_with_both_values(self) -> None:
        assert kite(TEA.replace("24500,0.05,65,CE", "24500,0.1,75,CE")) == [
            ("lot_changed", "NFO:NIFTY;2026-09-01;24500;C", "lot_size", "65", "75"),
            ("tick_changed", "NFO:NIFTY;2026-09-01;24500;C", "tick_size", "0.05", "0.1"),
        ]

    @pytest.mark.parametrize(
        ("row", "change", "key"),
        [
            (CALL.replace("24500,", "24480.5,"), "strike_adjusted", "NFO:NIFTY;2026-09-01;24480.5;C"),
            (CALL.replace("2026-09-01", "2026-09-02"), "expiry_moved", "NFO:NIFTY;2026-09-02;24500;C"),
            (CALL.replace(",NIFTY,", ",NIFTYTEA,"), "renamed", "NFO:NIFTYTEA;2026-09-01;24500;C"),
        ],
    )
    def test_one_term_of_a_contract_changes_under_its_token(self, row: str, change: str, key: str) -> None:
        told = [one for one in kite(TEA.replace(CALL, row)) if one[0] != "name_changed"]

        assert told == [(change, key, "key", "NFO:NIFTY;2026-09-01;24500;C", key)]

    def test_a_token_that_means_another_contract_was_reused(self) -> None:
        other = "23552258,92001,TEALEAF26SEP500CE,TEALEAF,0,2026-09-29,500,0.05,40,CE,NFO-OPT,NFO"

        assert kite(TEA.replace(CALL, other)) == [
            ("gone", "NFO:NIFTY;2026-09-01;24500;C", "token", "23552258", None),
            ("listed", "NFO:TEALEAF;2026-09-29;500;C", "token", None, "23552258"),
            (
                "token_reused", "NFO:TEALEAF;2026-09-29;500;C", "token 23552258", "NFO:NIFTY;2026-09-01;24500;C",
                "NFO:TEALEAF;2026-09-29;500;C",
            ),
        ]  # fmt: skip

    def test_an_expired_contract_does_not_move_its_token_is_reused(self) -> None:
        moved = kite(TEA.replace(CALL, CALL.replace("2026-09-01", "2026-09-29")), day=date(2026, 9, 2))

        assert (moved[-1][0], moved[0][0]) == ("token_reused", "expired")

    def test_a_contract_under_another_token_is_retokenised(self) -> None:
        assert kite(TEA.replace("23552258", "23559999")) == [
            ("retokenised", "NFO:NIFTY;2026-09-01;24500;C", "token", "23552258", "23559999")
        ]

    @pytest.mark.parametrize(
        ("day", "change"), [(DAY, "gone"), (date(2026, 9, 1), "gone"), (date(2026, 9, 2), "expired"), (None, "gone")]
    )
    def test_what_is_gone_has_expired_only_after_its_last_day(self, day: date | None, change: str) -> None:
        left = kite(TEA.replace(CALL + "\n", ""), day=day)

        assert left == [(change, "NFO:NIFTY;2026-09-01;24500;C", "token", "23552258", None)]

    def test_a_list_without_instruments_cannot_be_compared(self) -> None:
        sample = Path(__file__).parents[1] / "samples" / "nse" / "symbolchange.csv"
        changes = Dump(name=sample.name, content=sample.read_bytes())

        with pytest.raises(Invalid, match="symbol changes, not instruments"):
            read(BROKERS["nse"], [changes])


REAL: list[tuple[str, str, str, date, Callable[[Counter[str]], bool]]] = [
    (
        "zerodha", "zerodha/kite_2026-08-10_NFO.csv.gz", "zerodha/kite_2026-08-17_NFO.csv.gz", date(2026, 8, 17),
        lambda told: told == {"listed": 1359, "gone": 1319, "expired": 226},
    ),
    (
        "nuvama", "nuvama/nuvama_2025-02-12_instruments.csv.gz", "nuvama/nuvama_2025-02-14_instruments.csv.gz",
        date(2025, 2, 14), lambda told: told["strike_adjusted"] == 306 and told["token_reused"] == 0,
    ),
    (
        "fyers", "fyers/fyers_2025-10-13_BSE_FO.csv.gz", "fyers/fyers_2025-10-14_BSE_FO.csv.gz", date(2025, 10, 14),
        lambda told: told == {"listed": 654, "retokenised": 135},
    ),
    (
        "upstox", "upstox/upstox_2026-08-20_NSE.json.gz", "upstox/upstox_2026-08-21_NSE.json.gz", date(2026, 8, 21),
        lambda told: told["token_reused"] == 66 and told["renamed"] == 0,
    ),
    (
        "nse", "nse_bse_official/nse_2026-05-17_EQUITY_L.csv.gz", "nse_bse_official/nse_2026-07-10_EQUITY_L.csv.gz",
        date(2026, 7, 10),
        lambda told: (told["renamed"], told["listed"], told["gone"], told["isin_changed"]) == (3, 27, 8, 5),
    ),
]  # fmt: skip


class TestRealDumps:
    @pytest.mark.parametrize(("broker", "first", "last", "day", "right"), REAL, ids=[one[0] for one in REAL])
    def test_the_measured_nights_come_out(
        self, broker: str, first: str, last: str, day: date, right: Callable[[Counter[str]], bool]
    ) -> None:
        told = Counter(one.change for one in real(broker, first, last, day))

        assert right(told), told
