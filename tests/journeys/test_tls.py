"""An instance that speaks TLS by itself: found by its commands, renewed without a pause, and quick to forget a key."""

import json
import os
import shutil
import signal
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Pair, authority, issued
from instrument_registry.consumer import consume
from journeys.test_serve import ENDS_WITHIN_SECONDS, Serving, eventually

PREFIX = "/api/v1/internal/instrument-registry"
REVOKED_WITHIN_SECONDS = 2.0


class Secure(Serving):
    """An instance with a certificate."""

    def __init__(self, folder: Path, *, pair: Pair, ca: Pair) -> None:
        super().__init__(folder / "data", workers=2)
        self.pair, self.ca = pair, ca
        self.url = f"https://localhost:{self.port}"
        self.environment |= {
            "INSTRUMENT_REGISTRY_TLS_CERTIFICATE": str(pair.certificate),
            "INSTRUMENT_REGISTRY_TLS_KEY": str(pair.key),
        }

    def get(self, path: str, *, key: str | None = None) -> tuple[int, str]:
        """On a connection of its own each time, so that now one worker answers and now the other."""
        trust = ssl.create_default_context(cafile=self.ca.certificate)
        request = urllib.request.Request(self.url + path, headers={"X-Internal-API-Key": key} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=5, context=trust) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def shown(self) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self.port))


@pytest.fixture(scope="module")
def instance() -> Iterator[Secure]:
    folder = Path(tempfile.mkdtemp(prefix="instrument-registry-tls-"))
    folder.chmod(0o711)  # as root the server runs as nobody, who has to pass
    ca = authority(folder / "ca")
    one = Secure(folder, pair=issued(ca, folder / "pair", "localhost"), ca=ca)
    one.start()
    eventually(lambda: "Stop with Ctrl-C" in one.words(), otherwise=one.words)
    yield one
    one.process.terminate()
    one.process.wait(ENDS_WITHIN_SECONDS)
    shutil.rmtree(folder)


def made(instance: Secure, *arguments: str) -> tuple[str, str]:
    """A new key: its id and its text."""
    said = json.loads(instance.run("keys", "create", "somebody", *arguments, "--json").stdout)
    return said["id"], said["key"]


class TestTls:
    def test_commands_find_the_instance_of_their_folder_and_trust_its_certificate(self, instance: Secure) -> None:
        found = instance.run("search", "reliance", "--json")
        elsewhere = instance.run("search", "reliance", "--url", instance.url, "--key", "irk_x")
        instance.environment["INSTRUMENT_REGISTRY_TLS_CA"] = str(instance.ca.certificate)
        trusted = instance.run("search", "reliance", "--url", instance.url, "--key", "irk_x")
        del instance.environment["INSTRUMENT_REGISTRY_TLS_CA"]

        assert json.loads(found.stdout)["instruments"] == [], found.stderr  # it is empty, and was asked
        assert "CERTIFICATE_VERIFY_FAILED" in elsewhere.stderr
        assert "form of an API key" in trusted.stderr
        assert f"answers at https://localhost:{instance.port} " in instance.words()
        assert "--resolve" in instance.words()

    def test_a_consumer_reads_by_tls(self, instance: Secure) -> None:
        _, key = made(instance, "--scope", "operator")

        told = consume(
            instance.url, key, consumer_id="by-tls", start="earliest", follow=False, ca=instance.ca.certificate
        )

        assert "api_key.created" in [event.event_type for event in told]

    @pytest.mark.serial  # it takes the time
    def test_a_revoked_key_is_refused_by_every_worker_within_two_seconds(self, instance: Secure) -> None:
        key_id, key = made(instance)
        asked = f"{PREFIX}/jobs"
        before = {instance.get(asked, key=key)[0] for _ in range(20)}
        instance.run("keys", "revoke", key_id)
        committed = last = time.monotonic()
        while time.monotonic() < committed + REVOKED_WITHIN_SECONDS + 0.5:
            if instance.get(asked, key=key)[0] == 200:
                last = time.monotonic()
        after = {instance.get(asked, key=key)[0] for _ in range(20)}

        assert (before, after) == ({200}, {401})
        assert last - committed < REVOKED_WITHIN_SECONDS

    def test_a_renewed_certificate_is_shown_after_a_hang_up_and_a_bad_one_never(self, instance: Secure) -> None:
        first = instance.shown()
        renewed = issued(instance.ca, instance.data_dir.parent / "renewed", "localhost")
        files = (instance.pair.certificate, instance.pair.key)
        for file, new in zip(files, (renewed.certificate, renewed.key), strict=True):
            os.replace(new, file)
        os.kill(instance.process.pid, signal.SIGHUP)
        eventually(lambda: "restart.done" in instance.words(), otherwise=instance.words)
        second = instance.shown()
        instance.pair.key.write_text("nonsense", encoding="ascii")
        os.kill(instance.process.pid, signal.SIGHUP)
        eventually(lambda: instance.words().count("restart.done") == 2, otherwise=instance.words)

        assert first != second == instance.shown()
        assert "restart.kept_the_old_one" in instance.words()
        assert instance.answers()
