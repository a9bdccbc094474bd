"""Deltas: they lead from what is live to what is planned, and no bound is broken on the way."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument_registry.subscriptions.frames import Act
from instrument_registry.subscriptions.planner import Account, Connection, Mode, Use
from instrument_registry.subscriptions.plans.carrying import Carried, Socket, digest_of
from instrument_registry.subscriptions.plans.deltas import Bound, Step, delta

MOST = 4
USE = Use("any", MOST, (MOST, 3, 2))
A0, A1, B0 = Socket("A", "A-0"), Socket("A", "A-1"), Socket("B", "B-0")
SOCKETS = (A0, A1, B0)


def accounts(total: int | None = None) -> dict[str, Account]:
    return {
        name: Account(
            id=name, broker="kite", total=total,
            connections=tuple(Connection(id=f"{name}-{n}", uses=(USE,)) for n in range(count)),
        )
        for name, count in (("A", 2), ("B", 1))
    }  # fmt: skip


def bounds(*, lost: tuple[Socket, ...] = (), total: int | None = None) -> dict[Socket, Bound]:
    known = accounts(total)
    return {one: Bound(account=known[one.account], use=USE, alive=one not in lost) for one in SOCKETS}


def load(*modes: tuple[int, Mode]) -> dict[int, Carried]:
    return {number: Carried(mode, f"NSE|{number}") for number, mode in modes}


def ltp(*numbers: int) -> dict[int, Carried]:
    return load(*((number, Mode.LTP) for number in numbers))


@st.composite
def planned(draw: st.DrawFn) -> dict[Socket, dict[int, Carried]]:
    """What connections may carry: each instrument once an account, within every bound, tokens now and then others."""
    found: dict[Socket, dict[int, Carried]] = {one: {} for one in SOCKETS}
    for number in range(draw(st.integers(0, 12))):
        for account in draw(st.sampled_from((("A",), ("B",), ("A", "B"), ()))):
            sockets = [one for one in SOCKETS if one.account == account]
            one, mode = draw(st.sampled_from(sockets)), draw(st.sampled_from(list(Mode)))
            there = Counter(carried.mode for carried in found[one].values())
            if len(found[one]) < MOST and there[mode] < USE.modes[mode]:
                token = draw(st.sampled_from((number, number, number + 100)))
                found[one][number] = Carried(mode, f"NSE|{token}")
    return found


def replayed(
    before: dict[Socket, dict[int, Carried]], steps: dict[str, list[Step]], *, account_first: str
) -> list[dict[Socket, dict[int, Carried]]]:
    """Every state on the way: one account as far as it can, then the other, as what waits for others allows."""
    state = {one: dict(before.get(one, {})) for one in SOCKETS}
    states, done = [], Counter()
    names = sorted(steps, key=lambda one: (one != account_first, one))
    while any(done[name] < len(steps[name]) for name in names):
        for name in names:
            if done[name] == len(steps[name]):
                continue
            step = steps[name][done[name]]
            if step.after is not None and done[step.after[0]] <= step.after[1]:
                continue
            there = state[step.socket]
            assert digest_of(there) == step.digest_before
            for item in step.items:
                if step.act is Act.REMOVE:
                    del there[item.instrument]
                else:
                    there[item.instrument] = Carried(item.mode, item.name)
            assert digest_of(there) == step.digest_after
            done[name] += 1
            states.append({one: dict(some) for one, some in state.items()})
            break
        else:
            pytest.fail("the accounts wait for each other")
    return states


def within(state: dict[Socket, dict[int, Carried]], total: int | None = None) -> bool:
    for socket, carried in state.items():
        modes = Counter(one.mode for one in carried.values())
        if len(carried) > MOST or any(modes[mode] > USE.modes[mode] for mode in Mode):
            return False
        if total is not None:
            mine = sum(len(some) for one, some in state.items() if one.account == socket.account)
            if mine > total:
                return False
    return True


class TestADelta:
    @given(planned(), planned(), st.sampled_from("AB"))
    @settings(max_examples=300, deadline=None)
    def test_leads_to_the_plan_within_every_bound_whichever_account_is_quicker(self, before, after, first) -> None:
        states = replayed(before, delta(before, after, bounds()), account_first=first)

        assert all(within(state) for state in states)
        assert (states[-1] if states else before) == after

    @given(planned(), planned())
    @settings(max_examples=100, deadline=None)
    def test_keeps_the_bounds_of_accounts_too(self, before, after) -> None:
        total = max(
            sum(len(some) for one, some in plan.items() if one.account == name)
            for plan in (before, after)
            for name in "AB"
        )
        states = replayed(before, delta(before, after, bounds(total=max(1, total))), account_first="A")

        assert all(within(state, max(1, total)) for state in states)
        assert (states[-1] if states else before) == after

    def test_of_the_same_is_nothing(self) -> None:
        assert delta({A0: ltp(1)}, {A0: ltp(1), A1: {}, B0: {}}, bounds()) == {}

    def test_moves_within_an_account_make_before_they_break(self) -> None:
        steps = delta({A0: ltp(1)}, {A0: {}, A1: ltp(1)}, bounds())

        assert [(step.act, step.socket, step.breaks) for step in steps["A"]] == [
            (Act.ADD, A1, False), (Act.REMOVE, A0, False)
        ]  # fmt: skip

    def test_moves_to_another_account_wait_until_they_are_there(self) -> None:
        steps = delta({A0: ltp(1)}, {A0: {}, B0: ltp(1)}, bounds())

        (gone,), (come,) = steps["A"], steps["B"]
        assert (come.act, come.after) == (Act.ADD, None)
        assert (gone.act, gone.after) == (Act.REMOVE, ("B", 0))

    def test_moves_that_do_not_fit_both_break_and_say_so(self) -> None:
        steps = delta({A0: ltp(1, 2, 3, 4), A1: ltp(5, 6, 7, 8)}, {A0: ltp(5, 2, 3, 4), A1: ltp(1, 6, 7, 8)}, bounds())

        assert steps["A"][0].act is Act.REMOVE
        assert any(step.breaks for step in steps["A"])

    def test_of_a_lost_connection_lets_go_at_once(self) -> None:
        steps = delta({A0: ltp(1)}, {A1: ltp(1)}, bounds(lost=(A0,)))

        assert [(step.act, step.socket) for step in steps["A"]] == [(Act.REMOVE, A0), (Act.ADD, A1)]

    def test_removes_a_token_before_it_means_something_else(self) -> None:
        steps = delta({A0: {1: Carried(Mode.LTP, "NFO|123")}}, {A0: {2: Carried(Mode.LTP, "NFO|123")}}, bounds())

        assert [step.act for step in steps["A"]] == [Act.REMOVE, Act.ADD]

    def test_gives_an_instrument_its_other_token(self) -> None:
        steps = delta({A0: {1: Carried(Mode.LTP, "NFO|123")}}, {A0: {1: Carried(Mode.LTP, "NFO|124")}}, bounds())

        assert [(step.act, step.items[0].name) for step in steps["A"]] == [
            (Act.REMOVE, "NFO|123"), (Act.ADD, "NFO|124")
        ]  # fmt: skip
