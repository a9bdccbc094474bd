"""Traces: what a caller sent is handed on with whatever its request caused; spans where somebody collects them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from facts import AT, METADATA, renamed
from instrument_registry import events
from instrument_registry.catalog.ingestion import jobs
from instrument_registry.database import Database
from instrument_registry.events.webhooks.model import Format
from instrument_registry.telemetry import exporting, tracing
from instrument_registry.workers.ingest import work_one
from receivers import Receiver, delivering_from, endpoint_at, receiving, settled
from streaming import Worker, registry_of, worker

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
TRACED = events.Metadata(actor="tests", correlation_id="c-1", traceparent=PARENT)
OPENED = {"event_type": "external.desk.opened", "data": {}}


@pytest.fixture
def collected() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    spans = exporting.RecordedSpans(SimpleSpanProcessor(exporter), process="tests")
    tracing.record_with(spans)
    yield exporter
    tracing.record_with(None)
    spans.close()


@pytest_asyncio.fixture
async def here(database: Database, tmp_path: Path) -> AsyncIterator[Worker]:
    async with worker(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def observed(
    collected: InMemorySpanExporter, database: Database, tmp_path: Path
) -> AsyncIterator[tuple[Worker, InMemorySpanExporter]]:
    async with worker(database, tmp_path) as one:
        yield one, collected


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


async def told_with(here: Worker, headers: dict[str, str]) -> dict:
    """The event that a request with these headers published, read again."""
    told = await here.post("/events/publish", {"events": [OPENED]}, status=201, headers=headers)
    return await here.get(f"/events/{told['events'][0]['event_id']}")


async def told_twice(database: Database) -> None:
    """Two events: one that a caller traced, then one of nobody's trace."""
    async with database.transaction() as tx:
        await events.append(tx, renamed("TEA"), stream="one", metadata=TRACED)
    async with database.transaction() as tx:
        await events.append(tx, renamed("TEA"), stream="one", metadata=METADATA)


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}"


def name_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}-{span.context.span_id:016x}"


class TestWithoutACollector:
    async def test_what_a_caller_sends_stands_in_the_event_and_in_the_stream(self, here: Worker) -> None:
        async with here.stream(consumer_id="desk", event_types=["external.*"]) as lines:
            read = await told_with(here, {"traceparent": PARENT, "X-Correlation-ID": "c-7"})
            streamed = await lines.event()

        assert (read["traceparent"], streamed["traceparent"]) == (PARENT, PARENT)
        assert read["correlation_id"] == "c-7"

    async def test_a_request_without_one_is_not_taken_for_that_of_the_request_before(self, here: Worker) -> None:
        await told_with(here, {"traceparent": PARENT})
        read = await told_with(here, {})

        assert "traceparent" not in read

    async def test_webhooks_carry_it_in_every_form(
        self, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        endpoints = []
        for form in Format:
            url = f"http://127.0.0.1:{receiver.port}/{form}"
            made, _ = await endpoint_at(database, tmp_path, url, format=form, event_types=("test.*",), ordered=True)
            endpoints.append(made)
        await told_twice(database)
        async with delivering_from(database, tmp_path):
            for endpoint in endpoints:
                await settled(database, endpoint, 2)

        first = {form: receiver.of(f"/{form}")[0] for form in Format}
        second = [receiver.of(f"/{form}")[1] for form in Format]
        assert {one.headers["traceparent"] for one in first.values()} == {PARENT}
        assert first[Format.CLOUDEVENTS_BINARY].headers["ce-traceparent"] == PARENT
        assert f'"traceparent":"{PARENT}"' in first[Format.CLOUDEVENTS].body.decode()
        assert not any("traceparent" in " ".join(one.headers) + one.body.decode() for one in second)


class TestWithACollector:
    async def test_a_request_is_a_span_of_its_callers_trace_and_its_transactions_are_inside(
        self, observed: tuple[Worker, InMemorySpanExporter]
    ) -> None:
        here, exporter = observed
        read = await told_with(here, {"traceparent": PARENT, "X-Correlation-ID": "c-7"})

        spans = exporter.get_finished_spans()
        published = next(span for span in spans if span.name.startswith("POST"))
        steps = [span for span in spans if parent_of(span) == name_of(published)]
        assert published.name.endswith("/events/publish")
        assert parent_of(published) == f"{TRACE}-{CALLER}"
        assert {
            "http.request.method": "POST",
            "http.response.status_code": 201,
            "instrument_registry.correlation_id": "c-7",
            "instrument_registry.key_id": here.key.split("_")[1],
        }.items() <= dict(published.attributes).items()
        assert "database transaction" in {span.name for span in steps}
        assert read["traceparent"] == f"00-{name_of(published)}-01"

    async def test_a_failure_is_one_and_a_refusal_is_none(self, observed: tuple[Worker, InMemorySpanExporter]) -> None:
        here, exporter = observed
        await here.get("/events/no-such-id", status=404)
        async with here.http.get("/nowhere/at/all"):
            pass

        statuses = [(span.name, span.status.is_ok) for span in exporter.get_finished_spans() if "GET" in span.name]
        assert [ok for _, ok in statuses] == [True, True]
        assert statuses[1][0] == "GET unmatched"

    async def test_no_span_tells_the_words_of_a_failure(
        self, collected: InMemorySpanExporter, database: Database
    ) -> None:
        with pytest.raises(ValueError, match="hunter2"), tracing.span("work"):
            async with database.transaction():
                raise ValueError("hunter2")

        spans = collected.get_finished_spans()
        assert [span.name for span in spans] == ["database transaction", "work"]
        assert "hunter2" not in "".join(span.to_json() for span in spans)
        assert {span.status.description for span in spans} == {"ValueError"}

    async def test_a_delivery_is_a_span_of_the_trace_that_brought_the_event_and_its_receiver_is_told(
        self, collected: InMemorySpanExporter, database: Database, tmp_path: Path, receiver: Receiver
    ) -> None:
        endpoint, _ = await endpoint_at(database, tmp_path, receiver.url, event_types=("test.*",), ordered=True)
        await told_twice(database)
        async with delivering_from(database, tmp_path):
            await settled(database, endpoint, 2)
            received, _ = receiver.requests

        sent, *_ = [span for span in collected.get_finished_spans() if span.name == "webhook POST"]
        assert parent_of(sent) == f"{TRACE}-{CALLER}"
        assert received.headers["traceparent"] == f"00-{name_of(sent)}-01"

    async def test_a_job_goes_on_with_the_trace_of_the_request_that_asked_for_it(
        self, collected: InMemorySpanExporter, database: Database, tmp_path: Path
    ) -> None:
        async with database.transaction() as tx:
            await jobs.submit(tx, jobs.INGEST, {"broker": "nobody"}, metadata=TRACED, at=AT)
        async with database.session("jobs") as session:
            await work_one(registry_of(database, tmp_path), session)

        (job,) = [span for span in collected.get_finished_spans() if span.name == "job ingest"]
        assert parent_of(job) == f"{TRACE}-{CALLER}"
        assert not job.status.is_ok
