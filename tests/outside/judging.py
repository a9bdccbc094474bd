"""Asks the packages of npm about requests; without them tests say what they could not judge, in CI they fail."""

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
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        missing = "the judges of npm are not installed (`make tools`): what they would say is not known"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    done = subprocess.run(
        [node, str(FOLDER / "judge.mjs")],
        input="".join(json.dumps(one) + "\n" for one in asked),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=FOLDER,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
