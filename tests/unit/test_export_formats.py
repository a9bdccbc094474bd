"""Rows become bytes as they come: what is held does not grow with how many there are."""

from collections.abc import Iterator
from itertools import islice, pairwise

import pytest

from instrument_registry.catalog.export_formats import BATCHES_A_GROUP, FORMATS
from instrument_registry.catalog.exporting import Row


def row(number: int) -> Row:
    told = {
        "id": f"{number:026}", "key": f"NSE:TEA{number}", "symbol": f"TEA{number}", "name": "TEA, GREEN",
        "kind": "equity", "venue": "NSE", "mic": "XNSE", "segment": "CM", "exchange": "NSE", "series": "EQ",
        "lot_size": 1, "status": "active", "is_test": False, "streamable": True, "currency": "INR", "cfi": "ESXXXX",
        "tokens": {"zerodha": str(number)},
    }  # fmt: skip
    return Row(**dict.fromkeys(Row._fields) | told)


@pytest.mark.parametrize("name", FORMATS)
def test_an_endless_catalogue_flows_with_at_most_one_row_group_held(name: str) -> None:
    taken = 0

    def endless() -> Iterator[list[Row]]:
        nonlocal taken
        while True:
            assert taken < 10 * BATCHES_A_GROUP, "everything is read before anything is sent"
            yield [row(number) for number in range(taken * 10, taken * 10 + 10)]
            taken += 1

    pieces = FORMATS[name].encode(endless(), ["zerodha"])
    ahead = []
    for place, piece in enumerate(islice(pieces, 6)):
        assert place == 0 or len(piece) > 0
        ahead.append(taken)

    assert all(later - earlier <= BATCHES_A_GROUP for earlier, later in pairwise(ahead))
    pieces.close()  # type: ignore[attr-defined]


def test_text_is_quoted_where_it_must_be() -> None:
    (content,) = filter(None, FORMATS["csv"].encode([[row(7)]], ["upstox", "zerodha"]))
    header, line, end = content.decode().split("\n")

    assert header.endswith(",overridden,token_upstox,token_zerodha")
    assert line.startswith('00000000000000000000000007,NSE:TEA7,TEA7,"TEA, GREEN",equity,NSE,XNSE,CM,NSE,EQ,,')
    assert line.endswith(",false,true,,INR,ESXXXX,,,,,,,,7")
    assert end == ""
