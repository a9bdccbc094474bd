"""The table of commands: each is where the table says, and listing them imports none."""

import subprocess
import sys
import time
from importlib import import_module

import pytest
import typer
from typer.testing import CliRunner

from instrument_registry.cli import main
from instrument_registry.errors import Conflict, Invalid, NotFound, Unavailable


@pytest.mark.parametrize("name", main.COMMANDS)
def test_a_command_is_where_the_table_says_and_has_help(name: str) -> None:
    entry = main.COMMANDS[name]
    found = getattr(import_module(f"instrument_registry.cli.{entry.module}"), entry.attribute)
    answer = CliRunner().invoke(main.app, [name, "--help"])

    assert callable(found) or isinstance(found, typer.Typer)
    assert answer.exit_code == 0, answer.output
    assert "Usage" in answer.output


def test_the_list_imports_no_room() -> None:
    program = (
        "import sys, instrument_registry.cli.main as main\n"
        "from typer.testing import CliRunner\n"
        "answer = CliRunner().invoke(main.app, ['--help'])\n"
        "assert 'migrate' in answer.output and answer.exit_code == 0\n"
        "heavy = {'fastapi', 'polars', 'psycopg', 'pydantic', 'numpy', 'aiohttp', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - began < 20


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(main.app, ["fly"]).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code"), [(Invalid("x"), 2), (Conflict("x"), 3), (NotFound("x"), 1), (Unavailable("x"), 1)]
)
def test_exit_codes_say_what_kind_of_failure_it_was(error: Invalid, code: int) -> None:
    assert main.exit_code(error) == code
