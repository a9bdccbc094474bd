"""What the tests at the HTTP door share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import market
from catalogues import Catalogue
from desk import Caller
from keeper import Template


@pytest.fixture(scope="session")
def small_market(templates: dict[str, Template]) -> Catalogue:
    """The market of `market.py`, which nobody changes."""
    return market.market(templates["embedded"])


@pytest_asyncio.fixture
async def market_reader(small_market: Catalogue, tmp_path: Path) -> AsyncIterator[Caller]:
    """Somebody who reads it."""
    async with market.reader(small_market, tmp_path) as one:
        yield one
