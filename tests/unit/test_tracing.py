"""What is understood of a traceparent; and that nothing of OpenTelemetry's SDK is there without a collector."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instrument_registry.settings import InvalidSettings, traces_wanted
from instrument_registry.telemetry import tracing

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.mark.parametrize("given", [PARENT, f"cc-{TRACE}-{CALLER}-01", f"cc-{TRACE}-{CALLER}-01-what-the-future-brings"])
def test_a_later_version_is_read_as_far_as_it_is_known(given: str) -> None:
    assert tracing.understood(given) == PARENT


@pytest.mark.parametrize(
    "given",
    [
        "",
        PARENT.upper(),
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{CALLER}-01",
        f"{PARENT}-more",
        f"{PARENT}\n",
        f"cc-{TRACE}-{CALLER}-01more",
        "x" * 4000,
    ],
)
def test_what_is_no_traceparent_goes_no_further(given: str) -> None:
    assert tracing.understood(given) is None


def test_what_is_carried_ends_with_the_work() -> None:
    with tracing.span("job", parent=PARENT) as span:
        inside = tracing.traceparent()

    assert (span.traceparent, inside, tracing.traceparent()) == (PARENT, PARENT, None)


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_environment_says_whether_spans_are_made(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert traces_wanted() is wanted


def test_where_nothing_sends_traces_it_is_said_how_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENDPOINT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)

    with pytest.raises(InvalidSettings, match="make traces"):
        traces_wanted()


def test_what_everybody_installs_holds_nothing_of_it() -> None:
    locked = (Path(__file__).resolve().parents[2] / "requirements.lock").read_text(encoding="utf-8")

    assert "opentelemetry-api==" in locked  # FastAPI's
    assert "opentelemetry-sdk==" not in locked
    assert "protobuf==" not in locked


def test_a_protocol_that_is_not_spoken_is_refused_with_the_one_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSettings, match=r"OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf.*4318"):
        traces_wanted()


STARTS = """
import sys
from instrument_registry import telemetry
from instrument_registry.processes import api, background
from instrument_registry.http.app import published
from instrument_registry.settings import traces_wanted

with telemetry.traces_sent(traces_wanted(), process="api"):
    published()
heavy = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "google")  # redis imports the SDK of metrics
print(" ".join(name for name in sys.modules if name.startswith(heavy)))
"""


def test_without_a_collector_nothing_of_the_sdk_is_imported() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    imported = subprocess.run(
        [sys.executable, "-c", STARTS], env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip

    assert imported == []
