"""Lines for programs, or for people where a person looks; none of them tells a secret."""

import json
import logging
import sys
from typing import Literal

import msgspec
import structlog

from instrument_registry.telemetry import levels, masking

# Local variables hold passwords and keys.
NO_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
_line = msgspec.json.Encoder(enc_hook=repr, order="sorted")


def configure_logging(form: Literal["auto", "json", "pretty"] | str = "auto", *, level: str = "auto") -> None:
    """Log to standard error: lines for programs, or for people where a person looks; people are told what is wrong."""
    pretty = form == "pretty" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        masking.hide_named,
    ]
    final: list[structlog.types.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
            _masked,
        ]
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
        wrapper_class=levels.LevelledLogger,
        logger_factory=levels.parts.begin(sys.stderr, threshold),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_without_meta, *final])
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def _as_line(_: object, __: str, event: structlog.types.EventDict) -> str:
    """An event as one line of JSON: a third of what `json` takes, and there is one for every request."""
    line = _json(event)
    return _json(masking.masked(event)) if masking.suspicious(line) else line


def _json(event: object) -> str:
    try:
        return _line.encode(event).decode()
    except (UnicodeEncodeError, TypeError):  # lone surrogates, keys that are no text
        return json.dumps(event, default=repr, sort_keys=True, separators=(",", ":"))


def _masked(_: object, __: str, line: structlog.typing.ProcessorReturnValue) -> str:
    return masking.masked_text(str(line))


def _without_meta(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
