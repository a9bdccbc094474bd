"""Tables: what a dump says is printed as it stands, for people and for pipes."""

import msgspec
import pytest

from instrument_registry.cli.listing import Instrument, own
from instrument_registry.cli.tables import facts, plain, table


class TestPlain:
    @pytest.mark.parametrize(
        ("value", "text"),
        [(None, "-"), ("", "-"), (True, "yes"), (1234567, "1,234,567"), ("24500", "24500"), ("M&M", "M&M"), (0, "0")],
    )
    def test_a_value_is_one_line_of_text(self, value: object, text: str) -> None:
        assert plain(value) == text

    def test_nothing_can_steer_the_terminal(self) -> None:
        assert plain("a\x1b[31mred\nb\x07") == "a\ufffd[31mred\ufffdb\ufffd"


class TestListing:
    @pytest.mark.parametrize(("overridden", "lot"), [(None, "75"), ({}, "75"), ({"lot_size": 65}, "75*")])
    def test_a_star_marks_an_operators_word_and_nothing_else(self, overridden: dict[str, int] | None, lot: str) -> None:
        told = {"id": "1", "key": "NFO:NIFTY", "lot_size": 75, "overridden": overridden}

        assert own(msgspec.convert(told, Instrument), "lot_size") == lot


class TestTable:
    def test_markup_and_smileys_in_a_name_stay_what_they_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        table(["name"], [["[bold]TEA[/bold]"], ["BTC:smile:"]])

        assert capsys.readouterr().out.split() == ["name", "[bold]TEA[/bold]", "BTC:smile:"]

    def test_a_pipe_gets_no_colours_and_no_wrapped_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        table(["long", "number>"], [["x" * 500, 7]], title="Title")

        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        assert lines[2].split() == ["x" * 500, "7"]
        assert not any("\x1b" in line for line in lines)

    def test_a_column_for_numbers_stands_to_the_right(self, capsys: pytest.CaptureFixture[str]) -> None:
        table(["lot>", "name"], [[5, "a"], [12345, "b"]])

        assert capsys.readouterr().out.splitlines()[1].startswith("     5  a")

    def test_facts_leave_out_what_is_absent(self, capsys: pytest.CaptureFixture[str]) -> None:
        facts([("name", "TEA"), ("isin", None), ("lot size", 0)])

        assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
            ["name", "TEA"],
            ["lot", "size", "0"],
        ]
