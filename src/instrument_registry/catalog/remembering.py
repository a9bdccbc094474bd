"""Answers of the last minutes, by the state of the catalogue they were made from: none outlives a change."""

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import date, datetime

import msgspec

from instrument_registry.catalog.search import NEVER, Index, Page, Query
from instrument_registry.configuration.model import Snapshot
from instrument_registry.configuration.parameters import CACHE_TTL_SECONDS, QUERY_OPTIMIZATION, SEARCH_TIMEOUT

TTL_SECONDS = 300.0
BYTES_MAX = 24 * 1024 * 1024

_Asked = tuple[int, date, datetime | None, Query]


class Answers:
    """A bounded memory of search pages."""

    def __init__(
        self,
        *,
        ttl_seconds: float = TTL_SECONDS,
        bytes_max: int = BYTES_MAX,
        elapsed: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._ttl_seconds, self._bytes_max, self._elapsed = ttl_seconds, bytes_max, elapsed
        self._pages: OrderedDict[_Asked, tuple[float, Page]] = OrderedDict()
        self._bytes = 0
        self.hits = 0
        self.misses = 0

    def search(
        self, index: Index, query: Query, *, terms: Snapshot | None = None, known_at: datetime | None = None
    ) -> Page:
        """The page, remembered or made, from the index of what was known at an instant, on an operator's terms.

        Raises: InvalidQuery, SearchTookTooLong.
        """
        ttl_seconds, until = self._ttl_seconds, NEVER
        if terms is not None:
            ttl_seconds = terms[CACHE_TTL_SECONDS]
            until = self._elapsed() + terms[SEARCH_TIMEOUT] / 1000
            if not terms[QUERY_OPTIMIZATION]:
                query = msgspec.structs.replace(query, structured=False)
        # The view is asked once: its position and day are those of the answer, whatever happens meanwhile.
        view = index.view
        asked = (view.position, view.as_of, known_at, query)
        known = self._pages.get(asked)
        if known is not None and self._elapsed() - known[0] < ttl_seconds:
            self.hits += 1
            self._pages.move_to_end(asked)
            return known[1]
        self.misses += 1
        page = index.search(query, until=until)
        if page.position == view.position:
            self._remember(asked, page)
        return page

    @property
    def held(self) -> tuple[int, int]:
        """How many pages are remembered, and how many bytes they have."""
        return len(self._pages), self._bytes

    def forget(self) -> int:
        """Forget everything; how many pages there were."""
        count = len(self._pages)
        self._pages.clear()
        self._bytes = 0
        return count

    def _remember(self, asked: _Asked, page: Page) -> None:
        before = self._pages.pop(asked, None)
        if before is not None:
            self._bytes -= len(before[1].body)
        self._pages[asked] = (self._elapsed(), page)
        self._bytes += len(page.body)
        while self._bytes > self._bytes_max:
            _, (_, dropped) = self._pages.popitem(last=False)
            self._bytes -= len(dropped.body)
