"""Spans for a collector: OpenTelemetry's SDK, set by its own environment variables. Imported where one is named."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from instrument_registry.telemetry.tracing import Attributes, Kind

SERVICE = "instrument-registry"
KINDS = {"internal": trace.SpanKind.INTERNAL, "server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT}
_w3c = TraceContextTextMapPropagator()


class RecordedSpan:
    """A span of OpenTelemetry's."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """How this work is named to whoever it is handed to."""
        return _named(self._span.get_span_context())

    def tell(self, attributes: Attributes) -> None:
        """Say more about it."""
        self._span.set_attributes(_known(attributes))

    def named(self, name: str) -> None:
        """Name it anew, now that it is known what it is."""
        self._span.update_name(name)

    def failed(self, why: str) -> None:
        """Mark it as gone wrong."""
        self._span.set_status(trace.StatusCode.ERROR, why)


class RecordedSpans:
    """Makes spans, and hands those that have ended to whoever collects them."""

    def __init__(self, collecting: SpanProcessor, *, process: str) -> None:
        # What the environment says of the service (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) wins over this.
        mine = {"service.name": SERVICE, "instrument_registry.process": process}
        said = {name: value for name, value in Resource.create().attributes.items() if _is_said(name, value)}
        self._provider = TracerProvider(resource=Resource.create(mine | said), shutdown_on_exit=False)
        self._provider.add_span_processor(collecting)
        self._tracer = self._provider.get_tracer("instrument_registry")

    @contextmanager
    def span(self, name: str, *, kind: Kind, parent: str | None, attributes: Attributes) -> Iterator[RecordedSpan]:
        """A span that is the present one inside the block; a failure that leaves the block is told."""
        given = None if parent is None else _w3c.extract({"traceparent": parent}, context=context.Context())
        made = self._tracer.start_span(name, context=given, kind=KINDS[kind], attributes=_known(attributes))
        with _ended(made), trace.use_span(made, record_exception=False, set_status_on_exception=False):
            yield RecordedSpan(made)

    def step(self, name: str) -> AbstractContextManager[object]:
        """A span inside the present one, if there is one, and never the present one itself."""
        if not trace.get_current_span().is_recording():
            return nullcontext()
        return _ended(self._tracer.start_span(name))

    def traceparent(self) -> str | None:
        """The present span, as it is named to others."""
        return _named(trace.get_current_span().get_span_context())

    def close(self) -> None:
        """Hand over what is left."""
        self._provider.shutdown()


def to_collector(process: str) -> RecordedSpans:
    """Spans for the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, sent in the background by a thread."""
    return RecordedSpans(BatchSpanProcessor(OTLPSpanExporter()), process=process)


@contextmanager
def _ended(span: trace.Span) -> Iterator[None]:
    """See that a span ends; of a failure its kind is told and not its words, which may hold a secret."""
    try:
        yield
    except BaseException as error:
        span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        span.end()


def _named(seen: trace.SpanContext) -> str | None:
    if not seen.is_valid:
        return None
    return f"00-{seen.trace_id:032x}-{seen.span_id:016x}-{int(seen.trace_flags):02x}"


def _known(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in attributes.items() if value is not None}


def _is_said(name: str, value: object) -> bool:
    return not (name == "service.name" and str(value).startswith("unknown_service"))
