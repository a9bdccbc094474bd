"""An outsider with the two documents alone: limits, bounds, drops and moves, by counting, without the planner."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import account, varied_problem
from instrument_registry.subscriptions.planner import (
    Level,
    Mode,
    NotAnInstance,
    certificate,
    instance,
    plan,
    problem,
    problem_of,
)

SEEDS = st.integers(0, 2**32)
NOWHERE = -1


class Outsider:
    """Reads an instance and a certificate, and believes nothing."""

    def __init__(self, asked: dict[str, Any], told: dict[str, Any]) -> None:
        self.told, self.count, self.accounts = told, asked["count"], asked["accounts"]
        self.column = {
            name: given if isinstance(given, list) else [given] * self.count
            for name, given in {**asked["instruments"], "counted_load": asked["counted_load"]}.items()
        }
        self.groups, self.ratio = asked["groups"], asked["tier_ratio"]
        self.connections = [(number, one) for number, owner in enumerate(self.accounts) for one in owner["connections"]]
        self.use = [one["uses"][use] for (_, one), use in zip(self.connections, told["uses"], strict=True)]

    def limit(self, price: dict[str, Any]) -> float:
        """What a price is for."""
        if price["what"] in {"account", "account_mode"}:
            owner = self.accounts[price["account"]]
            return (
                max(0, owner["total"] - owner["reserve"])
                if price["what"] == "account"
                else owner["modes"][price["mode"]]
            )
        use, (_, connection) = self.use[price["connection"]], self.connections[price["connection"]]
        if price["what"] == "mode":
            return use["modes"][price["mode"]]
        return use["total"] if price["what"] == "total" else connection["load_max"]

    def breaks_no_limit(self) -> bool:
        total, load = Counter[tuple[Any, ...]](), Counter[int]()
        for places in (self.told["at"], self.told["second"]):
            for one, place in enumerate(places):
                if place == NOWHERE:
                    continue
                owner, mode = self.connections[place][0], self.column["mode"][one]
                assert self.connections[place][1]["alive"]
                assert self.groups[self.column["group"][one]][owner]
                for key in (("total", place), ("mode", place, mode), ("account", owner), ("account_mode", owner, mode)):
                    total[key] += 1
                load[place] += self.column["counted_load"][one]
        for (what, *where), number in total.items():
            named = {"what": what, "connection": where[0], "account": where[0], "mode": where[-1]}
            bounded = (
                what in {"total", "mode"}
                or (
                    self.accounts[where[0]]["total"]
                    if what == "account"
                    else self.accounts[where[0]]["modes"][where[-1]]
                )
                is not None
            )
            assert not bounded or number <= self.limit(named), named
        for place, messages in load.items():
            most = self.connections[place][1]["load_max"]
            assert most is None or messages <= most + 1e-6
        return True

    def may(self, kind: dict[str, Any]) -> list[int]:
        """Where instruments of a class may be."""
        return [
            at
            for at, (owner, one) in enumerate(self.connections)
            if one["alive"]
            and self.use[at]["modes"][kind["mode"]] > 0
            and (at == kind["fixed"] if kind["fixed"] != NOWHERE else self.groups[kind["group"]][owner])
            and (not one["draining"] or at in {kind["fixed"], kind["host"]})
        ]

    def proves(self, proof: dict[str, Any]) -> float:
        """What a proof bounds, worked out anew; every price is looked at."""
        assert all(one["price"] > 0 for one in proof["prices"])
        priced = {
            (one["what"], one.get("connection", one.get("account")), one["mode"]): one["price"]
            for one in proof["prices"]
        }
        most = sum(self.limit(one) * one["price"] for one in proof["prices"])
        for number, kind in enumerate(self.told["classes"]):
            own = proof["class_prices"].get(str(number), 0.0)
            weight = self.ratio ** (3 - kind["tier"]) if proof["weighted"] else 1.0
            weight = weight if kind["tier"] < proof["tiers"] else 0.0
            most += own * (kind["size"] if weight else 0)
            for at in self.may(kind):
                owner, mode = self.connections[at][0], kind["mode"]
                paid = (
                    own
                    + sum(
                        priced.get(key, 0.0)
                        for key in (
                            ("total", at, NOWHERE),
                            ("mode", at, mode),
                            ("account", owner, NOWHERE),
                            ("account_mode", owner, mode),
                        )
                    )
                    + priced.get(("load", at, NOWHERE), 0.0) * kind["load"]
                )
                assert paid >= weight - 1e-6 * max(1.0, weight), (kind, at, paid)
        return most

    def crosses(self) -> bool:
        """Whether some may be at one connection alone of an account that bounds modes."""
        own = {place for one in self.told["classes"] for place in (one["fixed"], one["host"]) if place != NOWHERE}
        return any(bound is not None for at in own for bound in self.accounts[self.connections[at][0]]["modes"])

    def kinds(self) -> Counter[tuple[Any, ...]]:
        """How many instruments there are of each class, by what is told of them."""
        found = Counter[tuple[Any, ...]]()
        for one in range(self.count):
            column = {name: values[one] for name, values in self.column.items()}
            found[column["mode"], column["tier"], column["group"], column["counted_load"]] += 1
        return found

    def served(self, tiers: int, *, weighted: bool) -> float:
        return sum(
            self.ratio ** (3 - tier) if weighted else 1
            for tier, place in zip(self.column["tier"], self.told["at"], strict=True)
            if place != NOWHERE and tier < tiers
        )


def read(seed: int, *, loads: bool, level: Level = Level.MODERATE) -> Outsider:
    random = np.random.default_rng(seed)
    asked = varied_problem(
        random, count=int(random.integers(1, 80)), connections=int(random.integers(1, 8)), full=1.2, loads=loads
    )
    found = plan(asked, level=level)
    written = json.dumps(instance(asked, level=level)), json.dumps(certificate(asked, found))
    return Outsider(json.loads(written[0]), json.loads(written[1]))


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans())
def test_a_plan_breaks_no_limit_and_its_classes_hold_everybody(seed: int, loads: bool) -> None:
    outsider = read(seed, loads=loads)
    told = Counter[tuple[Any, ...]]()
    for one in outsider.told["classes"]:
        told[one["mode"], one["tier"], one["group"], one["load"]] += one["size"]

    assert outsider.breaks_no_limit()
    assert told == outsider.kinds()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([Level.MODERATE, Level.LOW]))
def test_of_every_beginning_of_the_tiers_nobody_could_serve_more(seed: int, level: Level) -> None:
    outsider = read(seed, loads=False, level=level)

    for proof in outsider.told["proofs"]:
        most = outsider.proves(proof)
        served = outsider.served(proof["tiers"], weighted=False)
        assert most == pytest.approx(proof["bound"], abs=1e-6)
        assert served <= most + 1e-6
        # Where a higher tier is bound to one connection and its account bounds modes, it may cost the next tier two.
        if not outsider.crosses():
            assert served == pytest.approx(most, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_where_messages_are_bounded_the_weight_is_not_above_what_is_proved(seed: int) -> None:
    outsider = read(seed, loads=True)

    for proof in outsider.told["proofs"]:
        served = outsider.served(proof["tiers"], weighted=proof["weighted"])
        assert served <= outsider.proves(proof) * (1 + 1e-9) + 1e-6


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans())
def test_drops_and_moves_are_what_the_assignment_says(seed: int, loads: bool) -> None:
    outsider = read(seed, loads=loads)
    at, live, ids = outsider.told["at"], outsider.column["live"], outsider.column["ids"]
    away = [
        one
        for one in range(outsider.count)
        if live[one] != NOWHERE and at[one] != live[one] and (at[one] != NOWHERE or not outsider_lives(outsider, one))
    ]

    assert sorted(i for drop in outsider.told["drops"] for i in drop["ids"]) == [
        i for i, place in zip(ids, at, strict=True) if place == NOWHERE
    ]
    assert sorted(i for move in outsider.told["moves"] for i in move["ids"]) == [ids[one] for one in away]
    assert {i for move in outsider.told["moves"] if move["reason"] == "connection_lost" for i in move["ids"]} == {
        ids[one] for one in away if not outsider.connections[live[one]][1]["alive"]
    }


def outsider_lives(outsider: Outsider, one: int) -> bool:
    owner, connection = outsider.connections[outsider.column["live"][one]]
    return connection["alive"] and bool(outsider.groups[outsider.column["group"][one]][owner])


class TestAFalseProof:
    """A checker that accepts anything proves nothing."""

    @pytest.fixture
    def outsider(self) -> Outsider:
        asked = problem([account("Kite", 3), account("Dhan", 2)], ids=range(9), mode=Mode.LTP, tier=[0, 1, 2] * 3)
        return Outsider(instance(asked), json.loads(json.dumps(certificate(asked, plan(asked)))))

    def test_with_a_price_too_low_is_refused(self, outsider: Outsider) -> None:
        proof = outsider.told["proofs"][-1]
        assert outsider.proves(proof) == 5
        proof["prices"][0]["price"] /= 2

        with pytest.raises(AssertionError):
            outsider.proves(proof)

    def test_one_too_many_in_a_place_is_seen(self, outsider: Outsider) -> None:
        outsider.told["at"] = [0] * 9

        with pytest.raises(AssertionError):
            outsider.breaks_no_limit()


class TestAnInstance:
    @settings(max_examples=20, deadline=None)
    @given(SEEDS, st.booleans())
    def test_reads_back_as_the_problem_it_was_and_has_the_same_plan(self, seed: int, loads: bool) -> None:
        asked = varied_problem(np.random.default_rng(seed), count=40, connections=5, full=1.2, loads=loads, copies=True)
        read_back = problem_of(json.loads(json.dumps(instance(asked))))

        assert instance(read_back) == instance(asked)
        assert plan(read_back).at.tolist() == plan(asked).at.tolist()

    @pytest.mark.parametrize("given", [{}, {"version": 2}, {"version": 1, "count": 1}, {"version": 1, "accounts": 3}])
    def test_that_is_none_is_refused(self, given: dict[str, Any]) -> None:
        with pytest.raises(NotAnInstance):
            problem_of(given)
