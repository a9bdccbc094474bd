"""What the instruments of a request mean: from memory, without asking the tables for what memory knows."""

from datetime import UTC, date, datetime

import pytest

from index_rows import cash
from instrument_registry.breakers import Breakers
from instrument_registry.catalog.model import Status
from instrument_registry.catalog.search import Index, TokenRow
from instrument_registry.database import Database
from instrument_registry.subscriptions.profiles.admission import Asked
from instrument_registry.subscriptions.profiles.finding import Named, look_up

TOKEN = TokenRow("zerodha", "NSE", "1", None, "X")
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(scope="module")
def index() -> Index:
    rows = [
        cash("NSE:TEALEAF", number=1, tokens=(TOKEN,), isin="INE111Q01013"),
        cash("BSE:TEALEAF", number=2, tokens=(), isin="INE111Q01013"),
        cash("NSE:GOLDBOND;GB", number=3, tokens=(TOKEN,), streamable=False),
        cash("NSE:HALTED", number=4, tokens=(TOKEN,), status="suspended"),
    ]
    return Index.build(rows, date(2026, 8, 18))


async def found(index: Index, text: str) -> Asked:
    """One look-up; a database that is asked would refuse."""
    database = Database(NOWHERE, breaker=Breakers().of("nothing", resting=ConnectionError))  # type: ignore[arg-type]
    return (await look_up(database, index, [Named(text=text)]))[0]


class TestFinding:
    async def test_a_key_in_any_case_or_an_id_or_a_token_is_the_instrument(self, index: Index) -> None:
        by_key, by_id = await found(index, "nse:tealeaf"), await found(index, f"{1:026}")

        assert by_key.found == by_id.found
        assert by_key.found is not None
        assert (by_key.found.number, by_key.found.key, by_key.found.has_token) == (1, "NSE:TEALEAF", True)

    async def test_a_plain_symbol_is_the_first_listing_that_bears_it(self, index: Index) -> None:
        assert (await found(index, "TEALEAF")).found == (await found(index, "NSE:TEALEAF")).found

    async def test_what_means_several_is_nothing_until_one_is_chosen(self, index: Index) -> None:
        several = await found(index, "INE111Q01013")

        assert several.found is None
        assert set(several.nearest) == {"NSE:TEALEAF", "BSE:TEALEAF"}
        assert several.why is not None and "2 instruments" in several.why

    async def test_tells_what_admission_needs(self, index: Index) -> None:
        bond, halted, tokenless = [
            (await found(index, text)).found for text in ("NSE:GOLDBOND;GB", "NSE:HALTED", "BSE:TEALEAF")
        ]

        assert bond is not None and halted is not None and tokenless is not None
        assert (bond.streamable, halted.status, tokenless.has_token) == (False, Status.SUSPENDED, False)
        assert bond.ends_at is None or bond.ends_at > datetime(2026, 8, 18, tzinfo=UTC)
