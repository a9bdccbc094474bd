"""Memory above the warning: caches go in the order of what they are worth, then no new bulk work is begun."""

import asyncio
from collections.abc import Callable, Mapping
from enum import IntEnum

import structlog

from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.parameters import MEMORY_WARNING_MB
from instrument_registry.errors import Unavailable
from instrument_registry.operations.caches import Cache
from instrument_registry.telemetry.memory import give_back, used_bytes
from instrument_registry.telemetry.watched import Number, Watched

MB = 1_000_000
LOOK_SECONDS = 1.0
EASY_AGAIN_SHARE = 0.9
RETRY_SECONDS = 10
# Worth least first: what is large and asked for seldom, then pages that are made anew in milliseconds, then words.
ORDER = ("day_indexes", "answers", "instrument_extras", "search_words", "expiry_instants")

log = structlog.get_logger("operations")


class MemoryShort(Unavailable):
    """Ask for less, or again after `retry_after`: searches and single look-ups go on."""

    title = "Memory is short, and bulk work is not begun"


class Pressure(IntEnum):
    """How short memory is."""

    EASY = 0
    EVICTING = 1
    REFUSING = 2


class Memory:
    """What one process does when it has too much in memory."""

    def __init__(
        self,
        caches: Mapping[str, Cache],
        configuration: LiveConfiguration,
        *,
        used: Callable[[], float] = used_bytes,
        give_back: Callable[[], None] = give_back,
    ) -> None:
        self._caches, self._configuration, self._used, self._give_back = caches, configuration, used, give_back
        self._left: list[str] = []
        self.pressure = Pressure.EASY

    @property
    def warning_bytes(self) -> float:
        """Above this something is given up."""
        return float(self._configuration.now[MEMORY_WARNING_MB] * MB)

    def look(self) -> None:
        """Give up the next thing where there is too much; once a second is enough."""
        used, warning = self._used(), self.warning_bytes
        if used <= warning:
            if self.pressure is not Pressure.EASY and used < EASY_AGAIN_SHARE * warning:
                self._be(Pressure.EASY, used)
            return
        if self.pressure is Pressure.EASY:
            self._left = [name for name in ORDER if name in self._caches]
            self._be(Pressure.EVICTING, used)
        while self._left:
            cache = self._caches[self._left.pop(0)]
            if held := cache.held().entries:
                cache.evict()
                self._give_back()
                log.warning("memory.evicted", cache=cache.name, entries=held, used_mb=round(used / MB))
                return
        if self.pressure is Pressure.EVICTING:
            self._give_back()
            self._be(Pressure.REFUSING, used)

    def require_room(self, what: str = "Bulk work") -> None:
        """See that there is room for bulk work; Raises: MemoryShort."""
        if self.pressure is Pressure.REFUSING:
            mb = self._configuration.now[MEMORY_WARNING_MB]
            raise MemoryShort(
                f"{what} takes memory, and this process has more than {mb} MB in use (MEMORY_WARNING_MB)",
                parameter=MEMORY_WARNING_MB.name,
                retry_after=RETRY_SECONDS,
            )

    def condition(self) -> tuple[bool, str]:
        """Whether there is room, in words."""
        said = f"{self._used() / MB:.0f} MB in use, the warning is at {self.warning_bytes / MB:.0f} MB"
        if self.pressure is Pressure.EASY:
            return True, said
        return False, said + ("; caches go" if self.pressure is Pressure.EVICTING else "; no bulk work is begun")

    async def watch(self) -> None:
        """Look once a second, for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def _be(self, pressure: Pressure, used: float) -> None:
        self.pressure = pressure
        told = log.info if pressure is Pressure.EASY else log.warning
        told("memory.pressure", pressure=pressure.name.lower(), used_mb=round(used / MB))


ROOM: Watched[Memory] = Watched(
    Number(
        "instrument_registry_memory_pressure", "0: there is room, 1: caches go, 2: no bulk work is begun",
        lambda one: float(one.pressure),
    ),
)  # fmt: skip
