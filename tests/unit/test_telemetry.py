"""Metrics of several processes as one answer, and logs that keep secrets."""

import os
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from instrument_registry import telemetry
from instrument_registry.telemetry.watched import KnownGauge, Number, Watched


def process(*, requests: int, memory: float) -> bytes:
    registry = CollectorRegistry()
    counter = Counter("requests", 'All "of" them', ["route"], registry=registry)
    counter.labels(route='a"b\\c\nd').inc(requests)
    Gauge("memory", "Now", registry=registry).set(memory)
    seconds = Histogram("seconds", "How long", buckets=(1, 2), registry=registry)
    for number in range(requests):
        seconds.observe(1.5, {"correlation_id": f"of-{requests}-{number}"})
    return telemetry.own_metrics(registry)


def values(numbers: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(telemetry.written(numbers)[0].decode())
        for sample in family.samples
    }


class TestMerge:
    def test_counts_are_summed_and_gauges_say_whose_they_are(self) -> None:
        merged = values(telemetry.merge({"a": process(requests=2, memory=5), "b": process(requests=3, memory=7)}))

        assert merged["requests_total", (("route", 'a"b\\c\nd'),)] == 5
        assert merged["memory", (("process", "a"),)] == 5
        assert merged["memory", (("process", "b"),)] == 7
        assert merged["seconds_bucket", (("le", "2.0"),)] == 5
        assert merged["seconds_count", ()] == 5
        assert merged["seconds_sum", ()] == 7.5

    def test_who_is_gone_still_counts_but_has_no_gauge(self) -> None:
        gone = telemetry.only_sums([process(requests=4, memory=9), process(requests=1, memory=9)])

        merged = values(telemetry.merge({"a": process(requests=2, memory=5)}, ended=[gone]))

        assert merged["requests_total", (("route", 'a"b\\c\nd'),)] == 7
        assert [name for name, _ in merged if name == "memory"] == ["memory"]

    def test_of_one_is_that_one(self) -> None:
        text = process(requests=2, memory=5)

        merged = values(telemetry.merge({"a": text}))

        assert {name: value for name, value in merged.items() if name[0] != "memory"} == {
            name: value for name, value in values(text).items() if name[0] != "memory"
        }


class TestWritten:
    ACCEPTED = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

    def test_who_does_not_ask_for_openmetrics_gets_the_older_format(self) -> None:
        text, content_type = telemetry.written(process(requests=1, memory=5), accept="text/plain")

        assert content_type.startswith("text/plain")
        assert b"# TYPE requests_total counter" in text
        assert b"of-1-0" not in text

    def test_openmetrics_of_several_processes_shows_the_newest_example_of_each_bucket(self) -> None:
        merged = telemetry.merge({"a": process(requests=2, memory=5), "b": process(requests=3, memory=7)})

        text, content_type = telemetry.written(merged, accept=self.ACCEPTED)

        shown = [sample.exemplar for family in openmetrics(text.decode()) for sample in family.samples]
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        assert [each.labels for each in shown if each] == [{"correlation_id": "of-3-2"}]
        assert text.endswith(b"# EOF\n")


async def test_a_lone_process_answers_for_itself() -> None:
    gathering = telemetry.Gathering()

    assert b"process_cpu_seconds_total" in telemetry.written(await gathering())[0]


SPEAKS = """
import structlog
from instrument_registry.telemetry import configure_logging

configure_logging({form!r}, level={level!r})
log = structlog.get_logger()
log.debug("small")
log.info("usual")
log.warning("wrong")
"""


@pytest.mark.parametrize(
    ("form", "level", "said"),
    [("pretty", "auto", ["wrong"]), ("json", "auto", ["usual", "wrong"]), ("pretty", "info", ["usual", "wrong"])],
)
def test_people_are_told_what_is_wrong_and_programs_what_is_usual_too(form: str, level: str, said: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    lines = subprocess.run(
        [sys.executable, "-c", SPEAKS.format(form=form, level=level)],
        env=environment, capture_output=True, text=True, check=True,
    ).stderr.splitlines()  # fmt: skip

    assert [word for line in lines for word in ("small", "usual", "wrong") if word in line] == said


FAILS = """
import structlog
from instrument_registry.telemetry import configure_logging

def connect(url):
    raise ConnectionError("nobody answers")

configure_logging({form!r})
try:
    connect("postgresql://service:" + "hunter" + "2@localhost")
except ConnectionError:
    structlog.get_logger().exception("worker.failed")
"""


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_a_logged_failure_says_where_and_shows_no_variable(form: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", FAILS.format(form=form)], env=environment, capture_output=True, text=True, check=True
    ).stderr

    assert "nobody answers" in said
    assert "connect" in said
    assert "hunter2" not in said


class TestNumbersThatAreRead:
    def test_what_was_never_measured_is_not_told_as_nothing(self) -> None:
        registry = CollectorRegistry()
        position = KnownGauge("position", "Where", registry=registry)

        before = values(telemetry.own_metrics(registry))
        position.set(0)

        assert before == {}
        assert values(telemetry.own_metrics(registry)) == {("position", ()): 0.0}

    def test_numbers_are_those_of_the_moment_and_end_with_what_they_speak_of(self) -> None:
        registry = CollectorRegistry()
        watched: Watched[Shelf] = Watched(
            Number("books", "How many", lambda shelf: float(len(shelf.books))),
            Number("taken", "How often", lambda shelf: shelf.books, label="book", counts=True),
            registry=registry,
        )
        shelf = Shelf({"tea": 1.0})
        watched.watch(shelf)

        shelf.books["coffee"] = 2.0
        seen = values(telemetry.own_metrics(registry))
        del shelf

        assert seen == {
            ("books", ()): 2.0,
            ("taken_total", (("book", "tea"),)): 1.0,
            ("taken_total", (("book", "coffee"),)): 2.0,
        }
        assert values(telemetry.own_metrics(registry)) == {}

    def test_a_process_knows_how_much_memory_it_has(self) -> None:
        assert 10_000_000 < telemetry.used_bytes() < 10_000_000_000


class Shelf:
    """Something that can be counted."""

    def __init__(self, books: dict[str, float]) -> None:
        self.books = books
