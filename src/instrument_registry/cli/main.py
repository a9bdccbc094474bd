"""`instrument-registry`: the table of commands; each is imported when it is called.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 refused (already running, quarantined, not in this state).
"""

import logging
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, NoReturn

import typer
from typer._click import Command, Context
from typer.core import TyperCommand, TyperGroup

from instrument_registry.errors import Conflict, Forbidden, Invalid, RegistryError

FAILED, USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is: a function, or a `typer.Typer` with commands of its own, in a module of this package."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "serve": Entry("serve", "serve", "Run everything in the foreground."),
    "api": Entry("serve", "api", "Answer HTTP with one process."),
    "worker": Entry("serve", "worker", "Do the background work with one process."),
    "migrate": Entry("serve", "migrate", "Bring the database to the tables this version needs."),
    "ingest": Entry("ingest", "ingest", "Bring brokers' instrument dumps into the catalogue."),
    "search": Entry("search", "search", "Find instruments by what a trader types."),
    "resolve": Entry("resolve", "resolve", "Say what keys, tokens, ISINs and symbols mean."),
    "show": Entry("show", "show", "Show an instrument with its tokens and its history."),
    "chain": Entry("chain", "chain", "Show an option chain."),
    "diff": Entry("diff", "diff", "Say what changed between two market dates, or two dump files."),
    "export": Entry("export", "export", "Write the catalogue, or a part of it, to a file."),
    "summary": Entry("summary", "summary", "Say what the catalogue holds and how fresh it is."),
    "aliases": Entry("aliases", "app", "List, add and remove other names."),
    "overrides": Entry("overrides", "app", "List, set and withdraw fields set against the files."),
    "declarations": Entry("declarations", "app", "List and add corporate actions."),
    "quarantine": Entry("quarantine", "app", "Look at dumps that were kept out; release or discard them."),
    "schedule": Entry("schedule", "app", "Say when each broker's dump is fetched by itself."),
    "config": Entry("config", "app", "Parameters and toggles: what is in force, changed and undone."),
    "toggles": Entry("toggles", "app", "Turn features off and on."),
    "tasks": Entry("tasks", "app", "Background work: how it is doing; a turn at once."),
    "top": Entry("top", "top", "Show how it is doing right now."),
    "secrets": Entry("secrets", "app", "Secrets: set, read, rotated; and the master keys that wrap them."),
    "limits": Entry("limits", "app", "How often callers may ask; keys with limits of their own."),
    "retention": Entry("retention", "app", "How long what is kept; let the rest go."),
    "archive": Entry("archive", "app", "Months of facts and of the audit in files; bring one back."),
    "projections": Entry("projections", "app", "What is derived from the facts; build it anew."),
    "webhooks": Entry("webhooks", "app", "List, create and change addresses that are sent events."),
    "deliveries": Entry("deliveries", "app", "Look at what was sent to webhooks; send it once more."),
    "events": Entry("events", "app", "Read and follow what happened; publish some; dead letters."),
    "consumers": Entry("consumers", "app", "List, create, move and remove who follows the facts."),
    "profiles": Entry("profiles", "app", "What users want live data of; their limits and conflicts."),
    "plan": Entry("plan", "app", "Who is carried where: plan, look, apply, put back."),
    "what-if": Entry("plan", "what_if", "Say what would be planned if something were otherwise."),
    "demands": Entry("demands", "app", "Who wants live data of what; put and released."),
    "ladders": Entry("ladders", "app", "Where ladders stand, and the prices they follow."),
    "audit": Entry("audit", "app", "Search, verify, prove and export who changed what."),
    "doctor": Entry("doctor", "doctor", "Say what is wrong and how to mend it."),
    "capacity": Entry("capacity", "app", "What accounts at brokers can carry, and how their connections are."),
    "ticker": Entry("ticker", "ticker", "Hold an account's connections to its broker and carry what is planned."),
    "keys": Entry("keys", "app", "Create, list and revoke API keys."),
}


class Commands(TyperGroup):
    """Lists the table; imports a command when it is called or asked for its own help."""

    def list_commands(self, ctx: Context) -> list[str]:
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Enough of a command to list it."""
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else TyperCommand(name=cmd_name, help=entry.help)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """The command itself."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, None if name is None or listed is None else _load(name), rest


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # panels would cost a quarter of a second
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The one master catalogue of tradable instruments for trading systems.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 refused.",
)


def run() -> NoReturn:
    """The program: a foreseen failure is one sentence on standard error and an exit code."""
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries mutter is no sentence of ours
    try:
        app()
    except RegistryError as error:
        print(f"{error.title}: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


def exit_code(error: RegistryError) -> int:
    """What a program calling us learns from a failure."""
    if isinstance(error, Invalid):
        return USAGE
    return REFUSED if isinstance(error, Conflict | Forbidden) else FAILED


@app.callback()
def instrument_registry(
    show_version: Annotated[bool, typer.Option("--version", help="Say the version and stop.", is_eager=True)] = False,
) -> None:
    """The one master catalogue of tradable instruments for trading systems."""
    if show_version:
        from importlib.metadata import version

        print(version("instrument-registry"))
        raise typer.Exit


def _load(name: str) -> Command:
    entry = COMMANDS[name]
    found = getattr(import_module(f"instrument_registry.cli.{entry.module}"), entry.attribute)
    group = found if isinstance(found, typer.Typer) else typer.Typer()
    if group is not found:
        group.command(name=name)(found)
    # What holds for the program holds for its parts, however they were made.
    group.rich_markup_mode, group.pretty_exceptions_enable, group._add_completion = None, False, False
    command = typer.main.get_command(group)
    command.name = name
    return command
