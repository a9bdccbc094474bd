"""The doctor: what each check makes of what it sees, and that whatever is wrong can be mended."""

import os
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from frame import NOON
from instrument_registry.access.model import ApiKey, Scope
from instrument_registry.cli import doctor
from instrument_registry.cli.doctor import Finding, Verdict
from instrument_registry.http import health
from instrument_registry.settings import Settings

TODAY = date(2026, 8, 18)


def verdict(finding: Finding) -> str:
    assert (finding.mend is None) == (finding.verdict is Verdict.OK), finding
    return finding.verdict.value


class TestMachine:
    @pytest.mark.parametrize(("version", "expected"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((4, 0, 0), "ok")])
    def test_an_old_python_is_named(self, version: tuple[int, ...], expected: str) -> None:
        assert verdict(doctor.python(version)) == expected

    @pytest.mark.parametrize(("mode", "expected"), [(0o700, "ok"), (0o711, "ok"), (0o755, "warn"), (0o777, "fail")])
    def test_a_folder_others_may_write_is_broken(self, tmp_path: Path, mode: int, expected: str) -> None:
        tmp_path.chmod(mode)
        found = doctor.data_folder(tmp_path)
        tmp_path.chmod(0o700)

        assert verdict(found) == expected

    def test_a_folder_that_is_not_there_yet_is_no_failure(self, tmp_path: Path) -> None:
        assert verdict(doctor.data_folder(tmp_path / "none")) == "warn"
        assert verdict(doctor.disk(tmp_path / "none" / "deeper")) in ("ok", "warn")

    def test_a_key_others_may_read_is_broken_and_the_mending_names_it(self, tmp_path: Path) -> None:
        none = doctor.private_files(tmp_path)
        key = tmp_path / "operator.key"
        key.write_text("irk_x", encoding="ascii")
        key.chmod(0o640)
        readable = doctor.private_files(tmp_path)
        key.chmod(0o600)
        private = doctor.private_files(tmp_path)

        assert [verdict(one) for one in (none, readable, private)] == ["ok", "fail", "ok"]
        assert f"chmod 600 {key}" in (readable.mend or "")

    def test_a_run_file_that_was_left_behind_is_told_from_none(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path)
        none = doctor.run_file(settings)
        (tmp_path / "run.json").write_text("{}", encoding="ascii")
        left = doctor.run_file(settings)

        assert [verdict(one) for one in (none, left)] == ["fail", "fail"]
        assert "killed" in left.found
        assert "killed" not in none.found


class TestInstance:
    @pytest.mark.parametrize(("seconds", "expected"), [(0.0, "ok"), (9.0, "ok"), (11.0, "fail")])
    def test_facts_that_wait_long_mean_that_no_worker_runs(self, seconds: float, expected: str) -> None:
        assert verdict(doctor.facts_waiting(3, seconds)) == expected

    def test_could_not_tell_is_as_bad_as_failed_and_a_missed_morning_is_a_warning(self) -> None:
        names = ["database", "index", "mornings", "disk"]
        verdicts = ["passed", "could_not_tell", "failed", "failed"]
        body = {"checks": [{"check": c, "verdict": v, "reason": "r"} for c, v in zip(names, verdicts, strict=True)]}

        found = list(doctor.checks(msgspec.convert(body, doctor._Health)))
        assert [verdict(one) for one in found] == ["ok", "fail", "warn", "fail"]

    def test_every_check_of_the_instance_can_be_mended(self) -> None:
        assert set(doctor.REMEDIES) == set(health.CHECKS)
        assert set(health.NOTED) == doctor.ONLY_NOTED

    def test_stale_brokers_an_empty_catalogue_and_waiting_dumps_are_warnings(self) -> None:
        run = {"segment": "NSE", "market_date": "2026-08-01", "age_days": 17}
        runs = [run | {"broker": "upstox", "fresh": False}, run | {"broker": "zerodha", "fresh": True}]
        bad, good = (
            msgspec.convert(
                {"instruments": many, "runs": told, "dumps_waiting": waiting, "as_of": "2026-08-18"}, doctor._Summary
            )
            for many, told, waiting in ((0, runs, 2), (7, runs[1:], 0))
        )

        wrong = {one.check: one for one in doctor.catalogue(bad)}
        assert {check: verdict(one) for check, one in wrong.items()} == {
            "key": "ok", "catalogue": "warn", "brokers": "warn", "quarantine": "warn",
        }  # fmt: skip
        assert "ingest upstox" in (wrong["brokers"].mend or "")
        assert {verdict(one) for one in doctor.catalogue(good)} == {"ok"}


class TestCalendars:
    @pytest.mark.parametrize(("days", "expected"), [(-1, "fail"), (0, "warn"), (44, "warn"), (45, "ok")])
    def test_one_that_ends_soon_is_told_in_time(self, days: int, expected: str) -> None:
        known = {"NSE": TODAY + timedelta(days=days), "MCX": TODAY + timedelta(days=900)}
        found = doctor.calendars_until(known, today=TODAY)

        assert verdict(found) == expected
        assert days >= 45 or "NSE" in found.found
        assert "MCX" not in found.found


def test_without_anything_it_says_how_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("INSTRUMENT_REGISTRY_")]:
        monkeypatch.delenv(name)
    found = list(doctor.examine(Settings(data_dir=tmp_path / "none"), url=None, key=None))

    failed = {one.check for one in found if one.verdict is Verdict.FAIL}
    assert {"run file", "database"} <= failed
    assert all("make run" in (one.mend or "") for one in found if one.check in ("run file", "database"))


class TestKeys:
    def key(self, letter: str, *, days: int | None, replaced_by: str | None = None) -> ApiKey:
        return ApiKey(
            id=letter * 16, name=letter, scope=Scope.OPERATOR, created_at=NOON, created_by="me",
            replaced_by=replaced_by, expires_at=None if days is None else NOON + timedelta(days=days),
        )  # fmt: skip

    def test_one_that_ends_soon_is_named_unless_another_takes_its_place(self) -> None:
        kept = [self.key("a", days=None), self.key("b", days=15), self.key("c", days=3, replaced_by="d" * 16)]
        fine = doctor.keys(kept, held="a" * 16, at=NOON)
        ending = doctor.keys([*kept, self.key("e", days=14)], held=None, at=NOON)

        assert [verdict(one) for one in (fine, ending)] == ["ok", "warn"]
        assert ("e" * 16 in ending.found, "c" * 16 in ending.found) == (True, False)
        assert (ending.mend or "").endswith("keys rotate " + "e" * 16)

    def test_an_operator_key_that_opens_nothing_is_broken(self) -> None:
        ended, revoked = self.key("a", days=0), self.key("b", days=None).revoke(at=NOON, by="me")

        assert [verdict(doctor.keys([one], held=one.id, at=NOON)) for one in (ended, revoked)] == ["fail", "fail"]

    @pytest.mark.parametrize(("days", "expected"), [(-1, "fail"), (0, "fail"), (14, "warn"), (15, "ok")])
    def test_a_certificate_is_renewed_in_time(self, days: int, expected: str) -> None:
        assert verdict(doctor.certificate_until(NOON + timedelta(days=days), at=NOON, renew="renew")) == expected

    def test_a_certificate_that_is_none_is_broken(self, tmp_path: Path) -> None:
        (tmp_path / "it.pem").write_text("nothing", encoding="ascii")

        assert [verdict(doctor.certificate(tmp_path / name)) for name in ("it.pem", "none.pem")] == ["fail", "fail"]
