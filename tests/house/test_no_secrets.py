"""No key of ours, and no private key, is written down in the repository: samples are made while tests run."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEYS = re.compile(
    rb"irmk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}"
    rb"|irk_[a-z2-7]{16}_[A-Za-z0-9_-]{43}"
    rb"|whsec_[A-Za-z0-9+/_-]{32,}"
    rb"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40,}"
    rb"|PRIVATE\+KEY\+[^+\s]+\+[0-9a-f]{8}\+"
)


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_key_is_written_down() -> None:
    found = [str(path.relative_to(ROOT)) for path in committed() if KEYS.search(path.read_bytes())]

    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "irmk_" + "0" * 8 + "_" + "A" * 43,
        "irk_" + "a" * 16 + "_" + "A" * 43,
        "whsec_" + "A" * 44,
        "-----BEGIN " + "PRIVATE KEY-----\n" + "A" * 64,
    ],
)
def test_one_would_be_noticed(line: str) -> None:
    assert KEYS.search(f'KEY = "{line}"'.encode())
