"""Policies over HTTP: seen by readers, changed by admins, never beyond their bounds."""

from pathlib import Path

import pytest

from desk import opened
from instrument_registry.access.model import Scope
from instrument_registry.database import Database


class TestRetentionPolicies:
    async def test_are_changed_with_a_reason(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller(Scope.ADMIN) as caller:
            answer = await caller.http.put(
                "/retention/policies/audit", json={"keep_days": 730, "reason": "the auditor"}
            )
            known = await caller.told("/retention/policies")

        assert answer.status_code == 200, answer.text
        days = {one["kind"]: one["keep_days"] for one in known["policies"]}
        assert days == {"audit": 730, "default": 2555, "deliveries": 90, "events": 1095, "ingestion_details": 30}
        assert next(one for one in known["policies"] if one["kind"] == "audit")["changed_by"] == caller.actor

    @pytest.mark.parametrize(
        ("kind", "body", "status"),
        [
            ("events", {"keep_days": 7, "reason": "r"}, 422),
            ("events", {"keep_days": 0, "reason": "r"}, 422),
            ("events", {"keep_days": 400}, 422),
            ("letters", {"keep_days": 400, "reason": "r"}, 422),
        ],
    )
    async def test_beyond_their_bounds_are_refused(
        self, database: Database, tmp_path: Path, kind: str, body: dict[str, object], status: int
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller(Scope.ADMIN) as caller:
            answer = await caller.http.put(f"/retention/policies/{kind}", json=body)

        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    async def test_are_not_an_operators_to_change(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller(Scope.OPERATOR) as caller:
            answer = await caller.http.put("/retention/policies/events", json={"keep_days": 400, "reason": "r"})

        assert answer.status_code == 403

    async def test_are_planned_without_changing_anything(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            plan = await caller.told("/retention/plan")
            archives = await caller.told("/archives")
            await caller.told("/archives/events_2020_01", status=404)

        assert {one["kind"] for one in plan["steps"]} >= {"deliveries", "ingestion_details", "default"}
        assert {one["rows"] for one in plan["steps"]} == {0}
        assert archives == {"archives": []}
