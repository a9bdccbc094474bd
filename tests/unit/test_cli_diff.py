"""`diff` of two dump files: no instance is asked."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from desk import TEA
from instrument_registry.cli import main
from instrument_registry.errors import Invalid, NotFound


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    first, last = tmp_path / "kite_2026-08-18_NSE.csv", tmp_path / "kite_2026-09-02_NSE.csv"
    first.write_text(TEA)
    last.write_text(
        "".join(line for line in TEA.splitlines(keepends=True) if "24550" not in line and "FUT" not in line)
    )
    return str(first), str(last)


def test_people_get_a_summary_and_the_changes(files: tuple[str, str]) -> None:
    answer = CliRunner().invoke(main.app, ["diff", *files])

    assert answer.exit_code == 0, answer.output
    assert [line.split() for line in answer.stdout.splitlines() if line][1] == ["expired", "2"]
    assert "NFO:NIFTY;2026-09-01;24550;C" in answer.stdout


def test_programs_get_the_apis_shape(files: tuple[str, str]) -> None:
    answer = json.loads(CliRunner().invoke(main.app, ["diff", *files, "--json", "-n", "1"]).stdout)

    assert (answer["counts"], answer["broker"]) == ({"expired": 2}, "zerodha")
    assert [one["key"] for one in answer["changes"]] == ["NFO:NIFTY;2026-09-01;24550;C"]
    assert answer["pagination"] == {"limit": 1, "count": 1, "next_cursor": None, "total": 2}


def test_a_file_whose_broker_nobody_knows_needs_one(files: tuple[str, str], tmp_path: Path) -> None:
    strange = tmp_path / "strange.csv"
    strange.write_text(TEA)

    asked = CliRunner().invoke(main.app, ["diff", str(strange), str(strange)])
    told = CliRunner().invoke(main.app, ["diff", str(strange), files[1], "--broker", "ZERODHA"])

    assert isinstance(asked.exception, Invalid)
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["2026-08-18", "kite.csv"], Invalid),
        (["a.csv", "b.csv"], NotFound),
        (["a.csv", "b.csv", "--venue", "NFO"], Invalid),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: list[str], kind: type[Exception]) -> None:
    assert isinstance(CliRunner().invoke(main.app, ["diff", *arguments]).exception, kind)
