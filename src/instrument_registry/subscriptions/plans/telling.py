"""What a plan says of one instrument, of one user, beside another plan, and at any length."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from instrument_registry.subscriptions.planner.model import NOWHERE, Mode
from instrument_registry.subscriptions.plans.applying import bounds_of
from instrument_registry.subscriptions.plans.carrying import apart, loads_of
from instrument_registry.subscriptions.plans.content import Content
from instrument_registry.subscriptions.plans.deltas import delta
from instrument_registry.subscriptions.plans.model import PlanRow

NOT_SERVED_MAX = 1_000
MODES = tuple(mode.name.lower() for mode in Mode)


def assignments(content: Content, places: Iterable[int]) -> list[dict[str, Any]]:
    """Where some instruments go, by their places in a plan: one entry a copy."""
    connections = [(account, one) for account in content.problem.accounts for one in account.connections]
    told = []
    for place in places:
        for copy, (at, names) in enumerate(((content.at, content.names), (content.second, content.second_names)), 1):
            number = int(at[place])
            if number == NOWHERE:
                continue
            account, connection = connections[number]
            segment, token = apart(names[place])
            told.append(
                {
                    "instrument_id": content.ulids[place], "key": content.keys[place],
                    "mode": MODES[int(content.problem.mode[place])], "copy": copy, "account": account.id,
                    "broker": account.broker, "connection": connection.id, "segment": segment, "token": token,
                    "lingers": bool(content.lingers[place]),
                }
            )  # fmt: skip
    return told


def places_of(content: Content, *, account: str | None = None, connection: str | None = None) -> list[int]:
    """The places of what is carried, all of it or on one account or connection."""
    chosen = [
        number
        for number, (holder, one) in enumerate(
            (account_, one) for account_ in content.problem.accounts for one in account_.connections
        )
        if account in (None, holder.id) and connection in (None, one.id)
    ]
    there = np.isin(content.at, chosen) | np.isin(content.second, chosen)
    return [int(place) for place in np.flatnonzero(there)]


def dropped(content: Content, places: Iterable[int]) -> list[dict[str, Any]]:
    """Who is not served, by places in a plan, and why."""
    told = []
    for place in places:
        why = content.why.get(place)
        told.append(
            {
                "instrument_id": content.ulids[place], "key": content.keys[place],
                "mode": MODES[int(content.problem.mode[place])], "tier": int(content.problem.tier[place]),
                "reason": why.reason if why else None, "detail": why.detail if why else None,
                "would_fit_if": why.would_fit_if if why else None,
            }
        )  # fmt: skip
    return told


def state_of(content: Content | None, number: int, *, wanted: bool) -> tuple[str, dict[str, Any] | None]:
    """What a plan does for an instrument, and why where that is nothing."""
    if content is not None:
        place = content.places.get(number)
        if place is not None and content.at[place] != NOWHERE:
            return ("lingering" if content.lingers[place] else "served"), None
        if place is not None:
            (why,) = dropped(content, [place])
            return "dropped", {name: why[name] for name in ("reason", "detail", "would_fit_if")}
        for reason, ids in content.excluded.items():
            if number in ids:
                return "excluded", {"reason": reason.value}
    return ("not planned yet" if wanted else "not wanted"), None


def view_of(content: Content, numbers: Iterable[int]) -> dict[str, Any]:
    """What a plan does for some instruments, by number: served, dropped and why, not put to the planner and why."""
    wanted = list(numbers)
    excluded = {one: reason for reason, ids in content.excluded.items() for one in ids}
    known = [content.places[one] for one in wanted if one in content.places]
    left = [place for place in known if content.at[place] == NOWHERE]
    return {
        "served": assignments(content, known),
        "dropped": dropped(content, left),
        "excluded": [{"number": one, "reason": excluded[one].value} for one in wanted if one in excluded],
    }  # fmt: skip


def difference(before: Content, after: Content) -> dict[str, Any]:
    """What would be done to get from one plan to another, in counts by account and in instruments."""
    steps = delta(loads_of(before), loads_of(after), bounds_of(after))
    known = before.called | after.called
    told: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    for account, mine in steps.items():
        for step in mine:
            part = counts.setdefault(account, {})
            part[step.act.value] = part.get(step.act.value, 0) + len(step.items)
            for item in step.items:
                ulid, key = known.get(item.instrument, ("", ""))
                told.append(
                    {
                        "account": account, "connection": step.socket.connection, "act": step.act.value,
                        "instrument_id": ulid, "key": key, "mode": MODES[item.mode],
                        "breaks": step.breaks,
                    }
                )  # fmt: skip
    return {"accounts": counts, "steps": told}


def described(plan: PlanRow, content: Content, detail: str) -> dict[str, Any]:
    """A plan at one of three lengths; every number was counted or measured."""
    summary: Mapping[str, Any] = plan.summary
    basic = {
        name: summary.get(name) for name in ("demanded", "served", "dropped", "excluded", "quality", "moved", "forced")
    }
    if detail == "basic":
        return basic
    more = basic | {
        name: summary.get(name)
        for name in (
            "tiers", "connections", "drops", "degraded", "moves", "gap", "ended", "second_copies_wanted",
            "second_copies", "lingering", "read_ms", "solve_ms", "check_ms",
        )
    }  # fmt: skip
    if detail == "detailed":
        return more
    frames: dict[str, int] = {}
    for name, use in (("first", content.at), ("second", content.second)):
        frames[name] = int((use != NOWHERE).sum())
    return more | {
        "copies_carried": frames,
        "faults": plan.faults,
        "held_because": plan.held_because,
        "not_served": dropped(content, np.flatnonzero(content.at == NOWHERE).tolist()[:NOT_SERVED_MAX]),
    }
