"""No parameter is declared that nothing obeys: each has a test that says so by `@pytest.mark.obeys`."""

import ast
from collections.abc import Iterator
from pathlib import Path

from instrument_registry.configuration.parameters import PARAMETERS

TESTS = Path(__file__).parent.parent


def marked(source: str) -> Iterator[str]:
    """The parameters that marks in a source name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "obeys":
            yield from (str(ast.literal_eval(one)) for one in node.args)


def obeyed() -> set[str]:
    folders = ("api", "storage", "journeys")
    files = [file for folder in folders for file in (TESTS / folder).glob("test_*.py")]
    return {name for file in files for name in marked(file.read_text(encoding="utf-8"))}


def test_every_parameter_has_a_test_that_behaviour_obeys_it() -> None:
    assert sorted(PARAMETERS.keys() - obeyed()) == []


def test_every_mark_names_a_parameter() -> None:
    assert sorted(obeyed() - PARAMETERS.keys()) == []


def test_a_parameter_without_a_test_is_noticed() -> None:
    assert set(marked("@mark.obeys('A', 'B')\ndef test_it(): ...")) == {"A", "B"}
    assert set(marked("def test_obeys(): ...")) == set()
