"""Asks the packages of npm about what we send; without them tests say what they could not judge, in CI they fail."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def node_judges(asked: Sequence[dict[str, object]]) -> list[dict]:
    """The verdict of a package on each request."""
    told = run_node("judge.mjs", told="".join(json.dumps(one) + "\n" for one in asked))
    return [json.loads(line) for line in told.splitlines()]


def run_node(script: str, *arguments: str, told: str = "", **environment: str) -> str:
    """What one of our scripts says that uses packages of npm."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        missing = "the judges of npm are not installed (`make tools`): what they would say is not known"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    done = subprocess.run(
        [node, str(FOLDER / script), *arguments],
        input=told,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=FOLDER,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
