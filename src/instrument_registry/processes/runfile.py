"""One instance a data folder: its lock, and the note that tells others where it is."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from instrument_registry.errors import Conflict, Unavailable
from instrument_registry.settings import Settings


class AlreadyRunning(Conflict):
    """Another instance holds the data folder."""

    title = "The registry is already running"


class NotRunning(Unavailable):
    """Nobody told us where the database is."""

    title = "The registry is not running"


@dataclass(frozen=True, slots=True)
class RunFile:
    """Where a running instance is; holds passwords, so mode 0600."""

    pid: int
    url: str
    started_at: str
    database_url: str
    owner_database_url: str | None
    certificate: str | None = None  # the file of the one it shows, if it speaks TLS

    @staticmethod
    def path(data_dir: Path) -> Path:
        """Where the note lies."""
        return data_dir / "run.json"

    def write(self, data_dir: Path) -> None:
        """Tell others, all or nothing."""
        from instrument_registry.processes.embedded import write_private  # who only reads the note is in a hurry

        write_private(self.path(data_dir), json.dumps(asdict(self)))

    @classmethod
    def remove(cls, data_dir: Path) -> None:
        """Tell others that nobody is there any more."""
        cls.path(data_dir).unlink(missing_ok=True)


@contextlib.contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Hold a data folder; the kernel lets go of it whenever and however this process ends.

    Raises: AlreadyRunning, saying where the other one is.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    # As root the embedded server runs as nobody, who must be able to pass through here.
    data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
    with open(data_dir / "run.lock", "a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _taken(data_dir, lock.name) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def running(data_dir: Path) -> RunFile | None:
    """The instance that holds a data folder, if one does and is far enough to be asked."""
    try:
        with open(data_dir / "run.lock", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        with contextlib.suppress(FileNotFoundError):
            return RunFile(**json.loads(RunFile.path(data_dir).read_text(encoding="utf-8")))
    return None


def service_database_url(settings: Settings) -> str:
    """Where the service's data is: by the settings, else with the instance that runs in the data folder.

    Raises: NotRunning.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return _running_or_refuse(settings.data_dir).database_url


def owner_database_url(settings: Settings) -> str:
    """Where migrations connect: the owner's URL if there is one, else the service's; Raises: NotRunning."""
    for secret in (settings.owner_database_url, settings.database_url):
        if secret is not None:
            return secret.get_secret_value()
    found = _running_or_refuse(settings.data_dir)
    return found.owner_database_url or found.database_url


def _running_or_refuse(data_dir: Path) -> RunFile:
    found = running(data_dir)
    if found is None:
        raise NotRunning(
            f"No registry runs in {data_dir}: start it with `make run`, or set INSTRUMENT_REGISTRY_DATABASE_URL"
        )
    return found


def _taken(data_dir: Path, lock: str) -> AlreadyRunning:
    found = running(data_dir)
    if found is not None:
        return AlreadyRunning(f"It answers at {found.url} (process {found.pid}, data in {data_dir})", url=found.url)
    pid = Path(lock).read_text(encoding="ascii").strip() or "unknown"
    return AlreadyRunning(f"Process {pid} is starting or stopping in {data_dir}; try again in a moment")
