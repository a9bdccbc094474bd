"""What calm code keeps: one clock, one reader of the environment, failures caught by name, telling names."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "instrument_registry"
MODULES = sorted(SOURCE.rglob("*.py"))
VAGUE = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "base", "enhanced", "new", "old", "v2"}
CLOCK_CALLS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("time", "time")}
# Folders of the machine a thing was made on say nothing to whoever reads it elsewhere.
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("work", "root", "opt"))
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".lock",
    ".csv",
    ".json",
    ".yaml",
    ".yml",
    ".sql",
    ".mako",
    ".txt",
    ".cfg",
    ".html",
    ".css",
    "",
}


def named(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def words_of(name: str) -> set[str]:
    """`HTTPManager_v2` speaks of http, manager and v2."""
    spaced = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return set(spaced.split("_"))


def test_there_are_sources() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=named)
class TestEverySource:
    def test_only_the_clock_asks_for_the_time(self, path: Path) -> None:
        asked = [
            f"{path}:{node.lineno}"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and (node.func.value.id, node.func.attr) in CLOCK_CALLS
        ]

        assert named(path) == "clock.py" or asked == []

    def test_only_the_settings_read_the_environment(self, path: Path) -> None:
        read = [
            f"{path}:{node.lineno}"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
            and node.attr in ("environ", "getenv", "environb", "putenv")
        ]

        assert named(path) == "settings.py" or read == []

    def test_only_workers_catch_everything(self, path: Path) -> None:
        caught = [f"{path}:{node.lineno}" for node in ast.walk(tree(path)) if catches_everything(node)]

        assert named(path).startswith("workers/") or caught == []

    def test_names_say_what_is_known(self, path: Path) -> None:
        classes = [node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
        vague = [name for name in [path.stem, *classes] if words_of(name) & VAGUE]

        assert vague == []


def catches_everything(node: ast.AST) -> bool:
    """`except:` and `except Exception:` that do not raise again at their end."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    broad = any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds
    )
    last = node.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def committed() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in TEXT and path.is_file():
            yield path


def test_no_file_names_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:100]}"
        for path in committed()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if any(folder in line for folder in MACHINE_PATHS) and "folder in (" not in line
    ]

    assert found == []


def test_the_layers_of_the_house_hold() -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"],
        cwd=ROOT,
        env={"PYTHONPATH": str(SOURCE.parent), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_sizes_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    functions = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    largest = sorted(lines.items(), key=lambda item: -item[1])[:5]
    with capsys.disabled():
        print(
            f"\nsizes: {len(lines)} files, median {statistics.median(lines.values()):.0f} lines, largest {largest}; "
            f"functions: median {statistics.median(functions):.0f} lines, {sum(n > 50 for n in functions)} over 50"
        )

    assert max(lines.values()) < 900, "a file of 900 lines is a room that wants a wall"
