"""The lock files: written here (`make lock`), compared with what they were made from by a house test.

Each begins with a digest of the dependencies asked for, so that the comparison needs no network.
"""

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "# made from: "
LOCKS = {
    "requirements.lock": ["build"],
    "requirements-traces.lock": ["build", "traces"],
    "requirements-dev.lock": ["build", "dev", "traces"],
}


def inputs_digest(groups: list[str]) -> str:
    """A digest of everything that decides what a lock file holds."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = asked["project"]
    inputs = {
        "requires-python": project["requires-python"],
        "dependencies": sorted(project["dependencies"]),
        "groups": {group: sorted(asked["dependency-groups"][group]) for group in groups},
    }
    return "sha256:" + hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def recorded_digest(name: str) -> str:
    """The digest a lock file begins with."""
    first = (ROOT / name).read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix(MARK)


def lock(name: str, groups: list[str]) -> None:
    """Resolve for every platform and Python the project supports, every file by hash, no index named."""
    bases = ["-c", "requirements.lock"] if name != "requirements.lock" else []
    made = subprocess.run(
        [
            *(
                str(Path(sys.executable).with_name("uv")),
                "pip",
                "compile",
                "pyproject.toml",
                "--universal",
                "--python-version",
                "3.11",
                "--generate-hashes",
            ),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-header", "--upgrade", "--quiet"),
            *(part for group in groups for part in ("--group", group)),
            *bases,
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    (ROOT / name).write_text(f"{MARK}{inputs_digest(groups)}\n{made.stdout}", encoding="utf-8")


if __name__ == "__main__":
    for lock_name, lock_groups in LOCKS.items():
        try:
            lock(lock_name, lock_groups)
        except subprocess.CalledProcessError as error:
            sys.exit(error.stderr)
