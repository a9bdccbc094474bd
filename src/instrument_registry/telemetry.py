"""Logs and metrics: how a process speaks, and how the numbers of several processes become one answer."""

import json
import logging
import math
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Literal

import msgspec
import structlog
from prometheus_client import REGISTRY, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SUMMED = ("counter", "histogram", "summary")
# Local variables hold passwords and keys.
NO_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
Gatherer = Callable[[], Awaitable[bytes]]

_line = msgspec.json.Encoder(enc_hook=repr, order="sorted")

disable_created_metrics()  # type: ignore[no-untyped-call]


def configure_logging(form: Literal["auto", "json", "pretty"] | str = "auto", *, level: str = "auto") -> None:
    """Log to standard error: lines for programs, or for people where a person looks; people are told what is wrong."""
    pretty = form == "pretty" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.types.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [
            structlog.processors.ExceptionRenderer(NO_LOCALS),
            _as_line,
        ]
    )
    if level == "auto":
        level = "warning" if pretty else "info"
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_without_meta, *final])
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def own_metrics() -> bytes:
    """This process's metrics as Prometheus text."""
    return generate_latest(REGISTRY)


class Gathering:
    """Where `/metrics` gets its answer: this process alone, or all of them through the supervisor."""

    def __init__(self) -> None:
        self._through: Gatherer | None = None

    def through(self, gatherer: Gatherer | None) -> None:
        """Ask somebody else from now on."""
        self._through = gatherer

    async def __call__(self) -> bytes:
        """Everything that is known, as Prometheus text."""
        return own_metrics() if self._through is None else await self._through()


gather = Gathering()


def merge(texts: Mapping[str, bytes], *, ended: Iterable[bytes] = ()) -> bytes:
    """One text out of many: counters and histograms are summed, gauges say which process they speak of.

    `ended` are the last words of processes that are gone: their sums still count, their gauges do not.
    """
    families: dict[str, Metric] = {}
    for process, text in texts.items():
        for family in text_string_to_metric_families(text.decode()):
            _add(families, family, process=process)
    for text in ended:
        for family in text_string_to_metric_families(text.decode()):
            if family.type in SUMMED:
                _add(families, family, process=None)
    return "".join(line for name in sorted(families) for line in _lines(families[name])).encode()


def only_sums(texts: Iterable[bytes]) -> bytes:
    """What stays true of processes that are gone."""
    return merge({}, ended=texts)


def _add(families: dict[str, Metric], family: Metric, *, process: str | None) -> None:
    known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
    if family.type not in SUMMED:
        known.samples += [_labelled(sample, process) for sample in family.samples]
        return
    sums = {(sample.name, tuple(sorted(sample.labels.items()))): sample for sample in known.samples}
    for sample in family.samples:
        at = (sample.name, tuple(sorted(sample.labels.items())))
        before = sums[at].value if at in sums else 0.0
        sums[at] = Sample(sample.name, sample.labels, before + sample.value)
    known.samples = list(sums.values())


def _labelled(sample: Sample, process: str | None) -> Sample:
    labels = sample.labels if process is None else sample.labels | {"process": process}
    return Sample(sample.name, labels, sample.value)


def _lines(family: Metric) -> Iterable[str]:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    text = family.documentation.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {name} {text}\n# TYPE {name} {'untyped' if family.type == 'unknown' else family.type}\n"
    for sample in family.samples:
        labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(sample.labels.items()))
        yield (
            f"{sample.name}{{{labels}}} {_number(sample.value)}\n"
            if labels
            else f"{sample.name} {_number(sample.value)}\n"
        )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def _as_line(_: object, __: str, event: structlog.types.EventDict) -> str:
    """An event as one line of JSON: a third of what `json` takes, and there is one for every request."""
    try:
        return _line.encode(event).decode()
    except (UnicodeEncodeError, TypeError):  # lone surrogates, keys that are no text
        return json.dumps(event, default=repr, sort_keys=True)


def _without_meta(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
