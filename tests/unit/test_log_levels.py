"""Each part of the program logs from a level of its own, changed while it runs."""

import io
import re
from pathlib import Path

import pytest
import structlog

import instrument_registry
from instrument_registry.configuration.model import BadValue
from instrument_registry.configuration.parameters import LOG_LEVELS, PARAMETERS
from instrument_registry.settings import Settings
from instrument_registry.telemetry.levels import LEVELS, PARTS, LevelledLogger, Parts, read_levels


def logger(parts: Parts, name: str) -> structlog.typing.FilteringBoundLogger:
    return LevelledLogger(parts(name), [lambda _, level, event: f"{level} {event['event']}"], {})


def spoken(*, levels: str, usual: int = LEVELS["info"]) -> list[str]:
    """What two parts say at two levels each, the levels having been set after the loggers were made."""
    out = io.StringIO()
    parts = Parts().begin(out, usual)
    http, audit = logger(parts, "http"), logger(parts, "audit")
    parts.set(read_levels(levels))
    http.debug("small")
    http.warning("%s went %d times", "wrong", 2)
    audit.debug("small here")
    audit.info("usual here")
    audit.warn("odd here")
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ("", ["warning wrong went 2 times", "info usual here", "warning odd here"]),
        ("http=debug", ["debug small", "warning wrong went 2 times", "info usual here", "warning odd here"]),
        ("http=error,audit=debug", ["debug small here", "info usual here", "warning odd here"]),
        ("*=error", []),
        (" * = ERROR , audit=warning ", ["warning odd here"]),
    ],
)
def test_what_is_set_is_said_and_no_more(levels: str, said: list[str]) -> None:
    assert spoken(levels=levels) == said


def test_taking_a_level_back_brings_the_usual_one_back() -> None:
    parts = Parts().begin(io.StringIO(), LEVELS["warning"])
    parts("http")
    parts.set({"http": "debug"})
    before = parts("http").threshold
    parts.set({})

    assert (before, parts("http").threshold, parts.shown()["http"]) == (10, 30, "warning")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("htp=debug", "did you mean http?"), ("http=debgu", "did you mean debug?"), ("http", "write http=debug")],
)
def test_what_cannot_be_is_refused_with_the_nearest(text: str, remedy: str) -> None:
    with pytest.raises(BadValue, match="LOG_LEVELS") as refused:
        LOG_LEVELS.read(text)

    assert remedy in str(refused.value)


@pytest.mark.parametrize("name", PARAMETERS)
def test_no_parameter_is_taken_for_a_misspelt_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = PARAMETERS[name]
    monkeypatch.setenv(parameter.environment_name, parameter.text(parameter.default))

    assert Settings.load()


def test_every_logger_belongs_to_a_part() -> None:
    source = Path(instrument_registry.__file__).parent
    made = {
        f"{path.relative_to(source)}: {call}"
        for path in source.rglob("*.py")
        for call in re.findall(r"get_logger\((.*?)\)", path.read_text(encoding="utf-8"))
        if call.strip("\"'") not in PARTS
    }

    assert made == set(), "give it one of levels.PARTS, or add a part there"
