"""What this program and this process are: nothing here is asked of anybody else."""

import os
import platform
import re
import time
from functools import cache
from importlib import metadata
from pathlib import Path

STARTED = time.monotonic()
PACKAGE = "instrument-registry"
OF_NOTE = ("fastapi", "msgspec", "numpy", "polars", "psycopg", "redis", "starlette", "structlog", "uvicorn", "uvloop")
COMMIT = re.compile(r"[0-9a-f]{40,64}")
FILE_BYTES_MAX = 4 * 1024 * 1024


def version() -> str:
    """The version of the program."""
    return metadata.version(PACKAGE)


def python() -> str:
    """The interpreter it runs on."""
    return f"{platform.python_implementation()} {platform.python_version()}"


@cache
def dependencies() -> dict[str, str]:
    """Versions of what it stands on, where installed."""
    found: dict[str, str] = {}
    for name in OF_NOTE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def uptime_seconds() -> float:
    """How long this process has run."""
    return time.monotonic() - STARTED


def pid() -> int:
    """The process's number."""
    return os.getpid()


@cache
def commit() -> str | None:
    """The commit it was taken from, where it runs out of a checkout; read once, when somebody first asks."""
    return commit_of(Path(__file__).resolve().parents[3])


def commit_of(checkout: Path) -> str | None:
    """The commit a checkout stands at; None where there is none."""
    folder = checkout / ".git"
    if folder.is_file():  # a worktree: the file says where
        said = _text(folder).removeprefix("gitdir:").strip()
        folder = (checkout / said).resolve()
    head = _text(folder / "HEAD").strip()
    if not head.startswith("ref:"):
        return head if COMMIT.fullmatch(head) else None
    name = head.removeprefix("ref:").strip()
    common = _text(folder / "commondir").strip()
    for place in (folder, (folder / common).resolve()):
        said = _text(place / name).strip()
        if COMMIT.fullmatch(said):
            return said
        packed = re.search(rf"^([0-9a-f]+) {re.escape(name)}$", _text(place / "packed-refs"), re.MULTILINE)
        if packed is not None:
            return packed[1]
    return None


def _text(path: Path) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(FILE_BYTES_MAX)
    except (OSError, UnicodeDecodeError):
        return ""
