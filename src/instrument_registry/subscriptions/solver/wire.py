"""Messages between the service and its solver: one byte on a socket, and with it a file in memory that holds the rest.

So a message of a hundred megabytes is written without waiting for whoever reads it, who may be stopped; arrays are
not copied when they are read. Only the service and its own child have the two ends: that is why pickles may be read.
"""

import mmap
import os
import pickle
import socket
import struct
import tempfile
from dataclasses import dataclass
from typing import Any

LENGTH = struct.Struct("<Q")
ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Question:
    """What to work out, by name, and from what."""

    name: str
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; better ones follow unless it is the last. `failed` says why there is none."""

    found: Any
    last: bool
    failed: str = ""


class Closed(ConnectionError):
    """The other side has ended."""


def send(channel: socket.socket, message: object) -> None:
    """Send any object; Raises: OSError when nobody is there any more."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(body), *(one.raw() for one in buffers)]
    with tempfile.TemporaryFile(dir=_directory()) as file:
        file.write(LENGTH.pack(len(parts)) + b"".join(LENGTH.pack(part.nbytes) for part in parts))
        for part in parts:
            file.seek(-file.tell() % ALIGNED, os.SEEK_CUR)
            file.write(part)
        file.flush()
        socket.send_fds(channel, [b"."], [file.fileno()])


def receive(channel: socket.socket) -> Any:  # noqa: ANN401 - whatever was sent
    """The next message; Raises: Closed, OSError."""
    mark, files, _, _ = socket.recv_fds(channel, 1, 1)
    if not mark:
        raise Closed("the other side has ended")
    with os.fdopen(files[0], "rb") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    (count,) = LENGTH.unpack_from(memory)
    at, parts = LENGTH.size * (count + 1), []
    for number in range(count):
        (size,) = LENGTH.unpack_from(memory, LENGTH.size * (number + 1))
        at += -at % ALIGNED
        parts.append(memory[at : at + size])
        at += size
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 # nosec B301 - from our own child or parent, see above


def _directory() -> str | None:
    """Where files are in memory, where there is such a place."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 # nosec B108 - unlinked before anything is written
