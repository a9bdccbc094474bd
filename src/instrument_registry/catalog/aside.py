"""Long work in a thread that nobody waits for when the process ends, as they do for those of asyncio's own pool."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Generic, TypeVar

Made = TypeVar("Made")


async def aside(work: Callable[[], Made]) -> Made:
    """What some work makes; whoever is cancelled while it goes on does not wait for its end. Raises: what it raises."""
    handover: _Handover[Made] = _Handover()

    def run() -> None:
        with handover:
            handover.result = work()

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await handover.made


class _Handover(Generic[Made]):
    """Gives what a thread made, or why it failed, to the loop that waits for it."""

    result: Made

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.made: asyncio.Future[Made] = self._loop.create_future()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            self._loop.call_soon_threadsafe(self._settle, error)
        return True

    def _settle(self, error: BaseException | None) -> None:
        if self.made.cancelled():
            return
        if error is None:
            self.made.set_result(self.result)
        else:
            self.made.set_exception(error)
