"""The embedded database is stopped, not dead: its connections stay open. Nobody waits for it long, and all recovers."""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from journeys.test_serve import Serving, eventually

ROOT = "/api/v1/internal/instrument-registry"
NEEDS_DATABASE = f"{ROOT}/configuration/versions"
# Far below the 30 seconds after which requests are given up anyway, far above what a busy machine adds.
PATIENCE_SECONDS = 12.0
CALLERS, ROUNDS = 8, 12


@pytest.fixture
def instance() -> Iterator[Serving]:
    with tempfile.TemporaryDirectory(prefix="instrument-registry-hung-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        one = Serving(folder / "data", workers=1).start()
        yield one
        resume(one)
        one.process.terminate()
        one.process.wait(60)


def database_of(instance: Serving) -> list[psutil.Process]:
    """Every process of the embedded server."""
    (postmaster,) = instance.children("postgres")
    return [postmaster, *postmaster.children(recursive=True)]


def suspend(instance: Serving) -> None:
    for process in database_of(instance):
        with contextlib.suppress(psutil.NoSuchProcess):  # a connection's process may end by itself meanwhile
            process.suspend()


def resume(instance: Serving) -> None:
    for process in database_of(instance):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


async def ask(instance: Serving, path: str, *, times: int) -> list[httpx.Response]:
    key = (instance.data_dir / "operator.key").read_text(encoding="ascii").strip()
    headers = {"X-Internal-API-Key": key}
    async with httpx.AsyncClient(base_url=instance.url, headers=headers, timeout=PATIENCE_SECONDS) as client:
        return [await client.get(path) for _ in range(times)]


async def ask_together(instance: Serving, path: str) -> list[httpx.Response]:
    answers = await asyncio.gather(*(ask(instance, path, times=ROUNDS) for _ in range(CALLERS)))
    return [answer for some in answers for answer in some]


def answers(instance: Serving) -> bool:
    (answer,) = asyncio.run(ask(instance, NEEDS_DATABASE, times=1))
    return answer.status_code == 200


@pytest.mark.serial
class TestAHungDatabase:
    def test_is_waited_for_by_nobody_and_recovers_without_a_restart(self, instance: Serving) -> None:
        before = {process.pid for process in instance.family()}
        assert answers(instance)

        suspend(instance)
        told = asyncio.run(ask_together(instance, NEEDS_DATABASE))
        (alive,) = asyncio.run(ask(instance, "/health/live", times=1))
        resume(instance)
        eventually(lambda: answers(instance), within_seconds=30, otherwise=instance.words)

        assert {answer.status_code for answer in told} == {503}
        assert all("retry-after" in answer.headers for answer in told)
        assert "/problems/DatabaseResting" in {answer.json()["type"] for answer in told}
        assert alive.status_code == 200
        kept = {process.pid for process in instance.family() if not process.name().startswith("postgres")}
        assert kept <= before

    def test_is_waited_out_by_a_process_that_starts_meanwhile(self, instance: Serving) -> None:
        def worker() -> int | None:
            return next((child.pid for child in instance.children("worker")), None)

        def begun() -> int:
            return instance.words().count("events.sequencer_started")

        eventually(lambda: begun() == 1, within_seconds=30, otherwise=instance.words)
        suspend(instance)
        (killed,) = instance.children("worker")
        killed.kill()
        eventually(lambda: worker() not in {None, killed.pid}, within_seconds=30, otherwise=instance.words)
        started = worker()
        eventually(lambda: "database.awaited" in instance.words(), within_seconds=60, otherwise=instance.words)
        resume(instance)

        eventually(lambda: begun() == 2, within_seconds=30, otherwise=instance.words)
        assert worker() == started
        assert instance.words().count("process.crashed") == 1
