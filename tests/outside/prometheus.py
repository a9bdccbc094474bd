"""Prometheus and promtool of Debian as judges; without them tests say what they could not judge, in CI they fail."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNPACKED = ROOT / ".venv" / "tools" / "usr" / "bin"


def tool(name: str) -> str:
    """Where a tool is: where `make tools` unpacked it, or installed."""
    found = shutil.which(name, path=f"{UNPACKED}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        missing = f"{name} is not here (`make tools`): what it would say is not known"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def promtool(*arguments: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
    """What promtool says."""
    return subprocess.run(
        [tool("promtool"), *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
    )
