"""Secrets do not reach the log: by the name of a field, by their form in a text, in lines of other people's loggers."""

import json
import os
import subprocess
import sys
import timeit

import pytest

from instrument_registry.telemetry import masking

API_KEY = f"irk_{'b' * 16}_{'S3cr-t_' * 6}x"
MASTER_KEY = f"irmk_0a1b2c3d_{'M4st-r_' * 6}x"
WEBHOOK_SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0MTI="

TEXTS = {
    f"refused {API_KEY}": ("irk_bbbbbbbbbbbbbbbb_***", "S3cr"),
    f"refused irk_{'q' * 40}": ("irk_***", "qqqq"),
    f"wrote {MASTER_KEY} there": ("irmk_*** there", "M4st"),
    f"signed with {WEBHOOK_SECRET}.": ("whsec_***", "c2Vj"),
    "cannot reach postgresql://service:hunter2@db.example/registry": ("postgresql://service:***@db.example", "hunter2"),
    "cannot reach redis://:hunter2@cache.example:6379/0": ("redis://:***@cache.example:6379/0", "hunter2"),
    "host=db password=hunter2 user=me": ("password=***", "hunter2"),
    "DB_PASSWORD=hunter2": ("DB_PASSWORD=***", "hunter2"),
    "PASSWORD:hunter2": ("PASSWORD:***", "hunter2"),
    '{"client_secret": "hunter2", "a": 1}': ('"client_secret": "***", "a": 1', "hunter2"),
    "{'access_token': 'hunter2'}": ("'access_token': '***'", "hunter2"),
    "Authorization: Bearer hunter2.abc": ("***", "hunter2"),
    "Authorization: token key:hunter2": ("***", "hunter2"),
    "sent bearer abcdef123456 along": ("bearer *** along", "abcdef"),
    "?api_key=hunter2&x=1": ("api_key=***&x=1", "hunter2"),
}
HARMLESS = (
    "The stream instrument-42 is at version 3, not 2",
    "NSE:RELIANCE at 10:30:00",
    "http://127.0.0.1:8901/docs",
    "KeyError: 'x'",
    "monkeys: many",
)


@pytest.mark.parametrize("text", TEXTS)
def test_what_looks_like_a_secret_is_taken_out_of_a_text(text: str) -> None:
    shown, hidden = TEXTS[text]

    masked = masking.masked_text(text)

    assert shown in masked
    assert hidden not in masked


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert masking.masked_text(text) == text


@pytest.mark.parametrize("text", TEXTS)
def test_the_cheap_look_at_a_line_finds_every_form(text: str) -> None:
    line = json.dumps({"event": text, "timestamp": "2026-01-02T03:04:05Z"}, separators=(",", ":"))

    assert masking.suspicious(line)


@pytest.mark.parametrize("name", ["password", "db_password", "api-key", "Authorization", "client.secret", "tokens"])
def test_names_speak_of_secrets_by_their_last_word(name: str) -> None:
    event = masking.hide_named(None, "info", {name: "hunter2", "inside": {name: ["hunter2"]}, "key_id": "abc"})

    assert event == {name: "***", "inside": {name: "***"}, "key_id": "abc"}


def test_numbers_and_nothing_are_no_secrets() -> None:
    event = {"tokens": 3, "key": None, "password": False}

    assert masking.hide_named(None, "info", dict(event)) == event


def test_the_line_of_a_request_is_not_looked_at_closely() -> None:
    line = (
        '{"client":"127.0.0.1","correlation_id":"4f2a9c1d3e5b6a70","duration_ms":1.2,"event":"http.request",'
        '"key_id":"aaaaaaaaaaaaaaaa","level":"info","method":"GET","path":"/instruments/by-token/256265",'
        '"route":"/instruments/by-token/{token}","status":200,"timestamp":"2026-11-21T20:50:47.123456Z"}'
    )

    assert not masking.suspicious(line)


SPEAKS = """
import asyncio, logging, sys, warnings
import structlog
from instrument_registry.telemetry import configure_logging

configure_logging({form!r})
log = structlog.get_logger()
with structlog.contextvars.bound_contextvars(correlation_id="of-this-request"):
    log.warning("told", password="hunter2", detail="postgresql://me:hunter2@db", headers={{"authorization": "hunter2"}})
    log.warning("told", thing=type("Thing", (), {{"__repr__": lambda _: "Thing(secret=hunter2)"}})())
    for name in ("uvicorn.error", "asyncio", "alembic.runtime"):
        logging.getLogger(name).error("refused %s", "token=hunter2")
    try:
        raise ValueError("cannot use " + "whsec_" + "hunter2hunter2")
    except ValueError:
        log.exception("failed")
        logging.getLogger("uvicorn.error").exception("failed")
"""


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_no_line_of_any_logger_tells_a_secret_and_each_says_whose_it_is(form: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", SPEAKS.format(form=form)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip

    assert "hunter2" not in said
    assert said.count("***") >= 9
    assert said.count("of-this-request") == 7
    if form == "json":
        assert [json.loads(line)["correlation_id"] for line in said.splitlines()] == ["of-this-request"] * 7


if __name__ == "__main__":  # what the look at a line costs, on this machine
    sample = '{"client":"127.0.0.1","duration_ms":1.2,"event":"http.request","path":"/search","status":200}' + "x" * 250
    print(f"{timeit.timeit(lambda: masking.suspicious(sample), number=100_000) * 10:.2f} µs a line")
