"""Metrics: the table lists what is exported, alerts and dashboards ask for nothing else, and promtool finds no fault.

Run as a program it writes the table anew: .venv/bin/python tests/house/test_metrics.py
"""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from instrument_registry import telemetry

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "instrument_registry"
TABLE = ROOT / "docs" / "metrics.md"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
OURS = "instrument_registry_"
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
# What programs bring with them: not ours to describe.
OUTSIDE = ("process_", "python_")
# Dashboards of the registry's predecessors ask for these names.
KNOWN_OUTSIDE = "subscription_plan"
DECLARES = re.compile(r"prometheus_client|telemetry\.watched")
NAME = re.compile(rf"\b{OURS}\w+")


def import_everything() -> None:
    """Import every module that speaks of metrics: they exist from then on."""
    for file in SOURCE.rglob("*.py"):
        if DECLARES.search(file.read_text(encoding="utf-8")):
            importlib.import_module(".".join(file.relative_to(SOURCE.parent).with_suffix("").parts))


def families() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name, type, labels and meaning of every metric of ours."""
    import_everything()
    for collector, names in REGISTRY._collector_to_names.items():
        if not any(name.startswith(OURS) for name in names):
            continue
        numbers = getattr(collector, "_numbers", None)
        for place, family in enumerate(collector.describe()):
            of_number = (numbers[place].label,) if numbers is not None and numbers[place].label else ()
            labels = of_number if numbers is not None else collector._labelnames
            yield family.name, family.type, tuple(labels), family.documentation


def written() -> str:
    """The table as it is published."""
    rows = [
        f"| `{name}{'_total' if kind == 'counter' else ''}` | {kind} | {', '.join(labels)} | {says} |"
        for name, kind, labels, says in sorted(families())
    ]
    head = TABLE.read_text(encoding="utf-8").partition("| metric |")[0] if TABLE.exists() else ""
    return f"{head}| metric | type | labels | what it says |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def exported() -> set[str]:
    """Every name that a query may ask for."""
    return {name + ending for name, kind, _, _ in families() for ending in ENDINGS[kind]}


def asked() -> set[tuple[str, str]]:
    """Every name that an alert, its test or a dashboard asks for, and where."""
    files = [file for file in (ROOT / "deploy").rglob("*") if file.suffix in (".yml", ".yaml", ".json")]
    return {(file.name, name) for file in files for name in NAME.findall(file.read_text(encoding="utf-8"))}


def test_the_table_lists_exactly_what_is_exported() -> None:
    assert TABLE.read_text(encoding="utf-8") == written(), "run .venv/bin/python tests/house/test_metrics.py"


def test_alerts_and_dashboards_ask_for_nothing_that_is_not_exported() -> None:
    there = exported()

    assert len(asked()) > 20
    assert sorted((file, name) for file, name in asked() if name not in there) == []


def test_names_and_meanings_are_there_and_speak_of_us() -> None:
    strange = [
        family.name
        for family in REGISTRY.collect()
        if not family.name.startswith((OURS, KNOWN_OUTSIDE, *OUTSIDE))
        or not family.documentation
        or "  " in family.documentation
    ]

    assert strange == []


def test_promtool_finds_no_fault_with_what_is_exported() -> None:
    from outside.prometheus import promtool

    import_everything()
    judged = promtool("check", "metrics", given=telemetry.written(telemetry.own_metrics())[0].decode())

    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")])
def test_promtool_understands_alerts_and_configuration(command: tuple[str, ...]) -> None:
    from outside.prometheus import promtool

    *words, file = command
    judged = promtool(*words, str(ALERTS.with_name(file)))

    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_every_alert_is_raised_by_what_it_is_for_and_by_nothing_less() -> None:
    from outside.prometheus import promtool

    tests = ALERTS.with_name("alerts_test.yml")
    declared = re.findall(r"alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    tested = re.findall(r"name: (\w+)", tests.read_text(encoding="utf-8"))
    judged = promtool("test", "rules", str(tests))

    assert len(declared) > 10
    assert set(declared) == set(tested)
    assert judged.returncode == 0, judged.stdout + judged.stderr


if __name__ == "__main__":
    sys.exit(TABLE.write_text(written(), encoding="utf-8") == 0)
