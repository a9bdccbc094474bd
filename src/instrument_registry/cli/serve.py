"""The commands that run the registry."""

import contextlib
import json
from typing import Annotated, Literal

import typer

from instrument_registry.settings import Settings, traces_wanted

WithoutKeys = Annotated[
    list[str] | None,
    typer.Option("--without-key", help="The id of a master key that is lost: start though it wraps stored secrets."),
]
HIDDEN_FD = typer.Option("--fd", hidden=True, help="A listening socket this process was handed.")
HIDDEN_CONTROL = typer.Option("--control", hidden=True, help="The line to the supervisor that started this process.")


def serve(
    workers: Annotated[int | None, typer.Option("--workers", "-w", help="Processes that answer HTTP.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    without_keys: WithoutKeys = None,
) -> None:
    """Run everything: the embedded database unless a URL is set, the workers, the listening socket.

    SIGTERM or Ctrl-C stops it, SIGHUP replaces the workers one by one without losing a request.
    """
    from instrument_registry import telemetry
    from instrument_registry.processes.supervisor import serve as supervise

    settings = Settings.load(workers=workers, host=host, port=port)
    traces_wanted()  # what is wrong there is said once, and not by every process
    telemetry.configure_logging(settings.log_format, level=settings.log_level)
    supervise(settings, say=_say, without_keys=without_keys or ())


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone, the signal that says so on its way
        print(text, flush=True)


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    without_keys: WithoutKeys = None,
    fd: Annotated[int | None, HIDDEN_FD] = None,
    control: Annotated[int | None, HIDDEN_CONTROL] = None,
) -> None:
    """Answer HTTP with one process; for a service manager that starts each process itself."""
    from instrument_registry.processes.api import run_api

    run_api(Settings.load(host=host, port=port), fd=fd, control=control, without_keys=without_keys or ())


def worker(without_keys: WithoutKeys = None, control: Annotated[int | None, HIDDEN_CONTROL] = None) -> None:
    """Do the background work with one process; a second one waits in the wings."""
    from instrument_registry.processes.background import run_background

    run_background(Settings.load(), control=control, without_keys=without_keys or ())


def migrate(
    half: Annotated[
        Literal["pre", "post", "all"],
        typer.Option(
            help="pre: before the new code runs; post: after the last old process ended; all: nothing else runs."
        ),
    ] = "all",
    service_role: Annotated[
        str | None, typer.Option(help="An existing login role that shall be allowed to work as the service.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer for programs.")] = False,
) -> None:
    """Bring the database to the tables this version needs.

    Connects as the owner: INSTRUMENT_REGISTRY_OWNER_DATABASE_URL, else INSTRUMENT_REGISTRY_DATABASE_URL, else the
    instance that runs in the data folder.
    """
    from instrument_registry.database import migrations
    from instrument_registry.processes.runfile import owner_database_url

    done = migrations.migrate(owner_database_url(Settings.load()), half=half, service_login=service_role)
    if as_json:
        print(json.dumps({"applied": [f"{step.number}_{step.half}_{step.name}" for step in done]}))
    else:
        print("\n".join(f"applied {step.number}_{step.half}_{step.name}" for step in done) or "Nothing to do.")
