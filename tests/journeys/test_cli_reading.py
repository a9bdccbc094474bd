"""The command line against one running instance with the demo universe: what people see and what programs get."""

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from journeys.test_serve import Serving, demonstrated, eventually

OPTION = "NFO:NIFTY;F;@1"


@pytest.fixture(scope="module")
def instance() -> Iterator[Serving]:
    """One instance for every test here; none changes what another reads."""
    with demonstrated() as one:
        yield one


def said(instance: Serving, *arguments: str, code: int = 0) -> str:
    """Standard output of a command that ends as it should."""
    ended = instance.run(*arguments)
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    return ended.stdout


def refused(instance: Serving, *arguments: str, code: int) -> str:
    """The sentence of a command that is refused: one line on standard error, and nothing else."""
    ended = instance.run(*arguments)
    assert (ended.returncode, ended.stdout) == (code, ""), (ended.stdout, ended.stderr)
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    return lines[0]


class TestSearch:
    def test_people_get_a_table_and_programs_the_apis_json(self, instance: Serving) -> None:
        table = said(instance, "search", "reliance", "--limit", "2").splitlines()
        answer = json.loads(said(instance, "search", "reliance", "--limit", "2", "--json"))

        assert table[0].split()[:3] == ["key", "name", "kind"]
        assert [line.split()[0] for line in table[1:]] == [one["key"] for one in answer["instruments"]]
        assert answer["instruments"][0]["key"] == "NSE:RELIANCE"
        assert answer["pagination"]["limit"] == 2
        assert not any("\x1b" in line for line in table)

    def test_a_page_leads_to_the_next(self, instance: Serving) -> None:
        first = json.loads(said(instance, "search", "nifty", "ce", "-n", "3", "--json"))
        second = json.loads(
            said(instance, "search", "nifty", "ce", "-n", "3", "--json", "--cursor", first["pagination"]["next_cursor"])
        )

        keys = [[one["key"] for one in page["instruments"]] for page in (first, second)]
        assert set(keys[0]).isdisjoint(keys[1])

    def test_filters_are_heard_in_either_case(self, instance: Serving) -> None:
        found = json.loads(said(instance, "search", "nifty", "--venue", "nfo", "--kind", "FUTURE", "--json"))

        assert {(one["venue"], one["kind"]) for one in found["instruments"]} == {("NFO", "future")}

    def test_nothing_found_is_said_and_is_a_failure(self, instance: Serving) -> None:
        assert "Nothing was found" in refused(instance, "search", "qqqqqqqq", code=1)

    def test_what_the_api_refuses_is_one_sentence_with_the_remedy(self, instance: Serving) -> None:
        sentence = refused(instance, "search", "nifty", "--as-of", "tomorrow", code=2)

        assert sentence.startswith("The request is not valid: query.as_of")
        assert "YYYY-MM-DD" in sentence


class TestTheFirstStart:
    def test_it_says_what_it_waits_for_and_not_how_often_it_looked(self, instance: Serving) -> None:
        words = instance.words()

        assert words.index("loading the demo universe") < words.index("Stop with Ctrl-C")
        assert '"path": "/health' not in words


class TestResolve:
    def test_identifiers_of_any_sort_come_back_in_one_table(self, instance: Serving) -> None:
        shown = json.loads(said(instance, "search", "reliance", "-n", "1", "--json"))["instruments"][0]
        table = said(instance, "resolve", "NSE:RELIANCE", f"upstox:{shown['tokens']['upstox']}", "reliance", OPTION)

        assert [line.split()[1] for line in table.splitlines()[1:4]] == ["NSE:RELIANCE"] * 3
        assert "NFO:NIFTY;F;2" in table

    def test_one_that_means_several_fails_and_names_them(self, instance: Serving) -> None:
        shown = json.loads(said(instance, "search", "reliance", "-n", "1", "--json"))["instruments"][0]

        assert "means 2: NSE:RELIANCE, BSE:RELIANCE" in refused(instance, "resolve", f"isin:{shown['isin']}", code=1)

    def test_one_that_means_nothing_fails_and_the_others_are_shown(self, instance: Serving) -> None:
        ended = instance.run("resolve", "NSE:RELIANCE", "RELIANC")

        assert ended.returncode == 1
        assert "NSE:RELIANCE" in ended.stdout
        assert "RELIANC means nothing; did you mean NSE:RELIANCE" in ended.stderr


class TestShow:
    def test_attributes_tokens_and_history_are_shown(self, instance: Serving) -> None:
        shown = said(instance, "show", "NSE:RELIANCE")

        for part in ("isin", "Broker tokens", "zerodha", "Versions", "known since", "Facts", "instrument.listed"):
            assert part in shown

    def test_it_is_shown_as_far_as_was_known_at_an_instant(self, instance: Serving) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")

        assert "INE002A01018" in said(instance, "show", "NSE:RELIANCE", "--as-known-at", now)
        assert "NSE:RELIANCE" in said(instance, "resolve", "NSE:RELIANCE", "--as-of", now[:10])

    def test_programs_get_four_documents(self, instance: Serving) -> None:
        instrument, tokens, overrides, history = map(
            json.loads, said(instance, "show", "NSE:RELIANCE", "--json").splitlines()
        )

        assert {instrument["id"], tokens["id"], overrides["id"], history["id"]} == {instrument["id"]}
        assert len(history["versions"]) >= 1

    def test_a_misspelt_name_is_answered_with_the_right_one(self, instance: Serving) -> None:
        assert "did you mean NSE:RELIANCE" in refused(instance, "show", "RELIANC", code=1)


class TestChain:
    def test_the_strike_at_the_money_stands_in_the_middle(self, instance: Serving) -> None:
        whole = json.loads(said(instance, "chain", "NIFTY", "--json"))
        middle = whole["strikes"][len(whole["strikes"]) // 2]["strike"]
        lines = said(instance, "chain", "nifty", whole["expiry"], "--price", middle, "--strikes", "1").splitlines()

        assert len(lines) == 5  # title, columns, three strikes
        assert middle in lines[3]
        assert "at the money" in lines[3]

    def test_an_underlying_without_options_is_named(self, instance: Serving) -> None:
        assert "no options" in refused(instance, "chain", "NOBODY", code=1)


class TestOperators:
    def test_an_override_is_set_seen_and_withdrawn(self, instance: Serving) -> None:
        made = json.loads(
            said(
                instance, "overrides", "set", "BSE:RELIANCE", "lot_size", "7", "--until", "2099-01-01",
                "--reason", "The circular [12]", "--json",
            )
        )  # fmt: skip
        eventually(lambda: "overridden; the files say 1" in said(instance, "show", "BSE:RELIANCE"), within_seconds=10)
        listed = said(instance, "overrides", "list")
        again = ("overrides", "set", "BSE:RELIANCE", "lot_size", "8", "--until", "2099-01-01", "--reason", "x")
        twice = refused(instance, *again, code=3)
        said(instance, "overrides", "withdraw", "BSE:RELIANCE", str(made["id"]), "--reason", "Over")
        eventually(lambda: "overridden;" not in said(instance, "show", "BSE:RELIANCE"), within_seconds=10)

        assert "The circular [12]" in listed
        assert "overridden already" in twice
        assert "withdrawn" in said(instance, "overrides", "list", "--all")
        assert "instrument.override_withdrawn" in said(instance, "show", "BSE:RELIANCE")

    def test_an_alias_is_found_and_gone_again(self, instance: Serving) -> None:
        said(instance, "aliases", "add", "qqxx desk", "RELIANCE", "--reason", "The desk says so")
        eventually(lambda: instance.run("search", "qqxx desk").returncode == 0, within_seconds=10)
        listed = said(instance, "aliases", "list")
        said(instance, "aliases", "remove", "qqxx desk", "RELIANCE", "--reason", "No more")
        eventually(lambda: instance.run("search", "qqxx desk").returncode == 1, within_seconds=10)

        assert "The desk says so" in listed
        assert "nifty 50" in said(instance, "aliases", "list", "--seed")

    def test_a_declared_symbol_change_is_found_by_the_old_symbol(self, instance: Serving) -> None:
        change = (
            "symbol_change",
            "NSE",
            "OLDRELIANCE",
            "RELIANCE",
            "--effective",
            "2020-01-01",
            "--reason",
            "A circular",
        )
        said(instance, "declarations", "add", *change)
        eventually(lambda: instance.run("search", "oldreliance").returncode == 0, within_seconds=10)

        assert "OLDRELIANCE" in said(instance, "declarations", "list")

    def test_a_reader_may_read_and_is_refused_what_an_operator_does(self, instance: Serving) -> None:
        reader = json.loads(said(instance, "keys", "create", "somebody", "--json"))["key"]
        elsewhere = ("--url", instance.url, "--key", reader)

        assert "NSE:RELIANCE" in said(instance, "search", "reliance", *elsewhere)
        sentence = refused(instance, "aliases", "add", "x", "RELIANCE", "--reason", "x", *elsewhere, code=3)
        assert "scope" in sentence


class TestSummaryAndDoctor:
    def test_the_summary_counts_what_there_is(self, instance: Serving) -> None:
        told = json.loads(said(instance, "summary", "--json"))
        table = said(instance, "summary")

        assert told["instruments"] >= 20_000
        assert f"{told['instruments']:,}" in table
        assert {run["broker"] for run in told["runs"]} == {"upstox", "zerodha", "shoonya"}

    def test_a_healthy_instance_has_nothing_broken(self, instance: Serving) -> None:
        findings = json.loads(said(instance, "doctor", "--json"))["findings"]

        assert [one for one in findings if one["verdict"] == "fail"] == []
        assert {"database", "migrations", "facts", "instance", "key", "calendars"} <= {one["check"] for one in findings}
        assert all(one["mend"] for one in findings if one["verdict"] != "ok")

    def test_a_key_others_may_read_is_found_and_how_to_mend_it(self, instance: Serving) -> None:
        key = instance.data_dir / "operator.key"
        key.chmod(0o644)
        broken = said(instance, "doctor", code=1)
        key.chmod(0o600)

        assert "operator.key has mode 0644" in broken
        assert f"chmod 600 {key}" in broken
        assert "fail" not in said(instance, "doctor")

    def test_another_instance_is_examined_by_its_url(self, instance: Serving) -> None:
        findings = json.loads(said(instance, "doctor", "--url", instance.url, "--key", "irk_nobody", "--json", code=1))

        assert [one["check"] for one in findings["findings"] if one["verdict"] == "fail"] == ["key"]


class TestPrinting:
    def test_no_color_is_heard_on_a_terminal(self, instance: Serving) -> None:
        command = ("search", "reliance", "-n", "1")
        coloured, plain = (_on_a_terminal(instance, command, extra) for extra in ({}, {"NO_COLOR": "1"}))

        assert "\x1b[1m" in coloured  # bold names of columns
        assert "\x1b[3" not in plain
        assert "NSE:RELIANCE" in plain


def _on_a_terminal(instance: Serving, command: tuple[str, ...], extra: dict[str, str]) -> str:
    import pty
    import subprocess
    import sys

    ours, theirs = pty.openpty()
    environment = instance.environment | {"TERM": "xterm-256color", "COLUMNS": "200"} | extra
    if not extra:
        environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "instrument_registry", *command],
        env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    heard = b""
    with contextlib.suppress(OSError):  # the terminal's other end is gone
        while part := os.read(ours, 65536):
            heard += part
    os.close(ours)
    process.wait(30)
    return heard.decode()
