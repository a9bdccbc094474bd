"""`instrument-registry limits`: what it sets is what the doors read, what it is told wrongly it says."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import DatabaseUrls
from instrument_registry.cli.keys import app as keys
from instrument_registry.cli.limits import app
from instrument_registry.errors import RegistryError


@pytest.fixture(autouse=True)
def environment(database_urls: DatabaseUrls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTRUMENT_REGISTRY_DATABASE_URL", database_urls.service)
    monkeypatch.setenv("INSTRUMENT_REGISTRY_DATA_DIR", str(tmp_path))


@pytest.fixture
def key_id() -> str:
    made = CliRunner().invoke(keys, ["create", "desk", "--json"])
    return str(json.loads(made.stdout)["id"])


def told(*arguments: str) -> str:
    """What it prints."""
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_limits_of_a_key_are_set_listed_and_removed(key_id: str) -> None:
    told("set", key_id, "read=200000/9000", "write=/7", "--reason", "a backfill")
    listed = json.loads(told("list", "--json"))
    removed = told("remove", key_id, "--reason", "done")
    after = json.loads(told("list", "--json"))

    (own,) = listed["keys"]
    assert own["limits"] == {
        "read": {"per_minute": 200_000, "per_second": 9_000},
        "write": {"per_minute": None, "per_second": 7},
    }
    assert (own["key_id"], own["reason"]) == (key_id, "a backfill")
    assert listed["classes"]["expensive"] == {"per_minute": 100, "per_second": 50}
    assert removed.startswith(f"{key_id} is limited as every other key")
    assert after["keys"] == []


@pytest.mark.parametrize("written", ["read", "read=", "read=many", "reads=5", "read=0", "stranger=5", "read=2000000"])
def test_what_cannot_be_read_or_be_is_said(key_id: str, written: str) -> None:
    ended = CliRunner().invoke(app, ["set", key_id, written, "--reason", "x"])

    assert isinstance(ended.exception, RegistryError)
    assert written.partition("=")[0] in str(ended.exception)
