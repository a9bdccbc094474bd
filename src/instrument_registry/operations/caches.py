"""What a process remembers so as not to work it out again: by name, with how often that helped, and forgotten at once.

Copies that are kept up to date (the index of today, keys, the configuration) are no caches: nothing may forget them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from rapidfuzz.process import extractOne

from instrument_registry.catalog import feed
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.catalog.search import lexicon
from instrument_registry.errors import Invalid
from instrument_registry.operations.orders import EVICT


class UnknownCache(Invalid):
    """Choose the name it says is nearest, or list them."""

    title = "There is no such cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a cache holds, and how often it was asked; bytes where they are counted."""

    entries: int
    hits: int
    misses: int
    bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One cache of a process."""

    name: str
    holds: str
    held: Callable[[], Held]
    evict: Callable[[], object]


class _Remembering(Protocol):
    """A function under `lru_cache`."""

    def cache_info(self) -> tuple[int, int, int | None, int]: ...
    def cache_clear(self) -> None: ...


def caches_of(catalogue: LiveCatalogue) -> dict[str, Cache]:
    """Every cache of a process that answers, by name."""
    found = (
        Cache(
            name="answers", holds="pages of searches, for the state of the catalogue they were made from",
            held=lambda: _answers(catalogue), evict=catalogue.answers.forget,
        ),
        Cache(
            name="day_indexes", holds="indexes of past days and past knowledge, as they were asked for",
            held=lambda: _days(catalogue), evict=catalogue.evict_days,
        ),
        _remembered("expiry_instants", "at which instant contracts end", feed.expires_at),
        _remembered("instrument_extras", "members of answers that many instruments share", feed.extra_members),
        _remembered("search_words", "what words of queries mean by themselves", lexicon.meaning),
    )  # fmt: skip
    return {one.name: one for one in found}


def actions_of(caches: Mapping[str, Cache]) -> dict[str, Callable[[], object]]:
    """What to do when the eviction of a cache is ordered."""
    return {EVICT + name: cache.evict for name, cache in caches.items()}


def chosen(caches: Mapping[str, Cache], name: str | None) -> list[str]:
    """The caches that are meant, all without a name; Raises: UnknownCache."""
    if name is None:
        return sorted(caches)
    if name not in caches:
        near = extractOne(name[:200], sorted(caches), score_cutoff=50)
        remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(caches))}"
        raise UnknownCache(f"There is no cache {name[:100]!r}. {remedy}", field="name", value=name[:100], remedy=remedy)
    return [name]


def _answers(catalogue: LiveCatalogue) -> Held:
    held = catalogue.answers.held
    return Held(entries=held[0], bytes=held[1], hits=catalogue.answers.hits, misses=catalogue.answers.misses)


def _days(catalogue: LiveCatalogue) -> Held:
    return Held(entries=len(catalogue.days_kept()), hits=catalogue.day_hits, misses=catalogue.day_misses)


def _remembered(name: str, holds: str, function: _Remembering) -> Cache:
    return Cache(name=name, holds=holds, held=partial(_counted, function), evict=function.cache_clear)


def _counted(function: _Remembering) -> Held:
    hits, misses, _, entries = function.cache_info()
    return Held(entries=entries, hits=hits, misses=misses)
