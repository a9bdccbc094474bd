"""The configuration service and Redis go away while requests come in: none fails, and what was said last is in force.

A start without what is required ends with one sentence. How much slower requests become is measured by bench/outage.py.
"""

import asyncio
import contextlib
import json
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from config_service import KEY, ConfigService, config_service
from journeys.test_serve import Serving, eventually
from redis_servers import RedisServer, binaries, serving

PREFIX = "INSTRUMENT_REGISTRY_"
ROOT = "/api/v1/internal/instrument-registry"
RATE = 200
IN_FLIGHT_MOST = 100


class Aside:
    """A configuration service in a thread of its own, which outlives whoever blocks."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._begun = threading.Event()
        self._end = asyncio.Event()
        self.service = ConfigService()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> ConfigService:
        self._thread.start()
        self._begun.wait()
        return self.service

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        async with config_service() as service:
            self.service = service
            self._begun.set()
            await self._end.wait()


@pytest.fixture
def service() -> Iterator[ConfigService]:
    with Aside() as one:
        yield one


@pytest.fixture
def instance(service: ConfigService) -> Iterator[Serving]:
    with tempfile.TemporaryDirectory(prefix="instrument-registry-outage-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        one = Serving(folder / "data", workers=2)
        one.environment |= {
            f"{PREFIX}CONFIG_SERVICE_URL": service.url,
            f"{PREFIX}CONFIG_SERVICE_KEY": KEY,
            f"{PREFIX}CONFIG_SERVICE_REFRESH": "1",
            f"{PREFIX}CONFIG_SERVICE_REQUIRED": "MAX_RESULTS_PER_PAGE",
        }
        yield one
        process = getattr(one, "process", None)
        if process is not None and process.poll() is None:
            process.terminate()
            process.wait(30)


def told(instance: Serving, path: str) -> dict:
    key = (instance.data_dir / "operator.key").read_text(encoding="ascii").strip()
    request = urllib.request.Request(instance.url + path, headers={"X-Internal-API-Key": key})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def page_size(instance: Serving) -> tuple[object, str]:
    shown = told(instance, "/api/v1/config/MAX_RESULTS_PER_PAGE")
    return shown["value"], shown["source"]


async def load(instance: Serving, *, seconds: float) -> list[int]:
    """Requests at a fixed rate, whatever the answers do; their statuses, 0 for none."""
    key = (instance.data_dir / "operator.key").read_text(encoding="ascii").strip()
    paths = (
        f"{ROOT}/search?query=nifty&limit=5", f"{ROOT}/configuration/versions", f"{ROOT}/events?limit=5",
        "/api/v1/config/CACHE_TTL_SECONDS",
    )  # fmt: skip
    statuses: list[int] = []
    limits = httpx.Limits(max_connections=IN_FLIGHT_MOST)
    async with httpx.AsyncClient(headers={"X-Internal-API-Key": key}, timeout=30, limits=limits) as client:

        async def one(number: int) -> None:
            try:
                answer = await client.get(instance.url + paths[number % len(paths)])
            except httpx.HTTPError:
                statuses.append(0)
            else:
                statuses.append(answer.status_code)

        began, number, sent = time.perf_counter(), 0, set()
        while (due := number / RATE) < seconds:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            task = asyncio.create_task(one(number))
            sent.add(task)
            task.add_done_callback(sent.discard)
            number += 1
        await asyncio.gather(*sent)
    return statuses


class TestAStart:
    def test_without_what_is_required_ends_with_one_sentence_that_names_it(
        self, instance: Serving, service: ConfigService
    ) -> None:
        service.status = 503

        ended = instance.run("serve")

        assert ended.returncode != 0
        last = ended.stderr.strip().splitlines()[-1]
        assert "MAX_RESULTS_PER_PAGE is required and has no value but its default" in last
        assert "answered 503" in last
        assert "Traceback" not in ended.stderr


@pytest.mark.serial
class TestAnOutage:
    @pytest.mark.skipif(not binaries(), reason="there is no Redis to stop")
    def test_of_configuration_service_and_redis_fails_no_request(
        self, instance: Serving, service: ConfigService, tmp_path: Path
    ) -> None:
        hold_out(instance, service, tmp_path, seconds=6)

    @pytest.mark.nemesis
    @pytest.mark.timeout(1200)
    @pytest.mark.skipif(not binaries(), reason="there is no Redis to stop")
    def test_of_ten_minutes_fails_no_request(self, instance: Serving, service: ConfigService, tmp_path: Path) -> None:
        hold_out(instance, service, tmp_path, seconds=600)


def hold_out(instance: Serving, service: ConfigService, folder: Path, *, seconds: float) -> None:
    service.values[PREFIX + "MAX_RESULTS_PER_PAGE"] = 33
    with serving(next(iter(binaries().values())), folder) as redis:
        instance.environment |= {f"{PREFIX}EVENT_BROKER_URL": f"redis://127.0.0.1:{redis.port}/0"}
        instance.start()
        before = page_size(instance)
        _away(service, redis)
        during = asyncio.run(load(instance, seconds=seconds))
        kept = page_size(instance)
        breakers = {one["dependency"]: one["state"] for one in told(instance, f"{ROOT}/actuator/breakers")["breakers"]}
        service.release()
        service.status, service.values[PREFIX + "MAX_RESULTS_PER_PAGE"] = None, 34
        redis.start()
        told_anew = lambda: page_size(instance) == (34, "external")  # noqa: E731
        eventually(told_anew, within_seconds=90, otherwise=instance.words)

    assert before == kept == (33, "external")
    assert {status: during.count(status) for status in set(during)} == {200: len(during)}
    assert len(during) >= RATE * seconds * 0.9
    assert breakers["database"] == "closed"
    assert breakers["redis"] != "closed"


def _away(service: ConfigService, redis: RedisServer) -> None:
    service.slow = True  # it takes requests and answers none
    with contextlib.suppress(OSError):
        redis.end()
