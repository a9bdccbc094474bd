"""Those who watch an instance: Prometheus scrapes and asks, a collector gets traces, the log tells no key."""

import contextlib
import http.server
import json
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from journeys.test_serve import Serving, eventually
from outside.prometheus import ROOT, promtool, tool

PREFIX = "/api/v1/internal/instrument-registry"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ODD_METHODS = ("PROPFIND", "MKCOL", "LOCK", "NOTIFY", "TRACE")
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@dataclass
class Collector:
    """Takes OTLP over HTTP, as collectors of traces do."""

    port: int = 0
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    def spans(self) -> list[tuple[str, Span]]:
        """Every span that came, with the process that sent it."""
        found = []
        for request in list(self.requests):
            for resource in request.resource_spans:
                said = {one.key: one.value.string_value for one in resource.resource.attributes}
                assert said["service.name"] == "instrument-registry"
                process = said["instrument_registry.process"]
                found += [(process, span) for scope in resource.scope_spans for span in scope.spans]
        return found


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()

    class Taking(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    collector.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield collector
    server.shutdown()
    server.server_close()


@dataclass
class Watched:
    """An instance, and who is told what it does."""

    serving: Serving
    collector: Collector
    key: str

    def ask(self, path: str, *, method: str = "GET", body: object = None, **headers: str) -> tuple[int, str]:
        """The answer to a request with the operator's key."""
        request = urllib.request.Request(
            self.serving.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"X-Internal-API-Key": self.key, "Content-Type": "application/json"}
            | {name.replace("_", "-"): value for name, value in headers.items()},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def series(self) -> dict[str, float]:
        """What a scrape tells, by name and labels."""
        lines = self.ask("/metrics")[1].splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with tempfile.TemporaryDirectory(prefix="instrument-registry-watched-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root the server runs as nobody, who has to pass
        with collecting() as collector:
            serving = Serving(folder / "data", workers=2)
            serving.environment |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
                "OTEL_BSP_SCHEDULE_DELAY": "200",
                "INSTRUMENT_REGISTRY_LOG_FORMAT": "json",
            }
            try:
                serving.start()
                key = (serving.data_dir / "operator.key").read_text(encoding="ascii").strip()
                eventually(lambda: serving.answers("/health/ready"), otherwise=serving.words)
                yield Watched(serving, collector, key)
            finally:
                serving.process.terminate()
                with contextlib.suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
                    serving.process.wait(30)


@pytest.fixture(scope="module")
def prometheus(watched: Watched) -> Iterator[Callable[..., object]]:
    """A Prometheus that scrapes the instance with the configuration we give away; what its API answers."""
    binary = tool("prometheus")
    with tempfile.TemporaryDirectory(prefix="instrument-registry-prometheus-") as name:
        folder = Path(name)
        shutil.copy(ROOT / "deploy" / "prometheus" / "alerts.yml", folder)
        given = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
        assert "127.0.0.1:8901" in given
        configuration = given.replace("8901", str(watched.serving.port)).replace("15s", "1s")
        (folder / "prometheus.yml").write_text(configuration, encoding="utf-8")
        with (folder / "out").open("wb") as output:
            process = subprocess.Popen(
                [
                    binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
                    "--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage", "--log.format=json",
                ],
                stdout=output, stderr=output,
            )  # fmt: skip
        try:
            eventually(lambda: bool(_listens(process.pid)), otherwise=lambda: (folder / "out").read_text())
            url = f"http://127.0.0.1:{_listens(process.pid)}/api/v1/"

            def api(path: str, **query: str) -> object:
                with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(query)}", timeout=20) as answer:
                    told = json.load(answer)
                assert told["status"] == "success"
                return told["data"]

            yield api
        finally:
            process.terminate()
            process.wait(20)


def _listens(pid: int) -> int | None:
    found = [one.laddr.port for one in psutil.Process(pid).net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return found[0] if found else None


class TestPrometheus:
    def test_it_scrapes_all_processes_and_answers_queries_of_our_metrics(
        self, watched: Watched, prometheus: Callable[..., dict]
    ) -> None:
        watched.ask(f"{PREFIX}/search?query=tea")

        def values(query: str) -> dict[str, float]:
            found = prometheus("query", query=query)["result"]
            return {one["metric"].get("process", ""): float(one["value"][1]) for one in found}

        requests = 'sum(instrument_registry_http_requests_total{route=~".*/search"}) > 0'
        eventually(lambda: bool(values(requests)))
        assert values('up{job="instrument-registry"}') == {"": 1.0}
        assert {"api-1", "api-2", "worker", "supervisor"} == values("instrument_registry_memory_usage_bytes").keys()
        assert {"api-1", "api-2", "worker"} == values("instrument_registry_db_connections_max").keys()
        assert {"api-1", "api-2"} == values("instrument_registry_index_position").keys()

    def test_it_understands_every_alert_and_none_is_raised_while_all_is_well(
        self, prometheus: Callable[..., dict]
    ) -> None:
        def states() -> dict[str, tuple[str, str]]:
            groups = prometheus("rules")["groups"]
            return {rule["name"]: (rule["health"], rule["state"]) for group in groups for rule in group["rules"]}

        eventually(lambda: bool(states()) and all(health == "ok" for health, _ in states().values()))
        pages = {name: state for name, (_, state) in states().items() if state == "firing"}
        assert len(states()) > 10
        assert pages == {}

    def test_it_keeps_which_request_took_so_long(self, watched: Watched, prometheus: Callable[..., list]) -> None:
        watched.ask(f"{PREFIX}/search?query=tea", X_Correlation_ID="found-by-its-id")

        def examples() -> str:
            query = "instrument_registry_http_request_duration_seconds_bucket"
            return json.dumps(prometheus("query_exemplars", query=query, start="0", end="4000000000"))

        eventually(lambda: "found-by-its-id" in examples())


class TestScrapes:
    def test_promtool_finds_no_fault(self, watched: Watched) -> None:
        judged = promtool("check", "metrics", given=watched.ask("/metrics")[1])

        assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")

    def test_openmetrics_of_all_processes_is_read_by_its_own_parser_and_shows_examples(self, watched: Watched) -> None:
        watched.ask(f"{PREFIX}/search?query=tea", traceparent=f"00-{TRACE}-{CALLER}-01")
        text = watched.ask("/metrics", Accept=OPENMETRICS)[1]

        families = {family.name: family for family in text_string_to_metric_families(text)}
        seconds = families["instrument_registry_http_request_duration_seconds"]
        examples = [sample.exemplar.labels for sample in seconds.samples if sample.exemplar]
        assert {"correlation_id", "trace_id"} <= set().union(*examples)
        assert len(
            {tuple(sorted(one.labels.items())) for one in seconds.samples if one.name.endswith("_count")}
        ) == sum(one.name.endswith("_count") for one in seconds.samples)

    def test_whatever_strangers_ask_for_there_are_no_more_series(self, watched: Watched) -> None:
        def hammer(round_: str) -> None:
            for number in range(60):
                odd = f"{round_}{number}"
                watched.ask(f"/nowhere/{odd}", X_Internal_API_Key=f"irk_{odd}")
                watched.ask(f"{PREFIX}/{odd}", method=ODD_METHODS[number % len(ODD_METHODS)])
                watched.ask(f"{PREFIX}/instruments/{odd}?broker={odd}", X_Correlation_ID=odd)
                watched.ask(f"/api/v1/config/{odd}")
                watched.ask("/ofrep/v1/evaluate/flags/x" + odd, method="POST", body={"context": {"targetingKey": odd}})

        hammer("a")
        before = set(watched.series())
        hammer("b")
        after = set(watched.series())

        # Told when they are first measured, whoever asks for what.
        own = re.compile(r'process="worker"|_health_check|_sla_measured')
        assert {name for name in after - before if not own.search(name)} == set()
        assert not any(re.search(r"\bb\d", name) for name in after)
        assert any('method="other",route="unmatched"' in name for name in after)
        assert any('method="GET",route="unmatched",status="404"' in name for name in after)

    @pytest.mark.obeys("SLA_AVAILABILITY_PERCENT", "SLA_P95_MS", "SLA_CACHE_MISS_PERCENT")
    def test_the_bounds_that_alerts_compare_with_follow_what_an_operator_sets(self, watched: Watched) -> None:
        changed = {"SLA_AVAILABILITY_PERCENT": 95.0, "SLA_P95_MS": 250, "SLA_CACHE_MISS_PERCENT": 35.0}
        status, _ = watched.ask(f"{PREFIX}/actuator/config", method="POST", body={**changed, "reason": "for a test"})

        def follows() -> bool:
            series = watched.series()
            bounds = {
                "sla_availability_ratio": 0.95, "sla_p95_seconds": 0.25, "sla_cache_miss_ratio": 0.35,
            }  # fmt: skip
            return all(
                series[f'instrument_registry_{name}{{process="{process}"}}'] == value
                for name, value in bounds.items()
                for process in ("api-1", "api-2", "worker")
            )

        assert status == 200
        eventually(follows, within_seconds=10)


class TestTraces:
    def test_a_collector_is_sent_a_span_of_the_callers_trace_and_its_transactions(self, watched: Watched) -> None:
        body = {"events": [{"event_type": "external.desk.opened", "data": {}}]}
        status, told = watched.ask(
            f"{PREFIX}/events/publish", method="POST", body=body, traceparent=f"00-{TRACE}-{CALLER}-01"
        )

        def ours() -> list[Span]:
            return [span for _, span in watched.collector.spans() if span.trace_id.hex() == TRACE]

        def published() -> list[Span]:
            return [span for span in ours() if span.name == f"POST {PREFIX}/events/publish"]

        eventually(lambda: bool(published()), otherwise=watched.serving.words)
        (request,) = published()
        steps = [span for span in ours() if span.parent_span_id == request.span_id]
        event = watched.ask(f"{PREFIX}/events/{json.loads(told)['events'][0]['event_id']}")[1]
        assert status == 201
        assert request.parent_span_id.hex() == CALLER
        assert request.kind == Span.SPAN_KIND_SERVER
        assert {span.name for span in steps} == {"database transaction"}
        assert json.loads(event)["traceparent"] == f"00-{TRACE}-{request.span_id.hex()}-01"


class TestLog:
    def test_every_line_of_a_request_has_its_id_and_no_line_has_a_key(self, watched: Watched) -> None:
        secret = f"irk_{'b' * 16}_{'S3cr' * 10}xyz"
        watched.ask(f"{PREFIX}/instruments/{secret}", X_Correlation_ID="of-this-request", X_Internal_API_Key=secret)
        watched.ask(f"/{secret}", X_Correlation_ID="of-this-request")

        def lines() -> list[dict]:
            said = [line for line in watched.serving.words().splitlines() if line.startswith("{")]
            return [json.loads(line) for line in said if "of-this-request" in line]

        eventually(lambda: len(lines()) >= 2)
        assert all(one["correlation_id"] == "of-this-request" for one in lines())
        assert any("irk_bbbbbbbbbbbbbbbb_***" in one["path"] for one in lines())
        assert "S3cr" not in watched.serving.words()
        assert watched.key.split("_")[2] not in watched.serving.words()
