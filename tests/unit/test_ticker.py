"""What the ticker computes for itself: what it carries, the digest the registry has too, its credentials."""

import pytest
from typer.testing import CliRunner

from instrument_registry.cli import main
from instrument_registry.cli import ticker as command
from instrument_registry.errors import Invalid, Unavailable
from instrument_registry.subscriptions.planner import Mode
from instrument_registry.subscriptions.plans import carrying
from instrument_registry.ticker.protocol import Ended, Item, Token, credentials, digest_of, modes_of, stepped


def item(token: str, mode: str) -> Item:
    return Item(segment="NSE", token=token, mode=mode)


def test_its_digest_is_that_of_the_registry() -> None:
    theirs = {
        7: carrying.Carried(Mode.FULL, "NSE|20"), 1: carrying.Carried(Mode.LTP, "NSE|3"),
        3: carrying.Carried(Mode.QUOTE, "BSE|100"),
    }  # fmt: skip
    ours = {("BSE", "100"): "quote", ("NSE", "20"): "full", ("NSE", "3"): "ltp"}

    assert digest_of(ours) == carrying.digest_of(theirs)
    assert digest_of({}) == carrying.digest_of({})


def test_steps_taken_twice_come_to_the_same() -> None:
    table: dict[Token, Item] = {}
    for _ in range(2):
        stepped(table, "snapshot", [item("1", "ltp"), item("2", "ltp")])
        for _ in range(2):
            stepped(table, "remove", [item("1", "ltp")])
            stepped(table, "mode", [item("2", "full")])
            stepped(table, "add", [item("3", "quote")])

    assert modes_of(table) == {("NSE", "2"): "full", ("NSE", "3"): "quote"}


@pytest.mark.parametrize("value", ['{"api_key": "k", "access_token": "t:1"}', "k:t:1", " k:t:1\n"])
def test_credentials_are_an_object_or_two_words(value: str) -> None:
    assert credentials(value) == {"api_key": "k", "access_token": "t:1"}


@pytest.mark.parametrize("value", ["", "k", "{", '{"api_key": "k"}', '{"api_key": 1, "access_token": "t"}'])
def test_other_credentials_are_refused_without_being_shown(value: str) -> None:
    with pytest.raises(Ended) as refused:
        credentials(value)

    assert value not in str(refused.value) or value in ("", "k", "{")


def test_a_broker_without_a_ticker_is_refused_and_a_missing_driver_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = CliRunner().invoke(main.app, ["ticker"])
    with pytest.raises(Invalid, match="there are kite"):
        command.ticker(account="A", secret="S", broker="kites")
    monkeypatch.setitem(command.DRIVERS, "kite", "no_such_package")
    with pytest.raises(Unavailable, match="pip install no_such_package"):
        command.ticker(account="A", secret="S")

    assert missing.exit_code == 2
