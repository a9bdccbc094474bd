"""The solver's process: asked through a socket, it answers with every better plan as soon as it has it."""

import argparse
import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

from instrument_registry.subscriptions.planner.certifying import certificate
from instrument_registry.subscriptions.planner.checker import faults
from instrument_registry.subscriptions.planner.linear import Unsolved
from instrument_registry.subscriptions.planner.solving import plans
from instrument_registry.subscriptions.solver import wire
from instrument_registry.subscriptions.solver.wire import Answer

PR_SET_PDEATHSIG = 1
MB = 1024 * 1024


def _plans(*arguments: Any) -> Iterator[Any]:  # noqa: ANN401 - as asked
    problem, level = arguments
    return plans(problem, level=level)


def _faults(*arguments: Any) -> Iterator[Any]:  # noqa: ANN401 - as asked
    problem, plan, in_order = arguments
    yield faults(problem, plan, in_order=in_order)


def _certificate(*arguments: Any) -> Iterator[Any]:  # noqa: ANN401 - as asked
    problem, plan = arguments
    yield certificate(problem, plan)


QUESTIONS: dict[str, Callable[..., Iterator[Any]]] = {
    "plan": _plans,
    "faults": _faults,
    "certificate": _certificate,
}


def serve(channel: socket.socket) -> None:
    """Answer until nobody asks any more: for longer than the socket waits, or because the service has ended."""
    while True:
        try:
            question = wire.receive(channel)
        except (TimeoutError, wire.Closed):
            return
        try:
            for found in QUESTIONS[question.name](*question.arguments):
                wire.send(channel, Answer(found, last=False))
            wire.send(channel, Answer(None, last=True))
        except MemoryError:
            wire.send(channel, Answer(None, last=True, failed="out_of_memory"))
        except Unsolved as error:
            wire.send(channel, Answer(None, last=True, failed=f"unsolved: {error}"))
        del question


def main() -> None:
    """Take the socket that was inherited; never live on without the parent, nor with more memory than given."""
    given = argparse.ArgumentParser()
    given.add_argument("--channel", type=int, required=True)
    given.add_argument("--parent", type=int, required=True)
    given.add_argument("--memory-mb", type=int, required=True)
    given.add_argument("--idle-seconds", type=float, required=True)
    arguments = given.parse_args()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != arguments.parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and closes the channel
    resource.setrlimit(resource.RLIMIT_AS, (arguments.memory_mb * MB, arguments.memory_mb * MB))
    with socket.socket(fileno=arguments.channel) as channel:
        channel.settimeout(arguments.idle_seconds)
        serve(channel)


if __name__ == "__main__":
    main()
