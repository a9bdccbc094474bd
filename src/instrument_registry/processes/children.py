"""Starting a child process that cannot outlive its parent by accident."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Account:
    """The system account a child runs under when the parent is root and the child may not be."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    on_parent_death: signal.Signals,
    account: Account | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, so that Ctrl-C reaches the parent alone.

    Call it from the main thread: Linux sends the death signal when the thread that forked ends.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=cwd,
        env=environment,
        pass_fds=pass_fds,
        process_group=0,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        preexec_fn=_bound_to_parent(on_parent_death),
    )


def _bound_to_parent(death: signal.Signals) -> Callable[[], None] | None:
    # Changing the user clears the setting, so it is made last, in the child. Elsewhere than on Linux children
    # notice by their closed control channel, and PostgreSQL is adopted at the next start.
    if LIBC is None:
        return None
    parent = os.getpid()

    def bind() -> None:
        assert LIBC is not None
        LIBC.prctl(PR_SET_PDEATHSIG, int(death), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), death)

    return bind
