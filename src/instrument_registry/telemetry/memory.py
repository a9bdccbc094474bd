"""How much memory this process has."""

import contextlib
import ctypes
import gc
import os
import resource
import sys

from prometheus_client import Gauge

STATM = "/proc/self/statm"
PAGE_BYTES = resource.getpagesize()
MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024

USED = Gauge("instrument_registry_memory_usage_bytes", "Memory that a process has in use")


def used_bytes() -> float:
    """What is resident now; where the system does not say, the most there ever was."""
    try:
        descriptor = os.open(STATM, os.O_RDONLY)
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT_BYTES)
    try:
        return float(int(os.read(descriptor, 100).split()[1]) * PAGE_BYTES)
    finally:
        os.close(descriptor)


def give_back() -> None:
    """Let the system have what was freed; the C library keeps some otherwise."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


USED.set_function(used_bytes)
