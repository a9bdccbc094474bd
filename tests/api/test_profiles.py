"""Subscription profiles at the HTTP door: made, admitted, changed, deleted; limits, bindings, named requests."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from desk import ARRANGED, Caller, Desk, opened
from instrument_registry import events
from instrument_registry.access import binding
from instrument_registry.access import service as access
from instrument_registry.access.model import Scope
from instrument_registry.database import Database

pytestmark = pytest.mark.tea

PROFILES = "/api/v1/internal/subscription-profiles"
TEA, RND, TEA_BSE = "NSE:TEALEAF", "NSE:R&D", "BSE:TEALEAF"
FUTURE, CALL, PUT = "NFO:NIFTY;F;2026-08-25", "NFO:NIFTY;2026-09-01;24500;C", "NFO:NIFTY;2026-09-01;24500;P"
HIGHER = "NFO:NIFTY;2026-09-01;24550;C"


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


async def sent(caller: Caller, method: str, path: str, *, status: int, headers: Mapping[str, str] = {}, **body):
    url = f"http://registry{PROFILES}{path}"
    answer = await caller.http.request(method, url, headers=headers, **({"json": body} if body else {}))
    assert answer.status_code == status, answer.text
    return answer


async def made(caller: Caller, *instruments: object, status: int = 201, headers: Mapping[str, str] = {}, **more):
    body = {"user_id": "asha", "name": "morning", "type": "live_feed", "instruments": list(instruments)} | more
    return (await sent(caller, "POST", "", status=status, headers=headers, **body)).json()


async def tuned(caller: Caller, **parameters: object) -> None:
    answer = await caller.http.post("/actuator/config", json=parameters | {"reason": "trial"})
    assert answer.status_code == 200, answer.text
    await caller.app.state.registry.configuration.refresh()


async def wants(desk: Desk, profile: str) -> list[tuple]:
    """The references of a profile: key, mode, priority, copies, whether pinned."""
    async with desk.database.transaction(read_only=True) as tx:
        cursor = await tx.execute(
            """select v.key, w.mode, w.priority, w.copies, w.pinned from subscription_wants w
                 join instrument_versions v using (instrument_id) where w.owner = %s order by v.key""",
            (profile,),
        )
        return await cursor.fetchall()


async def told(desk: Desk, stream: str) -> list[events.Event]:
    async with desk.database.transaction(read_only=True) as tx:
        return await events.read_stream(tx, stream)


class TestMaking:
    async def test_every_accepted_instrument_is_a_reference_with_what_the_profile_says(
        self, desk: Desk, operator: Caller
    ) -> None:
        answer = await made(
            operator, TEA, {"key": "nse:r&d", "mode": "full"}, {"key": FUTURE, "pinned": True}, mode="ltp", priority=80,
            copies=2,
        )  # fmt: skip
        profile = answer["profile"]

        assert (profile["tier"], profile["version"], profile["expired"]) == (0, 1, False)
        assert answer["counts"] == {"accepted": 3}
        assert await wants(desk, profile["id"]) == [
            (FUTURE, 0, 80, 2, True), (RND, 2, 80, 2, False), (TEA, 0, 80, 2, False),
        ]  # fmt: skip

    async def test_each_instrument_is_reported_with_the_reason_and_the_nearest_match(self, operator: Caller) -> None:
        answer = await made(operator, TEA, "NSE:TEALEEF", TEA.lower())
        accepted, unknown, repeated = answer["instruments"]

        assert (accepted["outcome"], accepted["key"], accepted["problem"]) == ("accepted", TEA, None)
        assert (unknown["outcome"], unknown["problem"], unknown["nearest"][0]) == ("dropped", "unknown", TEA)
        assert (repeated["outcome"], repeated["problem"]) == ("dropped", "repeated")

    async def test_making_one_is_told_and_audited_with_its_actor(self, desk: Desk, operator: Caller) -> None:
        profile = (await made(operator, TEA))["profile"]["id"]
        (event,) = await told(desk, f"profile:{profile}")
        async with desk.database.transaction(read_only=True) as tx:
            cursor = await tx.execute("select text from audit_records where subject = %s", (f"profile:{profile}",))
            (record,) = await cursor.fetchone()

        assert (event.type, event.metadata.actor) == ("profile.created", operator.actor)
        assert '"address":"127.0.0.1"' in record and operator.actor in record

    async def test_a_name_is_had_once(self, operator: Caller) -> None:
        first = await made(operator, TEA)
        second = await made(operator, RND, status=409)
        other = await made(operator, RND, user_id="ravi")

        assert second["profile"] == first["profile"]["id"]
        assert other["profile"]["user_id"] == "ravi"

    async def test_sent_again_with_its_key_it_is_made_once(self, desk: Desk, operator: Caller) -> None:
        named = {"Idempotency-Key": "k-1"}
        first = await made(operator, TEA, headers=named)
        again = await made(operator, TEA, headers=named)
        other = await made(operator, RND, headers=named, status=409)
        listed = (await sent(operator, "GET", "/users/asha/profiles", status=200)).json()

        assert again == first
        assert other["type"].endswith("RequestNamedOtherwise")
        assert [one["id"] for one in listed["profiles"]] == [first["profile"]["id"]]

    async def test_sent_many_times_at_once_it_is_made_once(self, desk: Desk, operator: Caller) -> None:
        named = {"Idempotency-Key": "k-2"}
        answers = await asyncio.gather(*(made(operator, TEA, headers=named) for _ in range(8)))

        assert len({one["profile"]["id"] for one in answers}) == 1

    async def test_a_refusal_does_not_use_the_key_up(self, operator: Caller) -> None:
        named = {"Idempotency-Key": "k-3"}
        await made(operator, "NSE:NOBODY", headers=named, status=422)
        await made(operator, TEA, headers=named)

    async def test_one_that_has_expired_counts_until_it_goes_and_comes_back_with_a_later_end(
        self, desk: Desk, operator: Caller
    ) -> None:
        await tuned(operator, PROFILES_PER_USER=1)
        profile = (await made(operator, TEA, expires_at="2026-08-18T07:00:00Z"))["profile"]["id"]
        desk.now = datetime(2026, 8, 18, 8, 0, tzinfo=UTC)
        shown = (await sent(operator, "GET", f"/{profile}", status=200)).json()
        await made(operator, TEA, name="second", status=422)
        again = await sent(operator, "PATCH", f"/{profile}", status=200, expires_at="2026-08-19T00:00:00Z")
        async with desk.database.transaction(read_only=True) as tx:
            cursor = await tx.execute("select expires_at from subscription_wants where owner = %s", (profile,))
            ends = await cursor.fetchall()

        assert (shown["expired"], again.json()["profile"]["expired"]) == (True, False)
        assert ends == [(datetime(2026, 8, 19, tzinfo=UTC),)]

    async def test_a_trailing_slash_is_the_same_door(self, operator: Caller) -> None:
        body = {"user_id": "asha", "name": "a", "type": "alerts", "instruments": [TEA]}

        assert (await sent(operator, "POST", "/", status=201, **body)).headers["location"].startswith(PROFILES)

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"type": "life_feed"}, "body.type"),
            ({"priority": 101}, "body.priority"),
            ({"mode": "depth"}, "body.mode"),
            ({"copies": 3}, "body.copies"),
            ({"user_id": " asha"}, "user_id"),
            ({"name": "a\x07"}, "name"),
            ({"expires_at": "2026-08-18T06:00:00Z"}, "expires_at"),
            ({"preferences": {"kite": {"access_token": "x"}}}, "preferences.kite.access_token"),
            ({"preferences": {"note": "Bearer abcdefghijk"}}, "preferences.note"),
            ({"rules": [{"rule": "ladder", "underlying": "NSE:NIFTY", "aroundd": 2}]}, "rules[0].aroundd"),
        ],
    )
    async def test_what_cannot_be_is_refused_by_its_field(
        self, operator: Caller, changed: dict[str, object], field: str
    ) -> None:
        answer = await made(operator, TEA, status=422, **changed)

        assert field in (answer.get("field"), (answer.get("errors") or [{}])[0].get("field"))


class TestChanging:
    async def test_a_replacement_rewrites_exactly_its_references(self, desk: Desk, operator: Caller) -> None:
        profile = (await made(operator, TEA, FUTURE))["profile"]["id"]
        other = (await made(operator, TEA, name="other", type="alerts"))["profile"]["id"]
        body = {"name": "morning", "type": "live_feed", "instruments": [FUTURE, CALL], "mode": "full", "priority": 10}
        answer = await sent(operator, "PUT", f"/{profile}", status=200, **body)

        assert answer.json()["profile"]["version"] == 2
        assert await wants(desk, profile) == [(CALL, 2, 10, 1, False), (FUTURE, 2, 10, 1, False)]
        assert await wants(desk, other) == [(TEA, 1, 50, 1, False)]

    async def test_a_patch_changes_what_it_names_and_judges_nothing_else(self, desk: Desk, operator: Caller) -> None:
        profile = (await made(operator, CALL, TEA, preferences={"theme": "dark"}))["profile"]["id"]
        desk.now = datetime(2026, 9, 2, 4, 0, tzinfo=UTC)  # the call has expired
        answer = await sent(operator, "PATCH", f"/{profile}", status=200, mode="full", priority=60)
        again = await sent(operator, "PATCH", f"/{profile}", status=200, instruments=[CALL, RND])

        assert answer.json()["profile"]["preferences"] == {"theme": "dark"}
        assert [one["outcome"] for one in again.json()["instruments"]] == ["dropped", "accepted"]
        assert await wants(desk, profile) == [(RND, 2, 60, 1, False)]

    async def test_who_changes_what_somebody_else_has_changed_is_told(self, operator: Caller) -> None:
        profile = (await made(operator, TEA))["profile"]["id"]
        tag = (await sent(operator, "GET", f"/{profile}", status=200)).headers["etag"]
        first = await sent(operator, "PATCH", f"/{profile}", status=200, headers={"If-Match": tag}, priority=1)
        await sent(operator, "PATCH", f"/{profile}", status=412, headers={"If-Match": tag}, priority=2)
        await sent(operator, "DELETE", f"/{profile}", status=412, headers={"If-Match": tag})
        await sent(operator, "DELETE", f"/{profile}", status=204, headers={"If-Match": first.headers["etag"]})
        await sent(operator, "GET", f"/{profile}", status=404)

    async def test_what_is_deleted_wants_nothing_and_keeps_its_history(self, desk: Desk, operator: Caller) -> None:
        profile = (await made(operator, TEA))["profile"]["id"]
        await sent(operator, "PATCH", f"/{profile}", status=200, name="evening")
        await sent(operator, "DELETE", f"/{profile}", status=204)
        history = (await sent(operator, "GET", f"/{profile}/history", status=200)).json()

        assert await wants(desk, profile) == []
        assert [(one["change"], one["profile"]["name"]) for one in history["versions"]] == [
            ("deleted", "evening"), ("changed", "evening"), ("created", "morning"),
        ]  # fmt: skip
        assert {one["actor"] for one in history["versions"]} == {operator.actor}
        assert [one.type for one in await told(desk, f"profile:{profile}")] == [
            "profile.created", "profile.changed", "profile.deleted",
        ]  # fmt: skip


class TestLimits:
    @pytest.mark.obeys("PROFILE_LIMIT_LIVE_FEED", "PROFILE_LIMIT_HISTORICAL", "PROFILE_LIMIT_ALERTS")
    @pytest.mark.parametrize("kind", ["live_feed", "historical", "alerts"])
    async def test_a_profile_above_the_limit_is_refused_with_counts(self, operator: Caller, kind: str) -> None:
        await tuned(operator, **{f"PROFILE_LIMIT_{kind.upper()}": 2})
        over = await made(operator, TEA, RND, FUTURE, type=kind, status=422)
        within = await made(operator, TEA, RND, type=kind)
        more = await sent(operator, "PATCH", f"/{within['profile']['id']}", status=422, instruments=[TEA, RND, FUTURE])

        assert (over["of"], over["limit"], over["present"], over["asked"]) == ("instruments", 2, 0, 3)
        assert [more.json()[name] for name in ("limit", "present", "asked")] == [2, 2, 3]

    @pytest.mark.obeys("PROFILES_PER_USER")
    async def test_a_user_has_so_many_profiles(self, operator: Caller) -> None:
        await tuned(operator, PROFILES_PER_USER=1)
        await made(operator, TEA)
        over = await made(operator, RND, name="second", status=422)
        await made(operator, RND, user_id="ravi")

        assert (over["of"], over["limit"], over["present"], over["asked"]) == ("profiles", 1, 1, 1)

    @pytest.mark.obeys("MAX_INSTRUMENTS_PER_PLAN")
    async def test_a_request_brings_so_many_instruments(self, operator: Caller) -> None:
        await tuned(operator, MAX_INSTRUMENTS_PER_PLAN=2, PROFILE_LIMIT_LIVE_FEED=2)
        over = await made(operator, TEA, RND, FUTURE, status=422)

        assert (over["type"], over["limit"], over["asked"]) == ("/problems/TooManyInstruments", 2, 3)

    @pytest.mark.obeys("TIER_0_PER_KEY")
    async def test_a_key_wants_so_much_before_everybody_else(self, desk: Desk, operator: Caller) -> None:
        await tuned(operator, TIER_0_PER_KEY=2)
        first = (await made(operator, TEA, RND, priority=75))["profile"]["id"]
        over = await made(operator, FUTURE, name="second", priority=90, status=422)
        second = (await made(operator, FUTURE, name="second", priority=74))["profile"]["id"]
        raised = await sent(operator, "PATCH", f"/{second}", status=422, priority=75)
        async with desk.caller() as other:
            await made(other, FUTURE, name="third", priority=90)
        await sent(operator, "PATCH", f"/{first}", status=200, priority=10)
        await sent(operator, "PATCH", f"/{second}", status=200, priority=75)

        assert [over[name] for name in ("of", "limit", "present", "asked")] == ["tier_0", 2, 2, 1]
        assert raised.json()["of"] == "tier_0"

    async def test_a_rotated_key_has_no_other_share_of_tier_0(self, desk: Desk, operator: Caller) -> None:
        await tuned(operator, TIER_0_PER_KEY=2)
        await made(operator, TEA, priority=90)
        key = operator.actor.removeprefix("api_key:")
        async with desk.database.transaction() as tx:
            done = await access.rotate_key(tx, key, overlap=timedelta(hours=1), metadata=ARRANGED, at=desk.now)
        new = {"X-Internal-API-Key": done.text}
        await made(operator, RND, name="second", priority=90, headers=new)
        over = [await made(operator, FUTURE, name="third", priority=90, status=422, headers=one) for one in (new, {})]

        assert [(one["of"], one["present"]) for one in over] == [("tier_0", 2)] * 2

    async def test_a_rule_counts_as_one(self, operator: Caller) -> None:
        await tuned(operator, PROFILE_LIMIT_LIVE_FEED=2)
        ladder = {"rule": "ladder", "underlying": "NSE:NIFTY", "around": 10, "expiries": 3}
        await made(operator, TEA, rules=[ladder])
        over = await made(operator, TEA, RND, name="second", rules=[ladder], status=422)

        assert (over["limit"], over["asked"]) == (2, 3)

    async def test_an_operator_edits_them_for_one_user(self, desk: Desk, operator: Caller) -> None:
        before = (await sent(operator, "GET", "/limits/users/asha", status=200)).json()
        body = {"profiles": 1, "live_feed": 1, "reason": "trial account"}
        after = (await sent(operator, "PUT", "/limits/users/asha", status=200, **body)).json()
        await made(operator, TEA, RND, status=422)
        await made(operator, TEA)
        await made(operator, TEA, name="second", type="alerts", status=422)
        await made(operator, TEA, RND, user_id="ravi")
        now = (await sent(operator, "GET", "/limits/users/asha", status=200)).json()
        (event, *_) = await told(desk, "profile_user:asha")

        assert before["limits"] == {"profiles": 100, "live_feed": 50, "historical": 200, "alerts": 100}
        assert (after["own"], after["limits"]["alerts"]) == ({"profiles": 1, "live_feed": 1}, 100)
        assert now["used"] == {"profiles": 1, "live_feed": 1, "historical": 0, "alerts": 0}
        assert event.type == "profile_user.limits_set"

    async def test_its_own_bound_is_kept_below_the_users(self, operator: Caller) -> None:
        over = await made(operator, TEA, RND, instruments_max=1, status=422)

        assert (over["limit"], over["asked"]) == (1, 2)


class TestRules:
    FILTER: Mapping[str, object] = {"rule": "filter", "underlying": "NSE:NIFTY", "kind": "option", "most": 10}

    async def ruled(self, desk: Desk, profile: str) -> list[tuple]:
        async with desk.database.transaction(read_only=True) as tx:
            cursor = await tx.execute(
                """select rule, mode, priority, count(*) from subscription_wants where owner = %s
                    group by 1, 2, 3 order by 1""",
                (profile,),
            )
            return await cursor.fetchall()

    async def test_bring_what_they_bring_in_the_same_moment_and_follow_the_profile(
        self, desk: Desk, operator: Caller
    ) -> None:
        profile = (await made(operator, TEA, rules=[self.FILTER]))["profile"]
        first = await self.ruled(desk, profile["id"])
        await sent(operator, "PATCH", f"/{profile['id']}", status=200, mode="full", priority=80)
        second = await self.ruled(desk, profile["id"])
        body = {
            "name": "morning",
            "type": "alerts",
            "instruments": [TEA],
            "rules": [self.FILTER, {**self.FILTER, "side": "P"}],
        }
        await sent(operator, "PUT", f"/{profile['id']}", status=200, **body)
        third = await self.ruled(desk, profile["id"])
        await sent(operator, "PATCH", f"/{profile['id']}", status=200, rules=[])
        fourth = await self.ruled(desk, profile["id"])

        assert profile["rules"] == [self.FILTER]
        assert first == [(0, 1, 50, 1), (1, 1, 50, 3)]
        assert second == [(0, 2, 80, 1), (1, 2, 80, 3)]
        assert third == [(0, 1, 50, 1), (1, 1, 50, 3), (2, 1, 50, 1)]
        assert fourth == [(0, 1, 50, 1)]

    async def test_go_with_the_profile(self, desk: Desk, operator: Caller) -> None:
        profile = (await made(operator, rules=[self.FILTER]))["profile"]["id"]
        await sent(operator, "DELETE", f"/{profile}", status=204)
        async with desk.database.transaction(read_only=True) as tx:
            left = await (await tx.execute("select count(*) from subscription_rules")).fetchone()

        assert (await self.ruled(desk, profile), left) == ([], (0,))

    async def test_count_for_tier_0_by_the_most_that_they_can_bring(self, desk: Desk, operator: Caller) -> None:
        await tuned(operator, TIER_0_PER_KEY=10)
        over = await made(operator, TEA, rules=[self.FILTER], priority=75, status=422)
        await made(operator, rules=[self.FILTER], priority=75)

        assert [over[name] for name in ("of", "limit", "present", "asked")] == ["tier_0", 10, 0, 11]

    async def test_a_want_ends_with_its_contract_and_with_the_profile(self, desk: Desk, operator: Caller) -> None:
        ends = {"expires_at": "2026-08-20T04:00:00Z"}
        for name, more in (("until the end", {}), ("for two days", ends), ("the past", {"type": "historical"})):
            await made(operator, CALL, name=name, **more)
        async with desk.database.transaction(read_only=True) as tx:
            cursor = await tx.execute(
                """select p.name, w.expires_at from subscription_wants w join subscription_profiles p on p.id = w.owner
                    order by w.expires_at"""
            )
            found = await cursor.fetchall()

        assert found == [
            ("for two days", datetime(2026, 8, 20, 4, 0, tzinfo=UTC)),
            ("until the end", datetime(2026, 9, 1, 10, 0, tzinfo=UTC)),
            ("the past", None),
        ]


class TestStrictness:
    @pytest.mark.obeys("FILTERING_STRICTNESS")
    @pytest.mark.parametrize(
        ("strictness", "status", "outcome"),
        [("lenient", 201, "unresolved"), ("moderate", 201, "dropped"), ("strict", 422, "refused")],
    )
    async def test_decides_about_what_is_unknown(
        self, desk: Desk, operator: Caller, strictness: str, status: int, outcome: str
    ) -> None:
        await tuned(operator, FILTERING_STRICTNESS=strictness)
        answer = await made(operator, TEA, "NSE:NOBODY", status=status)

        assert [one["outcome"] for one in answer["instruments"]] == ["accepted", outcome]
        if status == 201:
            assert [row[0] for row in await wants(desk, answer["profile"]["id"])] == [TEA]

    async def test_what_has_expired_is_wanted_by_the_past_alone(self, desk: Desk, operator: Caller) -> None:
        desk.now = datetime(2026, 9, 1, 10, 0, 0, tzinfo=UTC)  # 15:30 in India: the call ends now
        live = await made(operator, CALL, TEA)
        past = await made(operator, CALL, TEA, name="history", type="historical")
        just_before = desk.now = desk.now - timedelta(seconds=1)
        again = await made(operator, CALL, name="last second")

        assert [(one["outcome"], one["problem"]) for one in live["instruments"]] == [
            ("dropped", "expired"), ("accepted", None)
        ]  # fmt: skip
        assert past["counts"] == {"accepted": 2}
        assert again["counts"] == {"accepted": 1} and just_before

    async def test_a_profile_of_nothing_that_can_be_had_is_refused(self, operator: Caller) -> None:
        answer = await made(operator, "NSE:NOBODY", status=422)
        await made(operator, status=422)

        assert answer["instruments"][0]["problem"] == "unknown"
        assert len(answer["conflicts"]) == 1


class TestConflicts:
    async def listed(self, operator: Caller, **query: str) -> list[dict]:
        answer = await operator.http.get(f"http://registry{PROFILES}/conflicts/users/asha", params=query)
        return answer.json()["conflicts"]

    async def settled(self, operator: Caller, conflict: str, strategy: str, *, status: int = 200) -> dict:
        answer = await sent(operator, "POST", f"/conflicts/{conflict}/resolve", status=status, strategy=strategy)
        return answer.json()

    async def test_what_is_refused_leaves_a_conflict_behind(self, desk: Desk, operator: Caller) -> None:
        await tuned(operator, FILTERING_STRICTNESS="strict")
        refused = await made(operator, TEA, "NSE:NOBODY", status=422)
        (conflict,) = await self.listed(operator)

        assert [conflict["id"]] == refused["conflicts"]
        assert (conflict["kind"], conflict["verdict"]) == ("invalid_instrument", "refused")
        assert conflict["instruments"] == ["NSE:NOBODY"]
        assert (await sent(operator, "GET", "/users/asha/profiles", status=200)).json()["profiles"] == []
        assert [one.type for one in await told(desk, "profile_user:asha")] == ["profile_conflict.recorded"]

    @pytest.mark.parametrize(
        ("strategy", "morning", "evening"),
        [
            ("latest_wins", [(RND, 1)], [(FUTURE, 2), (TEA, 2)]),
            ("merge", [(RND, 1), (TEA, 2)], [(FUTURE, 2), (TEA, 2)]),
            ("fail_on_conflict", [(RND, 1), (TEA, 1)], [(FUTURE, 2)]),
        ],
    )
    @pytest.mark.parametrize("strictness", ["moderate", "strict"])
    async def test_two_modes_are_settled_as_the_strategy_promises(
        self, desk: Desk, operator: Caller, strategy: str, morning: list, evening: list, strictness: str
    ) -> None:
        await tuned(operator, FILTERING_STRICTNESS=strictness)
        older = (await made(operator, TEA, RND))["profile"]["id"]
        refused = strictness == "strict"
        newer = await made(operator, TEA, FUTURE, name="evening", mode="full", status=422 if refused else 201)
        (conflict,) = await self.listed(operator, open="true")
        answer = await self.settled(operator, conflict["id"], strategy)
        profile = answer["conflict"]["profile"]

        assert conflict["kind"] == "mode_conflict"
        assert [(row[0], row[1]) for row in await wants(desk, older)] == morning
        if refused and strategy == "fail_on_conflict":
            assert (profile, answer["profile"]) == (None, None)
        else:
            assert refused or profile == newer["profile"]["id"]
            assert [(row[0], row[1]) for row in await wants(desk, profile)] == evening
        assert await self.listed(operator, open="true") == []
        await self.settled(operator, conflict["id"], strategy, status=409)

    @pytest.mark.parametrize(
        ("strategy", "held"), [("latest_wins", [FUTURE, RND]), ("merge", [RND, TEA]), ("fail_on_conflict", [TEA])]
    )
    async def test_a_full_profile_is_settled_as_the_strategy_promises(
        self, desk: Desk, operator: Caller, strategy: str, held: list[str]
    ) -> None:
        await tuned(operator, PROFILE_LIMIT_LIVE_FEED=2)
        profile = (await made(operator, TEA))["profile"]["id"]
        await sent(operator, "PATCH", f"/{profile}", status=422, instruments=[TEA, RND, FUTURE])
        (conflict,) = await self.listed(operator)
        await self.settled(operator, conflict["id"], strategy)

        assert (conflict["of"], conflict["counts"]) == ("instruments", {"limit": 2, "present": 1, "asked": 3})
        assert sorted(row[0] for row in await wants(desk, profile)) == sorted(held)

    @pytest.mark.parametrize(
        ("strategy", "names"), [("latest_wins", ["second"]), ("merge", ["morning"]), ("fail_on_conflict", ["morning"])]
    )
    async def test_a_profile_too_many_is_settled_as_the_strategy_promises(
        self, desk: Desk, operator: Caller, strategy: str, names: list[str]
    ) -> None:
        await tuned(operator, PROFILES_PER_USER=1)
        await made(operator, TEA)
        await made(operator, RND, name="second", mode="full", status=422)
        (conflict,) = await self.listed(operator)
        await self.settled(operator, conflict["id"], strategy)
        listed = (await sent(operator, "GET", "/users/asha/profiles", status=200)).json()["profiles"]

        assert [one["name"] for one in listed] == names
        expected = {"latest_wins": [(RND, 2)], "merge": [(RND, 2), (TEA, 1)], "fail_on_conflict": [(TEA, 1)]}
        assert [(row[0], row[1]) for row in await wants(desk, listed[0]["id"])] == expected[strategy]

    async def test_what_stood_against_a_request_for_several_reasons_is_settled_one_by_one(
        self, desk: Desk, operator: Caller
    ) -> None:
        await tuned(operator, FILTERING_STRICTNESS="strict")
        older = (await made(operator, TEA))["profile"]["id"]
        await made(operator, TEA, FUTURE, "NSE:NOBODY", name="second", status=422)
        unknown, duplicate = sorted(await self.listed(operator), key=lambda one: one["kind"], reverse=False)[::-1]
        first = await self.settled(operator, unknown["id"], "latest_wins")
        (left,) = await self.listed(operator, open="true")
        second = await self.settled(operator, left["id"], "latest_wins")
        profile = first["profile"]["id"]

        assert (unknown["kind"], duplicate["kind"]) == ("invalid_instrument", "duplicate_subscription")
        assert [one["key"] for one in first["profile"]["instruments"]] == [FUTURE]
        assert (left["verdict"], left["profile"]) == ("dropped", profile)
        assert second["profile"]["id"] == profile
        assert [row[0] for row in await wants(desk, profile)] == [FUTURE, TEA]
        assert await wants(desk, older) == []

    async def test_a_profile_too_many_keeps_its_duplicates_when_it_is_made_after_all(
        self, desk: Desk, operator: Caller
    ) -> None:
        await tuned(operator, PROFILES_PER_USER=2)
        await made(operator, RND)
        desk.now += timedelta(seconds=1)  # which of them is older is told by their time
        kept = (await made(operator, TEA, name="kept"))["profile"]["id"]
        await made(operator, TEA, FUTURE, name="third", mode="full", status=422)
        (conflict,) = await self.listed(operator)
        answer = await self.settled(operator, conflict["id"], "latest_wins")
        (again,) = await self.listed(operator, open="true")

        assert [row[0] for row in await wants(desk, answer["profile"]["id"])] == [FUTURE, TEA]
        assert (again["kind"], again["other"]) == ("mode_conflict", kept)

    async def test_of_a_profile_that_is_gone_nothing_is_left_to_settle(self, operator: Caller) -> None:
        profile = (await made(operator, TEA, "NSE:NOBODY"))["profile"]["id"]
        await sent(operator, "DELETE", f"/{profile}", status=204)
        (conflict,) = await self.listed(operator, open="true")
        answer = await self.settled(operator, conflict["id"], "merge")

        assert answer["profile"] is None
        assert "gone" in answer["conflict"]["outcome"]

    async def test_rules_alone_above_the_limit_are_cut_to_it(self, operator: Caller) -> None:
        await tuned(operator, PROFILE_LIMIT_LIVE_FEED=1)
        rule = {"rule": "filter", "underlying": "NSE:NIFTY", "kind": "option", "most": 5}
        await made(operator, rules=[rule, {**rule, "side": "P"}], status=422)
        (conflict,) = await self.listed(operator)
        answer = await self.settled(operator, conflict["id"], "merge")

        assert answer["profile"]["rules"] == [rule]

    async def test_what_was_above_tier_0_is_carried_out_below_it(self, desk: Desk, operator: Caller) -> None:
        await tuned(operator, TIER_0_PER_KEY=1)
        await made(operator, TEA, RND, priority=90, status=422)
        (conflict,) = await self.listed(operator)
        answer = await self.settled(operator, conflict["id"], "latest_wins")

        assert (conflict["of"], answer["profile"]["priority"]) == ("tier_0", 74)
        assert [row[2] for row in await wants(desk, answer["profile"]["id"])] == [74, 74]


class TestBoundKeys:
    async def test_touch_their_users_alone(self, desk: Desk, operator: Caller) -> None:
        theirs, others = (await made(operator, TEA))["profile"]["id"], None
        others = (await made(operator, TEA, user_id="ravi"))["profile"]["id"]
        async with desk.caller(Scope.READER) as reader:
            await made(reader, RND, name="mine", status=403)
            key = reader.actor.removeprefix("api_key:")
            bound = await operator.http.put(f"/keys/{key}/users", json={"users": ["asha"], "reason": "hers"})
            await reader.app.state.key_ring._read()
            await made(reader, RND, name="mine")
            await made(reader, RND, name="mine", user_id="ravi", status=403)
            await sent(reader, "GET", f"/{theirs}", status=200)
            refused = [
                await sent(reader, "GET", path, status=403)
                for path in (f"/{others}", f"/{others}/history", "/users/ravi/profiles", "/limits/users/ravi",
                             "/conflicts/users/ravi")
            ]  # fmt: skip
            await sent(reader, "PATCH", f"/{others}", status=403, priority=1)
            await sent(reader, "DELETE", f"/{others}", status=403)
            await sent(reader, "PATCH", f"/{theirs}", status=200, priority=1)

        assert bound.json() == {"key_id": key, "users": ["asha"]}
        assert {one.json()["type"] for one in refused} == {"/problems/NotYourUser"}

    async def test_are_replaced_by_keys_that_are_bound_alike(self, desk: Desk, operator: Caller) -> None:
        async with desk.caller(Scope.ADMIN) as admin:
            made_ = (await admin.http.post("/keys", json={"name": "hers"})).json()["key"]["id"]
            await admin.http.put(f"/keys/{made_}/users", json={"users": ["asha"], "reason": "hers"})
            rotated = (await admin.http.post(f"/keys/{made_}/rotate", json={})).json()
            shown = await admin.told(f"/keys/{rotated['key']['id']}")
            freed = await admin.http.delete(f"/keys/{made_}/users", params={"reason": "for all"})

        assert rotated["key"]["users"] == shown["users"] == ["asha"]
        assert freed.json()["users"] == []

    async def test_bind_no_keys_and_see_nothing_of_everybody(self, desk: Desk, operator: Caller) -> None:
        async with desk.caller(Scope.OPERATOR) as bound:
            key = bound.actor.removeprefix("api_key:")
            async with desk.database.transaction() as tx:
                await binding.bind(tx, key, ["asha"], reason="hers", metadata=ARRANGED, at=desk.now)
            await bound.app.state.key_ring._read()
            freed = await bound.http.delete(f"/keys/{key}/users", params={"reason": "mine"})
            await sent(bound, "GET", "/admin/stats", status=403)
            await sent(bound, "PUT", "/limits/users/asha", status=403, live_feed=9, reason="more")
            await sent(bound, "POST", "/admin/cleanup-audit-logs", status=403, dry_run=True)

        assert freed.status_code == 403
