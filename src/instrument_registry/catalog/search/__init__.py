"""Search: what traders type, to instruments, from memory."""

from instrument_registry.catalog.search.aliases import Alias, read_aliases, seed
from instrument_registry.catalog.search.answers import NEVER
from instrument_registry.catalog.search.index import Index
from instrument_registry.catalog.search.query import (
    Filters,
    Hit,
    InvalidQuery,
    Page,
    Query,
    SearchTookTooLong,
    SortBy,
    SortOrder,
)
from instrument_registry.catalog.search.rows import IndexRow, TokenRow
from instrument_registry.catalog.search.shelf import digest_of

__all__ = [
    "NEVER", "Alias", "Filters", "Hit", "Index", "IndexRow", "InvalidQuery", "Page", "Query", "SearchTookTooLong",
    "SortBy", "SortOrder", "TokenRow", "digest_of", "read_aliases", "seed",
]  # fmt: skip
