"""Two commands, half of them: `serve` starts everything, keeps it running, and leaves nothing behind."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import psycopg
import pytest

from conftest import DatabaseUrls
from instrument_registry.processes.api import GRACE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 60.0
ENDS_WITHIN_SECONDS = 60.0
OTHERS_START_WITHIN_SECONDS = 8.0


class Serving:
    """One `instrument-registry serve` on a data folder and a free port of its own."""

    command = ("serve",)

    def __init__(self, data_dir: Path, *, workers: int = 2) -> None:
        self.data_dir = data_dir
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("INSTRUMENT_REGIS")
        }
        self.environment |= {
            "INSTRUMENT_REGISTRY_DATA_DIR": str(data_dir),
            "INSTRUMENT_REGISTRY_PORT": str(self.port),
            "INSTRUMENT_REGISTRY_WORKERS": str(workers),
            "INSTRUMENT_REGISTRY_DEMO": "off",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.said = data_dir.parent / f"{data_dir.name}.out"

    def start(self) -> "Serving":
        self.launch()
        self.wait()
        return self

    def launch(self) -> None:
        with self.said.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "instrument_registry", *self.command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start_in_terminal(self) -> int:
        """Start with a terminal of its own; the other end of the terminal is the answer."""
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "instrument_registry", *self.command],
            env=self.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.wait()
        return ours

    def wait(self) -> None:
        eventually(self.answers, within_seconds=START_TIMEOUT_SECONDS, otherwise=self.words)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "instrument_registry", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def words(self) -> str:
        if not self.said.exists():
            return ""
        return self.said.read_text(encoding="utf-8")

    def answers(self, path: str = "/health") -> bool:
        return self.get(path)[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def family(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def children(self, kind: str) -> list[psutil.Process]:
        def is_of_kind(child: psutil.Process) -> bool:
            try:
                words = child.cmdline()
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                return False
            return kind in words or (bool(words) and words[0].endswith(f"/{kind}"))

        return [child for child in psutil.Process(self.process.pid).children() if is_of_kind(child)]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    for folder in (tmp_path, *tmp_path.parents):  # as root the server runs as nobody, who has to pass
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    one = Serving(tmp_path / "data")
    yield one
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in one.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    one.process.wait()


@contextlib.contextmanager
def demonstrated(environment: Mapping[str, str] = {}) -> Iterator[Serving]:
    """An instance with one worker and the demo universe loaded, for all tests of a module."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root the server runs as nobody, who has to pass
        one = Serving(folder / "data", workers=1)
        one.environment |= {"INSTRUMENT_REGISTRY_DEMO": "on", **environment}
        try:
            one.start()
            loaded = lambda: '"loaded, as of' in one.get("/health/ready")[1]  # noqa: E731
            eventually(loaded, within_seconds=120, otherwise=one.words)
            yield one
        finally:
            one.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(30)


def eventually(
    happens: Callable[[], bool], *, within_seconds: float = 60.0, otherwise: Callable[[], str] = lambda: ""
) -> None:
    deadline = time.monotonic() + within_seconds
    while not happens():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_seconds} s: {otherwise()[-3000:]}")
        time.sleep(0.05)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


class TestServing:
    def test_starts_says_where_it_is_and_leaves_nothing_behind(self, serving: Serving) -> None:
        serving.start()
        family = serving.family()
        eventually(lambda: "Stop with Ctrl-C" in serving.words())
        second = serving.run("serve")
        modes = [
            stat.S_IMODE((serving.data_dir / name).stat().st_mode)
            for name in ("run.json", "operator.key", "database.json")
        ]
        note = json.loads((serving.data_dir / "run.json").read_text(encoding="utf-8"))
        serving.process.terminate()
        code = serving.process.wait(ENDS_WITHIN_SECONDS)

        assert (second.returncode, serving.url in second.stderr) == (3, True)
        assert modes == [0o600] * 3
        assert (note["url"], note["pid"]) == (serving.url, serving.process.pid)
        assert f'curl -s -H "X-Internal-API-Key: $(cat {serving.data_dir}/operator.key)"' in serving.words()
        assert code == 0
        assert gone(family)
        assert not (serving.data_dir / "run.json").exists()

    def test_a_second_start_is_warm_and_finds_the_same_data(self, serving: Serving) -> None:
        serving.start()
        key = (serving.data_dir / "operator.key").read_text(encoding="ascii")
        serving.process.terminate()
        serving.process.wait(ENDS_WITHIN_SECONDS)
        serving.start()

        assert (serving.data_dir / "operator.key").read_text(encoding="ascii") == key
        assert "Preparing the tables" in serving.words()
        assert serving.words().count("Preparing the tables") == 1

    def test_killing_the_supervisor_ends_everyone_and_the_next_start_recovers(self, serving: Serving) -> None:
        serving.start()
        family = serving.family()
        serving.process.kill()
        serving.process.wait()
        eventually(lambda: gone(family))
        serving.start()

        assert serving.answers()

    def test_whoever_was_answered_once_is_not_told_to_wait_by_a_worker_that_still_reads(self, serving: Serving) -> None:
        serving.launch()
        eventually(lambda: bool(serving.children("api")), otherwise=serving.words)
        (first,) = serving.children("api")[:1]
        eventually(lambda: len(serving.children("api")) == 2, otherwise=serving.words)
        first.suspend()  # the other one has imported and read everything long before it
        with contextlib.suppress(pytest.fail.Exception):
            eventually(serving.answers, within_seconds=OTHERS_START_WITHIN_SECONDS)
        first.resume()
        serving.wait()

        assert {serving.get("/health")[0] for _ in range(400)} == {200}

    def test_the_database_that_is_killed_comes_back(self, serving: Serving) -> None:
        serving.start()
        (server,) = serving.children("postgres")
        server.kill()
        eventually(lambda: [child.pid for child in serving.children("postgres")] not in ([], [server.pid]))
        eventually(lambda: serving.answers("/health"), otherwise=serving.words)

    def test_a_worker_that_is_killed_is_replaced_and_its_counts_stay(self, serving: Serving) -> None:
        serving.start()
        before = counted(serving)
        for child in serving.children("api"):
            child.kill()
        eventually(lambda: len(serving.children("api")) == 2 and serving.answers())

        assert counted(serving) >= before
        assert 'instrument_registry_process_restarts_total{process="api-1"} 1.0' in serving.get("/metrics")[1]

    def test_crashing_again_and_again_is_given_up(self, serving: Serving) -> None:
        serving.start()
        deadline = time.monotonic() + 60
        while serving.process.poll() is None and time.monotonic() < deadline:
            for child in serving.children("worker"):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            time.sleep(0.1)

        assert serving.process.wait(ENDS_WITHIN_SECONDS) == 1
        assert "5 crashes within a minute, the last of worker" in serving.words()

    def test_a_rolling_restart_loses_no_request(self, serving: Serving) -> None:
        serving.start()
        before = {child.pid for child in serving.children("api")}
        failed: list[int] = []
        asked = [0]
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                status, _ = serving.get("/health/live")
                asked[0] += 1
                if status != 200:
                    failed.append(status)

        askers = [threading.Thread(target=ask) for _ in range(2)]
        for asker in askers:
            asker.start()
        serving.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: not before & {child.pid for child in serving.children("api")} and len(serving.children("api")) == 2,
            within_seconds=60,
            otherwise=serving.words,
        )
        stop.set()
        for asker in askers:
            asker.join()

        assert asked[0] > 100
        assert failed == []

    def test_one_scrape_speaks_for_all_processes(self, serving: Serving) -> None:
        serving.start()
        for _ in range(20):
            serving.get("/health/live")

        def speakers() -> set[str]:
            return set(re.findall(r'process_open_fds{process="([^"]+)"}', serving.get("/metrics")[1]))

        eventually(lambda: speakers() == {"api-1", "api-2", "worker", "supervisor"})
        assert counted(serving) >= 20

    def test_a_taken_port_is_said(self, serving: Serving) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", serving.port))
            other.listen()
            answer = serving.run("serve")
        serving.process = subprocess.Popen([sys.executable, "-c", ""])

        assert (answer.returncode, answer.stdout) == (1, "")
        assert str(serving.port) in answer.stderr


class TestInATerminal:
    def test_ctrl_c_stops_everyone(self, serving: Serving) -> None:
        terminal = serving.start_in_terminal()
        family = serving.family()
        os.write(terminal, b"\x03")

        assert serving.process.wait(ENDS_WITHIN_SECONDS) == 0
        assert gone(family)
        os.close(terminal)

    def test_closing_the_window_stops_everyone(self, serving: Serving) -> None:
        terminal = serving.start_in_terminal()
        family = serving.family()
        os.close(terminal)

        assert serving.process.wait(ENDS_WITHIN_SECONDS) == 0
        assert gone(family)


class TestMakeRun:
    def test_a_signal_to_make_alone_stops_everyone(self, serving: Serving) -> None:
        stamp = ROOT / ".venv" / "run.stamp"
        if not stamp.exists() and "CI" not in os.environ:
            pytest.skip("`make run` has not been used here, and would install things")
        serving.environment.pop("PYTHONPATH")
        with serving.said.open("wb") as output:
            serving.process = subprocess.Popen(
                ["make", "run"],
                cwd=ROOT,
                env=serving.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        serving.wait()
        family = serving.family()
        serving.process.terminate()

        assert serving.process.wait(ENDS_WITHIN_SECONDS) == -signal.SIGTERM
        assert len(family) > 10
        eventually(lambda: gone(family))


class TestOneByOne:
    """As a service manager runs it: against a database URL, each process by itself."""

    def test_a_lone_api_answers_for_itself_and_ends_when_told(
        self, serving: Serving, database_urls: DatabaseUrls
    ) -> None:
        serving.command = ("api",)
        serving.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = database_urls.service
        serving.start()
        _, text = serving.get("/metrics")
        serving.process.terminate()

        assert re.search(r"^process_open_fds \S+$", text, re.MULTILINE)
        assert serving.process.wait(ENDS_WITHIN_SECONDS) == 0

    def test_an_api_that_builds_a_past_day_ends_when_told_and_says_so(
        self, serving: Serving, database_urls: DatabaseUrls
    ) -> None:
        serving.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = database_urls.service
        made = serving.run("keys", "create", "reader", "--scope", "reader", "--json")
        key = json.loads(made.stdout)["key"]
        serving.command = ("api",)
        serving.start()
        with psycopg.connect(database_urls.owner) as owner:  # the build waits for as long as this transaction lasts
            owner.execute("lock table instrument_registry.overrides in access exclusive mode")
            answers: list[tuple[int, str | None]] = []
            asking = threading.Thread(target=lambda: answers.append(searched(serving, key)))
            asking.start()
            eventually(lambda: somebody_waits(database_urls.owner))
            began = time.monotonic()
            serving.process.terminate()
            ended = serving.process.wait(timeout=30)
            took = time.monotonic() - began
            asking.join()

        assert (ended, answers) == (0, [(503, "1")])
        assert took < GRACE_SECONDS  # which requests are given

    def test_serve_uses_the_database_it_is_given(self, serving: Serving, database_urls: DatabaseUrls) -> None:
        serving.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = database_urls.service
        serving.environment["INSTRUMENT_REGISTRY_OWNER_DATABASE_URL"] = database_urls.owner
        serving.start()

        assert serving.children("postgres") == []
        assert not (serving.data_dir / "postgres").exists()
        assert json.loads(serving.run("migrate", "--json").stdout) == {"applied": []}

    def test_a_worker_ends_when_told(self, serving: Serving, database_urls: DatabaseUrls) -> None:
        serving.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = database_urls.service
        serving.process = subprocess.Popen(
            [sys.executable, "-m", "instrument_registry", "worker"], env=serving.environment
        )

        def at_work() -> bool:
            with psycopg.connect(database_urls.owner) as owner:
                question = "select 1 from pg_stat_activity where application_name like 'instrument-registry worker%'"
                return owner.execute(question).fetchone() is not None

        eventually(at_work)
        time.sleep(1)
        serving.process.terminate()

        assert serving.process.wait(ENDS_WITHIN_SECONDS) == 0

    def test_without_a_database_the_way_out_is_said(self, serving: Serving) -> None:
        serving.process = subprocess.Popen([sys.executable, "-c", ""])
        answer = serving.run("api")

        assert answer.returncode == 1
        assert "make run" in answer.stderr
        assert "Traceback" not in answer.stderr


def searched(serving: Serving, key: str) -> tuple[int, str | None]:
    """What a search of a past day is answered, and when one may ask again."""
    path = "/api/v1/internal/instrument-registry/search?query=a&as_of=2026-08-18"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(serving.url + path, headers={"X-Internal-API-Key": key}), timeout=30
        ) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Retry-After"]


def somebody_waits(owner_url: str) -> bool:
    with psycopg.connect(owner_url) as owner:
        question = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        return owner.execute(question).fetchone() is not None


def counted(serving: Serving) -> float:
    _, text = serving.get("/metrics")
    line = r'^instrument_registry_http_requests_total{[^}]*route="/health/live"[^}]*} (\S+)$'
    return sum(float(number) for number in re.findall(line, text, re.MULTILINE))
