"""What every benchmark tells beside its figures, and where it is kept."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "results"


def keep(bench: str, results: Mapping[str, object], *, bars: Mapping[str, float], samples: Mapping[str, object]) -> int:
    """Write a report, print it, and say which bars are missed; the exit code: 1 if any is.

    A bar named `…_per_second` or `times_…` is to be reached, any other not to be passed.
    """
    missed = {
        name: f"{results[name]} against {bar}" for name, bar in bars.items() if not met(name, results.get(name), bar)
    }
    report = {
        "bench": bench,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cpus": os.cpu_count(),
            "processor": _processor(),
            "memory_mb": _memory_mb(),
            "load": os.getloadavg(),
        },
        "python": platform.python_version(),
        "samples": samples,
        "bars": bars,
        "missed": missed,
        "results": results,
    }
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(report, indent=2, default=str) + "\n"
    (FOLDER / f"{bench}.json").write_text(text, encoding="utf-8")
    print(text)
    print("\n".join(f"missed: {name}: {what}" for name, what in missed.items()) or "every bar is met", file=sys.stderr)
    return int(bool(missed))


def met(name: str, value: object, bar: float) -> bool:
    """Whether a figure reaches its bar; what was not measured does not."""
    if not isinstance(value, int | float):
        return False
    return value >= bar if name.endswith("_per_second") or name.startswith("times_") else value <= bar


def _commit() -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
