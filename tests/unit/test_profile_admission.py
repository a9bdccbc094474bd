"""What becomes of instruments that cannot be had as they were asked for; who may note what; tiers."""

from datetime import UTC, datetime, timedelta

import pytest

from instrument_registry.catalog.model import Status
from instrument_registry.subscriptions.demand.wants import tier_of
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.profiles.admission import (
    TABLE,
    Admission,
    Asked,
    Beside,
    Found,
    InstrumentProblem,
    Measure,
    Verdict,
    admit,
)
from instrument_registry.subscriptions.profiles.model import ProfileType, Standing, Strictness
from instrument_registry.subscriptions.profiles.preferences import CredentialRefused, see_harmless

NOON = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)
ACCEPT, DROP, REFUSE = Verdict.ACCEPT, Verdict.DROP, Verdict.REFUSE


def found(number: int, **changed: object) -> Found:
    told: dict = {"status": Status.ACTIVE, "streamable": True, "has_token": True}
    return Found(number=number, id=f"id-{number}", key=f"NSE:K{number}", **told | changed)


def asked(number: int, **changed: object) -> Asked:
    return Asked(text=f"NSE:K{number}", found=found(number, **changed))


def judge(
    *names: Asked, strictness: str = "moderate", kind: str = "live_feed", limit: int = 100, rules: int = 0,
    beside: dict[int, Beside] | None = None,
) -> Admission:  # fmt: skip
    measure = Measure(
        type=ProfileType(kind), strictness=Strictness(strictness), limit=limit, rules=rules, mode=Mode.QUOTE, at=NOON,
        instead={},
    )  # fmt: skip
    return admit(names, beside or {}, measure)


# A request of two: one that is as it should be, and one that is not.
FINE = asked(1)
WRONG: dict[InstrumentProblem, dict] = {
    InstrumentProblem.UNKNOWN: {"names": [FINE, Asked(text="NSE:NOBODY")]},
    InstrumentProblem.UNRESOLVED_TOKEN: {"names": [FINE, asked(2, has_token=False)]},
    InstrumentProblem.INACTIVE: {"names": [FINE, asked(2, status=Status.SUSPENDED)]},
    InstrumentProblem.EXPIRED: {"names": [FINE, asked(2, ends_at=NOON)]},
    InstrumentProblem.NOT_STREAMABLE: {"names": [FINE, asked(2, streamable=False, has_token=False)]},
    InstrumentProblem.REPEATED: {"names": [FINE, asked(1)]},
    InstrumentProblem.DUPLICATE: {"names": [FINE, asked(2)], "beside": {2: Beside(profile_id="p", mode=Mode.FULL)}},
    InstrumentProblem.OVER_LIMIT: {"names": [FINE, asked(2)], "limit": 1},
}
EXPECTED = {
    InstrumentProblem.UNKNOWN: (ACCEPT, DROP, REFUSE),
    InstrumentProblem.UNRESOLVED_TOKEN: (ACCEPT, DROP, REFUSE),
    InstrumentProblem.INACTIVE: (ACCEPT, ACCEPT, REFUSE),
    InstrumentProblem.EXPIRED: (DROP, DROP, REFUSE),
    InstrumentProblem.NOT_STREAMABLE: (ACCEPT, ACCEPT, ACCEPT),
    InstrumentProblem.REPEATED: (DROP, DROP, REFUSE),
    InstrumentProblem.DUPLICATE: (ACCEPT, ACCEPT, REFUSE),
    InstrumentProblem.OVER_LIMIT: (DROP, REFUSE, REFUSE),
}


class TestTheTable:
    def test_says_something_of_every_problem_and_strictness(self) -> None:
        assert {problem: tuple(TABLE[problem].values()) for problem in TABLE} == EXPECTED
        assert set(TABLE) == set(InstrumentProblem) == set(WRONG)

    @pytest.mark.parametrize("strictness", list(Strictness))
    @pytest.mark.parametrize("problem", list(InstrumentProblem))
    def test_is_what_becomes_of_an_instrument_and_the_reason_is_told(
        self, problem: InstrumentProblem, strictness: Strictness
    ) -> None:
        told = dict(WRONG[problem])
        admission = judge(*told.pop("names"), strictness=strictness, **told)
        fine, wrong = admission.judged

        assert (fine.verdict, fine.problem) == (ACCEPT, None)
        assert (wrong.verdict, wrong.problem) == (TABLE[problem][strictness], problem)
        assert wrong.why
        assert admission.refused == (wrong.verdict is REFUSE)
        assert len(admission.items) == 1 + (wrong.verdict is ACCEPT)


class TestAdmission:
    @pytest.mark.parametrize("status", [Status.DELISTED, Status.REMOVED, Status.SUSPENDED])
    def test_what_does_not_trade_is_inactive(self, status: Status) -> None:
        assert judge(asked(1, status=status)).judged[0].problem is InstrumentProblem.INACTIVE

    def test_a_contract_ends_at_its_instant_and_not_before(self) -> None:
        early = judge(asked(1, ends_at=NOON + timedelta(seconds=1)))
        late = judge(asked(1, ends_at=NOON))

        assert early.judged[0].problem is None
        assert late.judged[0].problem is InstrumentProblem.EXPIRED

    def test_the_past_is_asked_of_what_has_ended_too(self) -> None:
        admission = judge(
            asked(1, status=Status.EXPIRED), asked(2, streamable=False), asked(3, has_token=False),
            strictness="strict", kind="historical",
        )  # fmt: skip

        assert [(one.verdict, one.problem) for one in admission.judged] == [(ACCEPT, None)] * 3

    def test_a_rule_takes_the_place_of_one_instrument(self) -> None:
        assert judge(asked(1), asked(2), limit=3, rules=1).refused is False
        assert judge(asked(1), asked(2), limit=2, rules=1).refused is True

    def test_what_is_left_out_takes_no_place(self) -> None:
        admission = judge(Asked(text="NSE:NOBODY"), asked(1), asked(1), asked(2), limit=2)

        assert [item.number for item in admission.items] == [1, 2]

    @pytest.mark.parametrize(
        ("strictness", "unknown", "inactive", "wanted"),
        [
            ("lenient", "unresolved", "accepted", 96),
            ("moderate", "drop", "accepted", 96),
            ("strict", "refuse", "refuse", 0),
        ],
    )
    def test_s13_bonds_and_funds_are_polled_and_the_rest_is_as_strict_as_asked(
        self, strictness: str, unknown: str, inactive: str, wanted: int
    ) -> None:
        names = [asked(number, streamable=False) for number in range(10)]
        names += [Asked(text=f"NSE:NOBODY{number}") for number in range(4)]
        names += [asked(number, status=Status.SUSPENDED) for number in range(10, 12)]
        names += [asked(number) for number in range(12, 96)]
        admission = judge(*names, strictness=strictness)
        told = [one.standing.value if one.verdict is ACCEPT and one.standing else one.verdict.value
                for one in admission.judged]  # fmt: skip

        assert told[:10] == ["polled"] * 10
        assert told[10:14] == [unknown] * 4
        assert told[14:16] == [inactive] * 2
        assert admission.refused == (strictness == "strict")
        referred = [item for item in admission.items if item.number is not None]
        assert (0 if admission.refused else len(referred)) == wanted
        assert all(item.standing is not Standing.UNRESOLVED for item in referred)


class TestTiers:
    @pytest.mark.parametrize(
        ("priority", "tier"), [(100, 0), (75, 0), (74, 1), (50, 1), (49, 2), (25, 2), (24, 3), (0, 3)]
    )
    def test_follow_from_priorities(self, priority: int, tier: int) -> None:
        assert tier_of(priority) == tier


class TestPreferences:
    @pytest.mark.parametrize(
        "preferences",
        [
            {"password": "x"}, {"apiKey": "x"}, {"kite": {"access_token": "x"}}, {"accessToken": 1}, {"API-SECRET": ""},
            {"list": [{"totp": "123456"}]}, {"broker_pwd": "x"}, {"pin": 1234}, {"authToken": None},
            {"note": "Bearer abcdefghijkl"}, {"note": "password=hunter22"}, {"url": "https://asha:hunter2@broker.example"},
            {"note": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"},
            {"note": "x" * 3 + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
            {"note": ["k3yB9x7Qp2Lm5Rt8Wz1Vc4Nd6Sf0Gh"]}, {"9f86d081884c7d659a2feaa0c55ad015": True},
            {"key": "-----BEGIN PRIVATE KEY-----"},
        ],
    )  # fmt: skip
    def test_hold_no_credentials_by_name_or_by_shape(self, preferences: dict) -> None:
        with pytest.raises(CredentialRefused) as refused:
            see_harmless(preferences, size_bytes=100)

        assert "9f86d081884c7d659a2feaa0c55ad015" not in str(refused.value.facts)

    @pytest.mark.parametrize(
        "preferences",
        [
            {"theme": "dark", "columns": ["ltp", "oi"], "refresh_seconds": 5, "alerts": {"email": True}},
            {"watch": "NFO:NIFTY;2026-09-01;24500;C", "id": "01J5V8Z3N4Q6R7S8T9V0W1X2Y3"},
            {"layout": "8f14e45f-ceea-467f-a9b1-3c7e1f2d4b5a", "note": "Sell at 24,500 before 15:15, never after"},
            {"pinned": True, "pin_colour": "red", "monkey": "see", "tokenised": False},
        ],
    )
    def test_hold_whatever_else(self, preferences: dict) -> None:
        see_harmless(preferences, size_bytes=100)
