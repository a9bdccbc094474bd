"""What was promised of the planner, against one running instance: levels, strictness, cache, timeout, describe, limits,
metrics."""

import signal
import time
from collections.abc import Iterator

import pytest

from journeys.test_profiles import PREFIX, SHARE, asked, instance, made, told
from journeys.test_serve import Serving, eventually

__all__ = ["instance"]

AT = "/subscriptions"
OTHER = "NSE:TCS"
FIGURES = {"connections": 1, "connection_total": 3}


@pytest.fixture(scope="module")
def feed(instance: Serving) -> Iterator[Serving]:
    """The instance with an account that carries three instruments."""
    figures = {name: {"value": value, "source": "tests"} for name, value in FIGURES.items()}
    api(instance, "PUT", f"{AT}/capacity/K", {"broker": "kite", "figures": figures, "reason": "tests"})
    yield instance


def api(one: Serving, method: str, path: str, body: object = None, *, status: int = 200) -> dict:
    return asked(one, method, path, body, status=status, prefix=PREFIX)


def put(one: Serving, **parameters: object) -> None:
    api(one, "POST", "/actuator/config", parameters)


def solvers(one: Serving) -> list[int]:
    return [process.pid for process in one.family() if any("solver.child" in word for word in process.cmdline())]


class TestThePlanner:
    def test_levels(self, feed: Serving) -> None:
        made(feed, "levels", SHARE)
        plans = {level: told(feed, "plan", "make", "--level", level) for level in ("low", "moderate", "aggressive")}

        assert {level: one["plan"]["level"] for level, one in plans.items()} == {level: level for level in plans}
        assert {one["plan"]["status"] for one in plans.values()} == {"validated"}
        assert {one["plan_data"]["served"] for one in plans.values()} == {1}

    def test_strictness(self, feed: Serving) -> None:
        outcomes = {}
        for strictness in ("lenient", "moderate", "strict"):
            put(feed, FILTERING_STRICTNESS=strictness)
            status = 422 if strictness == "strict" else 201
            outcomes[strictness] = made(feed, "strict", OTHER, "NSE:NOSUCHTHING", status=status, name=strictness)
        put(feed, FILTERING_STRICTNESS="moderate")

        assert [one["outcome"] for one in outcomes["moderate"]["instruments"]] == ["accepted", "dropped"]
        assert outcomes["lenient"]["instruments"][0]["outcome"] == "accepted"
        assert "NSE:NOSUCHTHING" in str(outcomes["strict"])

    def test_cache(self, feed: Serving) -> None:
        plans = [api(feed, "POST", f"{AT}/plan", {})]

        def the_same_again() -> bool:  # what was demanded before may be applied meanwhile, which asks for another plan
            plans.append(api(feed, "POST", f"{AT}/plan", {}))
            return plans[-1]["plan_id"] == plans[-2]["plan_id"]

        eventually(the_same_again)
        fresh = api(feed, "POST", f"{AT}/plan", {"fresh": True})

        assert plans[-1]["status"] == "cached"
        assert (fresh["status"], fresh["plan_id"] != plans[-1]["plan_id"]) == ("created", True)

    def test_timeout(self, feed: Serving) -> None:
        api(feed, "POST", f"{AT}/plan", {"fresh": True})
        frozen = [process for process in feed.family() if process.pid in solvers(feed)]
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        put(feed, PLANNER_TIMEOUT=1)
        began = time.monotonic()
        answer = api(feed, "POST", f"{AT}/plan", {"fresh": True})
        took = time.monotonic() - began
        put(feed, PLANNER_TIMEOUT=30)

        assert frozen
        assert answer["plan_data"]["quality"] == "heuristic"
        assert took < 20  # and not the thirty seconds that are usual

    def test_describe(self, feed: Serving) -> None:
        plan = api(feed, "POST", f"{AT}/plan", {})["plan_id"]
        lengths = {
            detail: api(feed, "POST", f"{AT}/plan/{plan}/describe", {"detail": detail})["description"]
            for detail in ("basic", "detailed", "comprehensive")
        }

        assert set(lengths["basic"]) < set(lengths["detailed"]) < set(lengths["comprehensive"])
        assert lengths["detailed"]["connections"][0]["account"] == "K"

    def test_limits(self, feed: Serving) -> None:
        put(feed, MAX_INSTRUMENTS_PER_PLAN=200)
        over = made(feed, "limits-of-plans", *(f"NSE:X{number}" for number in range(201)), status=422)
        put(feed, MAX_INSTRUMENTS_PER_PLAN=1000)
        made(feed, "many", SHARE, OTHER, "NSE:INFY", "NSE:HDFCBANK", type="alerts")
        supposed = told(feed, "what-if", "--limit", "K=100")
        unread = feed.run("what-if", "--limit", "K")
        plan = api(feed, "POST", f"{AT}/plan", {})

        assert (over["limit"], over["asked"]) == (200, 201)
        assert plan["plan_data"]["served"] == 3
        assert plan["plan_data"]["drops"][0]["reason"].startswith("capacity.")
        assert supposed["summary"]["served"] == supposed["summary"]["demanded"] == 4
        assert unread.returncode != 0
        assert unread.stderr == "The request is not valid: --limit 'K' is not ACCOUNT=NUMBER, as KITE1=5000\n"

    def test_metrics(self, feed: Serving) -> None:
        def counted(name: str) -> bool:
            return any(
                line.startswith(name) and line.split()[-1] != "0.0" for line in feed.get("/metrics")[1].split("\n")
            )

        for name in (
            "subscription_plans_created_total", "subscription_plan_optimization_duration_seconds_count",
            'subscription_plan_cache_operations_total{operation="hit"}', "subscription_plans_active",
        ):  # fmt: skip
            eventually(lambda name=name: counted(name), within_seconds=30, otherwise=feed.words)
