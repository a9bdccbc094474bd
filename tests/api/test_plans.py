"""Plans through the door: made, applied, followed, acknowledged, put back."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from desk import Caller, Desk, opened
from instrument_registry.database import Database
from instrument_registry.subscriptions.planner import plan, problem_of
from instrument_registry.subscriptions.planner.model import Mode
from planning import AT, CALL, FUTURE, RND, TEA, acknowledged, applied, carries, keys_of, lines, planned, planner, want

pytestmark = pytest.mark.tea

IST = ZoneInfo("Asia/Kolkata")


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


class TestAPlan:
    async def test_is_made_applied_and_followed_by_a_ticker(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA, CALL])
            made = await planned(caller)
            done = await applied(caller, made["plan_id"], expected=None)
            (step,) = await lines(caller, start=0)
            carried = await caller.told(f"{AT}/assignments")

        assert made["status"] == "created"
        assert made["plan_data"]["served"] == 2
        assert made["plan"]["status"] == "validated"
        assert done["steps"] == {"K": 1}
        assert step["kind"] == "add"
        assert keys_of(step) == sorted([TEA, CALL])
        assert json.loads(step["frames"][0]["text"]) == {"a": "subscribe", "v": [23552258, 23040257]}
        assert carried["total"] == 2

    async def test_is_remembered_while_its_question_is_the_same(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA])
            first = await planned(caller)
            again = await planned(caller)
            await want(desk, "anna", [TEA, RND])
            other = await planned(caller)
            fresh = await planned(caller, fresh=True)

        assert (again["status"], again["plan_id"]) == ("cached", first["plan_id"])
        assert other["status"] == "created"
        assert fresh["plan_id"] != other["plan_id"]

    async def test_is_never_remembered_beyond_the_next_expiry(self, desk: Desk) -> None:
        desk.now = datetime(2026, 8, 25, 15, 29, tzinfo=IST)
        async with planner(desk) as caller:
            await want(desk, "anna", [FUTURE, TEA])
            at_15_29 = await planned(caller)
            desk.now = datetime(2026, 8, 25, 15, 31, tzinfo=IST)
            at_15_31 = await planned(caller)

        assert at_15_29["plan_data"]["served"] == 2
        assert at_15_29["plan"]["expires_at"] == "2026-08-25T10:00:00Z"
        assert at_15_31["status"] == "created"
        assert at_15_31["plan_data"]["served"] == 1

    async def test_names_what_is_short_and_what_would_serve_it(self, desk: Desk) -> None:
        async with planner(desk, each=1) as caller:
            await want(desk, "anna", [TEA], priority=90)
            await want(desk, "bert", [RND], priority=10)
            made = await planned(caller)
            of_bert = (await caller.http.post(f"{AT}/plan?user_id=bert", json={})).json()

        (drop,) = made["plan_data"]["drops"]
        assert drop["reason"].startswith("capacity.")
        assert drop["would_fit_if"]
        assert [one["key"] for one in of_bert["plan_data"]["dropped"]] == [RND]
        assert of_bert["plan_data"]["served"] == []

    async def test_without_an_account_is_none(self, desk: Desk) -> None:
        async with desk.caller() as caller:
            answer = await caller.http.post(f"{AT}/plan", json={})

        assert answer.status_code == 409
        assert answer.json()["type"] == "/problems/NoAccounts"

    async def test_says_what_it_is_at_three_lengths(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA])
            made = await planned(caller)
            told = {}
            for detail in ("basic", "detailed", "comprehensive"):
                answer = await caller.http.post(f"{AT}/plan/{made['plan_id']}/describe", json={"detail": detail})
                told[detail] = answer.json()["description"]

        assert told["basic"]["served"] == 1
        assert set(told["basic"]) < set(told["detailed"]) < set(told["comprehensive"])
        assert told["detailed"]["connections"][0]["carries"] == 1
        assert not any("cost" in name for name in told["comprehensive"])


class TestApplying:
    async def test_is_refused_when_another_plan_is_live_by_now(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA])
            first = await planned(caller)
            await want(desk, "anna", [TEA, RND])
            second = await planned(caller)
            await applied(caller, first["plan_id"], expected=None)
            late = await caller.http.post(
                f"{AT}/plans/{second['plan_id']}/apply", json={"expected_live": None, "reason": "tests"}
            )

        assert late.status_code == 409
        assert late.json()["type"] == "/problems/OtherPlanLive"
        assert late.json()["live_plan"] == first["plan_id"]

    async def test_of_what_is_live_changes_nothing(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA, CALL])
            first = await planned(caller)
            await applied(caller, first["plan_id"], expected=None)
            again = await planned(caller)
            difference = await caller.told(f"{AT}/plans/{first['plan_id']}/diff/{again['plan_id']}")

        assert difference["steps"] == []

    async def test_is_put_back_in_one_call_and_holds_what_comes_by_itself(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA])
            first = await planned(caller)
            await applied(caller, first["plan_id"], expected=None)
            await want(desk, "anna", [RND])
            second = await planned(caller)
            await applied(caller, second["plan_id"], expected=first["plan_id"])
            back = await caller.http.post(f"{AT}/plans/{second['plan_id']}/rollback", json={"reason": "wrong"})
            carried = await caller.told(f"{AT}/assignments")
            configuration = await caller.told(f"{AT}/planner/config")
            steps = await lines(caller, start=0)

        assert back.status_code == 200, back.text
        assert [one["key"] for one in carried["assignments"] if not one["lingers"]] == [TEA]
        assert "wrong" in configuration["held_because"]
        assert [step["position"] for step in steps] == list(range(1, len(steps) + 1))

    async def test_without_a_plan_before_has_nothing_to_put_back(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            answer = await caller.http.post(f"{AT}/plans/rollback", json={"reason": "wrong"})

        assert answer.status_code == 409
        assert answer.json()["type"] == "/problems/NothingBefore"


class TestATicker:
    async def test_has_an_account_alone_while_its_lease_lasts(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            first = await caller.http.post(f"{AT}/leases/K", json={"holder": "one"})
            second = await caller.http.post(f"{AT}/leases/K", json={"holder": "two"})
            desk.now += timedelta(seconds=16)
            later = await caller.http.post(f"{AT}/leases/K", json={"holder": "two"})
            old = await acknowledged(caller, epoch=1, position=0, carries={})

        assert first.json()["epoch"] == 1
        assert (second.status_code, second.json()["type"]) == (409, "/problems/AccountTaken")
        assert later.json()["epoch"] == 2
        assert (old.status_code, old.json()["type"]) == (409, "/problems/StaleEpoch")

    async def test_that_acknowledges_what_it_carries_has_converged(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA, CALL])
            made = await planned(caller)
            await applied(caller, made["plan_id"], expected=None)
            await caller.http.post(f"{AT}/leases/K", json={"holder": "one"})
            before = await caller.told(f"{AT}/acks")
            (step,) = await lines(caller, start=0)
            wrong = await acknowledged(caller, epoch=1, position=1, carries={step["connection"]: "0" * 32})
            right = await acknowledged(caller, epoch=1, position=1, carries={step["connection"]: step["digest_after"]})
            after = await caller.told(f"{AT}/acks")

        assert before["converged"] is False
        assert wrong.json()["resync"] == [step["connection"]]
        assert right.json()["resync"] == []
        assert after["converged"] is True

    async def test_that_begins_is_told_all_that_it_is_to_carry(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA, CALL], Mode.FULL)
            made = await planned(caller)
            await applied(caller, made["plan_id"], expected=None)
            (snapshot,) = await lines(caller)
            (step,) = await lines(caller, start=0)
            nothing = await lines(caller, start=1)

        assert snapshot["kind"] == "snapshot"
        assert snapshot["digest_after"] == step["digest_after"]
        assert keys_of(snapshot) == keys_of(step)
        assert nothing == []

    async def test_cannot_go_on_after_a_step_that_was_never_sent(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            answer = await caller.http.get(f"{AT}/deltas", params={"account": "K", "from": 7})
            nowhere = await caller.http.get(f"{AT}/deltas", params={"account": "L", "from": 0})

        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/NotThereYet")
        assert nowhere.status_code == 404


class TestWhatIf:
    async def test_names_who_would_be_dropped_and_changes_nothing(self, desk: Desk) -> None:
        async with planner(desk, each=2) as caller:
            await carries(desk, "L", connections=1, each=2)
            await want(desk, "anna", [TEA, RND, CALL])
            made = await planned(caller)
            await applied(caller, made["plan_id"], expected=None)
            lost = next(one["account"] for one in made["plan_data"]["connections"] if one["carries"] == 1)
            kept = "K" if lost == "L" else "L"
            supposed = await what_if(caller, lose_accounts=[kept])
            again = await what_if(caller, lose_accounts=[kept])
            after = await planned(caller)

        assert supposed["digest"] == again["digest"]
        assert supposed["dropped_count"] == 1
        assert supposed["dropped"][0]["reason"].startswith("capacity.")
        assert supposed["summary"]["forced"] == 2
        assert supposed["summary"]["moved"] == 0
        assert after["plan_data"]["served"] == 3

    async def test_tells_what_more_would_need(self, desk: Desk) -> None:
        async with planner(desk, each=3) as caller:
            await want(desk, "anna", [TEA])
            more = await what_if(caller, add=[{"count": 5, "mode": "full"}])
            higher = await what_if(caller, add=[{"count": 5}], limits={"K": 10})
            nowhere = await caller.http.post(f"{AT}/what-if", json={"lose_accounts": ["X"]})

        assert (more["summary"]["served"], more["dropped_count"]) == (3, 3)
        assert (higher["summary"]["served"], higher["dropped_count"]) == (6, 0)
        assert (nowhere.status_code, nowhere.json()["type"]) == (404, "/problems/UnknownAccount")

    async def test_knows_what_ends_at_half_past_three(self, desk: Desk) -> None:
        desk.now = datetime(2026, 8, 25, 9, tzinfo=IST)
        async with planner(desk) as caller:
            await want(desk, "anna", [FUTURE, TEA])
            at_15_29 = await what_if(caller, at="2026-08-25T15:29:59+05:30")
            at_15_30 = await what_if(caller, at="2026-08-25T15:30:00+05:30")

        assert (at_15_29["summary"]["served"], at_15_30["summary"]["served"]) == (2, 1)


class TestExplaining:
    async def test_says_who_wants_it_and_where_it_is_or_why_it_is_not(self, desk: Desk) -> None:
        async with planner(desk, each=1) as caller:
            await want(desk, "anna", [TEA], priority=90)
            await want(desk, "bert", [TEA, RND], Mode.FULL, priority=10)
            made = await planned(caller)
            await applied(caller, made["plan_id"], expected=None)
            tea = await caller.told(f"{AT}/explain/{TEA}")
            rnd = await caller.told(f"{AT}/explain/NSE:R%26D")
            call = await caller.told(f"{AT}/explain/{CALL}")
            unknown = await caller.told(f"{AT}/explain/NSE:TEALEEF", status=422)

        assert (tea["state"], tea["wanted_by"], tea["mode"], tea["tier"]) == ("served", 2, "full", 0)
        assert tea["assignments"][0]["connection"] == "K-0"
        assert rnd["state"] == "dropped"
        assert rnd["reason"]["reason"].startswith("capacity.")
        assert call["state"] == "not wanted"
        assert "NSE:TEALEAF" in unknown["errors"][0]["remedy"]

    async def test_lets_an_outsider_work_a_plan_out_anew(self, desk: Desk) -> None:
        async with planner(desk, each=2) as caller:
            await want(desk, "anna", [TEA, RND, CALL])
            made = await planned(caller)
            instance = await caller.told(f"{AT}/plans/{made['plan_id']}/instance")
            certificate = await caller.told(f"{AT}/plans/{made['plan_id']}/certificate")

        again = plan(problem_of(instance))
        assert again.at.tolist() == certificate["at"]
        assert made["plan_data"]["served"] == sum(1 for place in certificate["at"] if place >= 0)


async def what_if(caller: Caller, **body: object) -> dict:
    answer = await caller.http.post(f"{AT}/what-if", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()
