"""bandit finds nothing of medium weight or more; of SQL put together in Python it sees each, and we look closer.

Whatever looks like SQL out of pieces is a finding of bandit's (B608), also where the pieces are constants of ours. So
each is judged here by what is put into it: what stands outside of functions is made before anybody asks anything; in
them, names of constants, which are written in capitals, are ours. Anything else could come from outside and has to be
marked in the source, with its reason.
"""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SQL = "B608"
# Functions that put SQL together, called with words of their own modules alone and before a run begins.
OUR_WORDS = {"applying.py": "close_versions", "telling.py": "_changed"}
WEIGHTY = ("MEDIUM", "HIGH")


def findings(folder: Path) -> list[dict]:
    done = subprocess.run(
        [Path(sys.executable).with_name("bandit"), "-q", "-r", folder, "-f", "json"], capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    assert report["errors"] == []
    found = [one for one in report["results"] if one["issue_severity"] in WEIGHTY]
    return [one for one in found if one["test_id"] != SQL or not _of_constants(Path(one["filename"]), one)]


def _of_constants(path: Path, finding: dict) -> bool:
    """Whether the SQL at these lines is made of constants of ours alone."""
    lines = set(finding["line_range"])
    inside = [
        node
        for function in ast.walk(_tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if lines & set(range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", 0) or 0) + 1))
    ]
    if not inside or _by(inside, OUR_WORDS.get(path.name)):
        return True
    strings = [node for node in inside if isinstance(node, ast.JoinedStr)]
    pieces = [part.value for node in strings for part in node.values if isinstance(part, ast.FormattedValue)]
    return bool(pieces) and all(_is_constant(piece) for piece in pieces)


def _by(inside: list[ast.AST], function: str | None) -> bool:
    tops = [node.name for node in inside if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return function is not None and tops == [function]


def _is_constant(piece: ast.expr) -> bool:
    if isinstance(piece, ast.Attribute):
        return piece.attr.isupper()
    if isinstance(piece, ast.Subscript):
        return _is_constant(piece.value)
    return isinstance(piece, ast.Name) and piece.id.isupper()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_our_sources_hold_nothing_of_weight() -> None:
    found = findings(ROOT / "src")

    assert [f"{one['filename']}:{one['line_number']} {one['test_id']} {one['issue_text']}" for one in found] == []


@pytest.mark.parametrize(
    ("source", "weighs"),
    [
        ('COLUMNS = "id, name"\nALL = f"select {COLUMNS} from api_keys"\n', False),
        ("def find(name):\n    return f\"select id from api_keys where name = '{name}'\"\n", True),
        ("def find(name):\n    return \"select id from api_keys where name = '%s'\" % name\n", True),
        ("import subprocess\nsubprocess.run(input(), shell=True)\n", True),
        ("import hashlib\nhashlib.md5(b'')\n", True),
    ],
)
def test_what_comes_from_outside_weighs(tmp_path: Path, source: str, weighs: bool) -> None:
    (tmp_path / "planted.py").write_text(source, encoding="utf-8")

    assert bool(findings(tmp_path)) is weighs
