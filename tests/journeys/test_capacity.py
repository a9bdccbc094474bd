"""Accounts at brokers by the command line, and a ticker that falls silent: one running instance."""

import json
from pathlib import Path

import pytest

from instrument_registry.cli.client import Client, connect
from journeys.test_serve import Serving, eventually, serving  # noqa: F401 - a fixture

HEALTH = "/subscriptions/capacity/K/health"


def said(one: Serving, *arguments: str, code: int = 0) -> str:
    ended = one.run("capacity", *arguments)
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    return ended.stdout if code == 0 else ended.stderr


def healths(asking: Client) -> list[str | None]:
    return [one["health"] for one in json.loads(asking.get(HEALTH))["connections"]]


def test_an_account_is_said_by_a_file_and_loses_a_connection_whose_ticker_is_silent(
    serving: Serving,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serving.start()
    file = tmp_path / "kite.json"
    own = {"connections": {"value": 2, "source": "contract of the desk"}}
    file.write_text(json.dumps({"broker": "kite", "figures": own}), encoding="utf-8")
    shown = said(serving, "set", "K", str(file), "--reason", "the desk's account")
    file.write_text(json.dumps({"broker": "kites"}), encoding="utf-8")
    misspelt = said(serving, "set", "K", str(file), "--reason", "a slip", code=2)
    file.write_text(json.dumps({"figures": {"connections": None}}), encoding="utf-8")
    late = said(serving, "set", "K", str(file), "--only", "--if-version", "7", "--reason", "late", code=3)
    listed = said(serving, "list").splitlines()
    venues = json.loads(said(serving, "venues", "--json"))["venues"]
    history = said(serving, "history", "K").splitlines()
    monkeypatch.setenv("INSTRUMENT_REGISTRY_DATA_DIR", serving.environment["INSTRUMENT_REGISTRY_DATA_DIR"])
    asking = connect(None, None)
    asking.post("/actuator/config", {"CONNECTION_LOST_AFTER": 2})
    asking.post(HEALTH, {"connections": {"K-0": {"state": "connected"}}})
    first = healths(asking)
    eventually(lambda: healths(asking) == ["lost", None], within_seconds=20)
    asking.post(HEALTH, {"connections": {"K-0": {"state": "connected"}}})
    again = healths(asking)

    assert "contract of the desk" in shown
    assert "Did you mean kite?" in misspelt
    assert "version 1" in late
    assert listed[1].split()[:3] == ["K", "kite", "6,000"]
    assert "kite" in {one["broker"] for one in venues}
    assert len(history) == 2
    assert first == ["connected", None]
    assert again == first
    assert "connections.lost" in serving.words()
