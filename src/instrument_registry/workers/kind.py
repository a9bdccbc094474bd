"""What a worker is."""

from collections.abc import Awaitable, Callable

from instrument_registry.wiring import Registry

Worker = Callable[[Registry], Awaitable[None]]
