"""From which level on each part of the program logs: changed while it runs, one comparison for every line."""

import logging
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from rapidfuzz.process import extractOne
from structlog.typing import FilteringBoundLogger

PARTS = (
    "access", "audit", "breakers", "catalog", "configuration", "consumer", "database", "events", "http", "limits",
    "operations", "planner", "retention", "secrets", "supervisor", "telemetry", "ticker", "webhooks", "worker",
)  # fmt: skip
OTHERS = "*"
LEVELS = {
    "debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
    "critical": logging.CRITICAL,
}  # fmt: skip
_NAMES = {number: name for name, number in LEVELS.items()}


class Part(structlog.WriteLogger):
    """Where the lines of one part of the program go, and from which level on."""

    def __init__(self, file: TextIO, threshold: int) -> None:
        super().__init__(file)
        self.threshold = threshold


class Parts:
    """Every part of this process that has a level; makes loggers for structlog."""

    def __init__(self) -> None:
        self._file: TextIO | None = None
        self._usual = logging.INFO
        self._set: dict[str, int] = {}
        self._parts: dict[str, Part] = {}

    def begin(self, file: TextIO, usual: int) -> "Parts":
        """Write there from now on; parts that nobody has set log from the usual level on."""
        self._file, self._usual = file, usual
        self._parts.clear()
        return self

    def __call__(self, *names: str) -> Part:
        """The logger of a part."""
        assert self._file is not None, "logging has not been configured"
        name = names[0] if names else OTHERS
        if name not in self._parts:
            self._parts[name] = Part(self._file, self._threshold(name))
        return self._parts[name]

    def set(self, levels: Mapping[str, str]) -> None:
        """Let exactly these parts log from these levels on, the others as usual."""
        self._set = {name: LEVELS[level] for name, level in levels.items()}
        for name, part in self._parts.items():
            part.threshold = self._threshold(name)

    def shown(self) -> dict[str, str]:
        """From which level on each part logs."""
        return {name: _NAMES.get(self._threshold(name), "info") for name in (*PARTS, OTHERS)}

    def is_set(self, name: str) -> bool:
        """Whether somebody has set the level of a part itself."""
        return name in self._set

    def _threshold(self, name: str) -> int:
        return self._set.get(name, self._set.get(OTHERS, self._usual))


parts = Parts()


def _method(name: str, level: int) -> Any:  # noqa: ANN401 - what structlog expects of its own methods
    written = "warning" if name == "warn" else name

    # Not by way of structlog's own method: packing the fields once more costs half a microsecond a line.
    def method(self: Any, event: str, *args: object, **fields: object) -> object:  # noqa: ANN401
        if level < self._logger.threshold:
            return None
        return self._proxy_to_logger(written, event % args if args else event, **fields)

    method.__name__ = name
    return method


# `exception` is an error with its traceback, and goes through `error`; the asynchronous forms are used nowhere.
LevelledLogger: type[FilteringBoundLogger] = type(
    "LevelledLogger",
    (structlog.make_filtering_bound_logger(logging.DEBUG),),
    {name: _method(name, level) for name, level in (LEVELS | {"warn": logging.WARNING}).items()},
)


def read_levels(text: str) -> dict[str, str]:
    """Levels by part as they are written: http=debug,audit=warning; Raises: ValueError, saying what is wrong."""
    found: dict[str, str] = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        name, sign, level = (word.strip().lower() for word in pair.partition("="))
        if not sign:
            raise ValueError(f"has {pair[:50]!r} without a level; write {pair[:50]}=debug")
        if name not in (*PARTS, OTHERS):
            near = extractOne(name[:100], PARTS, score_cutoff=50)
            guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(PARTS)} and {OTHERS} for the others"
            raise ValueError(f"names the part {name[:50]!r}, which does not exist; {guess}")
        if level not in LEVELS:
            near = extractOne(level[:100], list(LEVELS), score_cutoff=50)
            guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(LEVELS)}"
            raise ValueError(f"has the level {level[:50]!r}, which does not exist; {guess}")
        found[name] = level
    return found


def written_levels(levels: Mapping[str, str]) -> str:
    """Levels by part as one text."""
    return ",".join(f"{name}={level}" for name, level in sorted(levels.items()))


def wrong_levels(text: str) -> str | None:
    """What is wrong with levels as they are written, if something is."""
    try:
        read_levels(text)
    except ValueError as error:
        return str(error)
    return None
