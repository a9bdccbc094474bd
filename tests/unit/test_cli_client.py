"""The CLI's client: which instance is asked, who gets the key, and what a refusal becomes."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from instrument_registry.catalog.declaring import What
from instrument_registry.catalog.overriding import Field
from instrument_registry.cli import client, declarations, overrides
from instrument_registry.cli.client import Client, NoInstance, NoKey, connect
from instrument_registry.cli.main import exit_code
from instrument_registry.errors import Invalid, RegistryError, Unavailable
from instrument_registry.settings import PREFIX


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers as it was told to, and keeps what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.path, dict(self.headers)))
        status, headers, body = server.answer
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name the server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    one.asked, one.answer = [], (200, {}, b"{}")
    one.daemon_threads = True
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(PREFIX + "DATA_DIR", str(tmp_path))


def url_of(server: http.server.ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


class TestWhom:
    def test_without_an_instance_it_says_how_to_get_one(self) -> None:
        with pytest.raises(NoInstance, match="make run"):
            connect(None, None)

    def test_another_instance_needs_a_key_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "operator.key").write_text("irk_ours", encoding="ascii")

        with pytest.raises(NoKey):
            connect("http://elsewhere:8901", None)

    def test_the_environment_names_instance_and_key(
        self, server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "key").write_text("irk_theirs\n", encoding="ascii")
        monkeypatch.setenv(PREFIX + "URL", url_of(server))
        monkeypatch.setenv(PREFIX + "KEY_FILE", str(tmp_path / "key"))

        connect(None, None).get("/search", query="m&m", limit=None, broker=["a", "b"], seed=True)

        ((path, headers),) = server.asked
        assert path == f"{client.PREFIX}/search?query=m%26m&broker=a&broker=b&seed=true"
        assert headers["X-Internal-API-Key"] == "irk_theirs"

    @pytest.mark.parametrize("url", ["elsewhere", "ftp://elsewhere", "http://", "http://x:y"])
    def test_what_is_no_address_is_refused(self, url: str) -> None:
        with pytest.raises(Invalid):
            connect(url, "irk_x")

    def test_a_key_that_would_be_a_second_header_is_refused(self) -> None:
        with pytest.raises(NoKey):
            connect("http://elsewhere", "irk_x\r\nX-Other: 1")

    def test_neither_proxy_nor_redirect_gets_the_key(
        self, server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        server.answer = (307, {"location": "/elsewhere"}, b"")

        with pytest.raises(RegistryError, match="307"):
            Client(url_of(server), "irk_x").get("/search")
        assert len(server.asked) == 1

    def test_nobody_there_is_a_sentence(self) -> None:
        with pytest.raises(NoInstance, match=r"127\.0\.0\.1:1"):
            Client("http://127.0.0.1:1", "irk_x").get("/search")


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "code"), [(401, 1), (403, 3), (404, 1), (409, 3), (413, 1), (422, 2), (500, 1), (503, 1)]
    )
    def test_each_becomes_an_exit_code(self, server: http.server.ThreadingHTTPServer, status: int, code: int) -> None:
        server.answer = (status, {}, json.dumps({"title": "Refused", "detail": "For a reason"}).encode())

        with pytest.raises(RegistryError, match="For a reason") as caught:
            Client(url_of(server), "irk_x").get("/search")
        assert (caught.value.title, exit_code(caught.value)) == ("Refused", code)

    def test_it_says_what_to_do_and_who_may_be_meant(self, server: http.server.ThreadingHTTPServer) -> None:
        problem = {
            "title": "t", "detail": "2885 means 4 instruments", "errors": [{"field": "x", "remedy": "Name one"}],
            "candidates": [{"key": f"NSE:{letter}"} for letter in "ABCD"],
        }  # fmt: skip
        server.answer = (409, {}, json.dumps(problem).encode())

        with pytest.raises(RegistryError) as caught:
            Client(url_of(server), "irk_x").post("/x", {})
        assert str(caught.value) == "2885 means 4 instruments. Name one; one of NSE:A, NSE:B, NSE:C, …"

    def test_another_programs_answer_is_not_believed(self, server: http.server.ThreadingHTTPServer) -> None:
        server.answer = (200, {}, b"<html>hello</html>")

        with pytest.raises(Unavailable):
            client.read(Client(url_of(server), "irk_x").get("/x"), dict[str, str])


class TestChoices:
    def test_the_fields_offered_are_those_that_can_be_overridden(self) -> None:
        assert set(get_args(overrides.Field)) == set(Field)

    def test_the_actions_offered_are_those_that_can_be_declared(self) -> None:
        assert set(get_args(declarations.What)) == set(What)
