"""Completion: what bash is offered, through the table that imports commands late."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

Ended = subprocess.CompletedProcess[str]

# The shell is told by who started the program: bash must do so, and not make way for it.
BY_BASH = ("bash", "--norc", "-c", '"$0" "$@"; exit $?')


def started(tmp_path: Path, *arguments: str, by: tuple[str, ...] = (), **environment: str) -> Ended:
    """The program under its own name, in a folder where nothing runs."""
    script = tmp_path / "instrument-registry"
    if not script.exists():
        script.write_text(
            f"#!{sys.executable}\nfrom instrument_registry.cli.main import run\nrun()\n", encoding="ascii"
        )
        script.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INSTRUMENT_REGISTRY_")}
    surroundings = inherited | {
        "PYTHONPATH": os.pathsep.join(sys.path), "INSTRUMENT_REGISTRY_DATA_DIR": str(tmp_path / "none"),
        "HOME": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    return subprocess.run(
        [*by, str(script), *arguments], env=surroundings | environment, capture_output=True, text=True, timeout=60
    )


def started_by_bash(tmp_path: Path, *arguments: str) -> Ended:
    return started(tmp_path, *arguments, by=BY_BASH)


def offered(tmp_path: Path, *words: str) -> list[str]:
    ended = started(
        tmp_path,
        COMP_WORDS=" ".join(["instrument-registry", *words]),
        COMP_CWORD=str(len(words)),
        _INSTRUMENT_REGISTRY_COMPLETE="complete_bash",
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sea"], {"search"}),
        (["search", "x", "--li"], {"--limit"}),
        (["search", "x", "--broker", "z"], {"zerodha"}),
        (["search", "x", "--kind", "crypto_p"], {"crypto_perpetual"}),
        (["search", "x", "--venue", "nf"], {"nfo"}),
        (["ingest", "up"], {"upstox"}),
        (["schedule", "set", "zer"], {"zerodha"}),
        (["aliases", ""], {"list", "add", "remove"}),
        (["overrides", "set", "NSE:X", "ti"], {"tick_size"}),
        (["declarations", "add", "de"], {"demerger"}),
        (["chain", "ni"], set()),  # nothing runs that could be asked
    ],
)
def test_a_word_is_completed(tmp_path: Path, words: list[str], expected: set[str]) -> None:
    assert set(offered(tmp_path, *words)) == expected


def test_the_script_works_in_bash(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    script = started_by_bash(tmp_path, "--show-completion")
    assert script.returncode == 0, script.stderr
    typed = (
        f"{script.stdout}\nCOMP_WORDS=(instrument-registry doc) COMP_CWORD=1\n"
        '_instrument_registry_completion "$0"\necho "${COMPREPLY[@]}"\n'
    )
    program = tmp_path / "instrument-registry"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        ["bash", "--norc", "-c", typed, str(program)], env=environment, capture_output=True, text=True, timeout=60
    )

    assert ended.stdout.split() == ["doctor"], ended.stderr


def test_it_is_installed_where_bash_looks(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    ended = started_by_bash(tmp_path, "--install-completion")

    assert ended.returncode == 0, ended.stderr
    assert "instrument-registry" in (tmp_path / ".bashrc").read_text(encoding="utf-8")
    assert list(tmp_path.glob(".bash_completions/*"))
