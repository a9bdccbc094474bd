"""What queries may mean, before anybody looks whether it exists."""

from datetime import date

import pytest

from instrument_registry.catalog.search.parser import read
from instrument_registry.catalog.search.reading import Reading

TODAY = date(2026, 8, 18)
TRADABLE = {
    "RELIANCE",
    "NIFTY",
    "BANKNIFTY",
    "M&M",
    "BSE",
    "MCX",
    "SENSEX",
    "GOLD",
    "USDINR",
    "BAJAJ-AUTO",
    "360ONE",
    "SENSEX50",
}


class Vocabulary:
    def named(self, text: str) -> bool:
        return text in {name.replace("-", "") for name in TRADABLE} | {"NIFTY50", "ELECTCAST"}

    def tradable(self, text: str) -> bool:
        return text in TRADABLE


def first(text: str) -> Reading:
    return next(read(text, known=Vocabulary(), as_of=TODAY))


def option(name: str, side: str, strike: float, **said: object) -> Reading:
    return Reading(words=(name,), contract=side, strike=strike)._replace(**said)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("NIFTY2690124500CE", option("NIFTY", "C", 24500, year=2026, month=9, day=1)),
        ("NIFTY26O0624500PE", option("NIFTY", "P", 24500, year=2026, month=10, day=6)),
        ("NIFTY26AUG24500CE", option("NIFTY", "C", 24500, year=2026, month=8, cycle="monthly")),
        ("NIFTY13FEB25C21100", option("NIFTY", "C", 21100, year=2025, month=2, day=13)),
        ("NIFTY01SEP2624500CE", option("NIFTY", "C", 24500, year=2026, month=9, day=1)),
        ("NIFTY 24500 CE 01 SEP 26", option("NIFTY", "C", 24500, year=2026, month=9, day=1)),
        ("NIFTY-Feb2026-25000-CE", option("NIFTY", "C", 25000, year=2026, month=2)),
        ("SENSEX25O1687300CE", option("SENSEX", "C", 87300, year=2025, month=10, day=16)),
        ("SENSEX5026AUG25000CE", option("SENSEX50", "C", 25000, year=2026, month=8, cycle="monthly")),
        ("USDINR25OCT87.875CE", option("USDINR", "C", 87.875, year=2025, month=10, cycle="monthly")),
        ("BAJAJ-AUTO26AUG9000CE", option("BAJAJ-AUTO", "C", 9000, year=2026, month=8, cycle="monthly")),
        ("nifty24500ce", option("NIFTY", "C", 24500)),
        ("nifty 24500 c", option("NIFTY", "C", 24500)),
        ("24500 put nifty", option("NIFTY", "P", 24500)),
        ("nifty 24,500 ce", option("NIFTY", "C", 24500)),
        ("nifty 24.5k ce", option("NIFTY", "C", 24500)),
        ("nifty 25th aug 24500 ce", option("NIFTY", "C", 24500, month=8, day=25)),
        ("nifty 01/09/26 24500 ce", option("NIFTY", "C", 24500, year=2026, month=9, day=1)),
        ("nifty monthly 24500 ce", option("NIFTY", "C", 24500, cycle="monthly")),
        ("m and m 3200 pe sep", option("M&M", "P", 3200, month=9)),
        ("nifty 24500", option("NIFTY", "O", 24500, exact=True)),
    ],
)
def test_option_texts(text, reading):
    assert first(text) == reading


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("NIFTY26AUGFUT", Reading(words=("NIFTY",), contract="F", year=2026, month=8, cycle="monthly")),
        ("USDINR25313FUT", Reading(words=("USDINR",), contract="F", year=2025, month=3, day=13)),
        ("NIFTY27FEB25F", Reading(words=("NIFTY",), contract="F", year=2025, month=2, day=27)),
        ("GOLD05OCT26", Reading(words=("GOLD",), contract="D", year=2026, month=10, day=5)),
        ("banknifty aug fut", Reading(words=("BANKNIFTY",), contract="F", month=8)),
        ("banknifty next month fut", Reading(words=("BANKNIFTY",), contract="F", year=2026, month=9)),
        ("nifty next fut", Reading(words=("NIFTY",), contract="F", nth=2)),
        ("bse fut", Reading(words=("BSE",), contract="F")),
    ],
)
def test_future_texts(text, reading):
    assert first(text) == reading


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("reliance", ("RELIANCE",)),
        ("m & m", ("M&M",)),
        ("bajaj auto", ("BAJAJ", "AUTO")),
        ("nifty 50", ("NIFTY", "50")),
        ("RELIANCE-EQ", ("RELIANCE",)),
        ("Ré liance", ("RE", "LIANCE")),
    ],
)
def test_names(text, words):
    assert first(text).words == words
    assert not first(text).derivative


def test_a_venue_word_standing_first_is_the_name_before_it_is_the_venue():
    readings = list(read("mcx gold", known=Vocabulary(), as_of=TODAY))

    assert (readings[0].words, readings[0].exact) == (("MCX", "GOLD"), True)
    assert (readings[1].words, readings[1].venues) == (("GOLD",), {"MCX"})


def test_numbers_beside_a_month_are_days_before_they_are_years():
    readings = list(read("nifty aug 26 24500 ce", known=Vocabulary(), as_of=TODAY))

    assert (readings[0].day, readings[0].year) == (26, 0)
    assert any((reading.day, reading.year) == (0, 2026) for reading in readings)


@pytest.mark.parametrize("text", ["", "   ", "!!!", "\x00", "-", ":", "&", "and", "%%%"])
def test_nothing_to_read(text):
    assert all(reading.words for reading in read(text, known=Vocabulary(), as_of=TODAY))


@pytest.mark.parametrize(
    "text", ["9" * 10_000, "nifty " * 5_000, "1 " * 500, "ce " * 200, "31 feb nifty", "jan feb mar"]
)
def test_readings_are_bounded(text):
    assert len(list(read(text, known=Vocabulary(), as_of=TODAY))) <= 13
