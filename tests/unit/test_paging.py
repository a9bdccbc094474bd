"""Cursors hold their position, belong to their question, and cannot be edited."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.problems import InvalidRequest


class Position(msgspec.Struct, frozen=True):
    rank: int
    key: str


positions = st.builds(Position, st.integers(0, 2**40), st.text(max_size=40))
questions = st.lists(st.one_of(st.text(max_size=20), st.integers(-5, 5), st.none()), max_size=4)


class TestCursors:
    @given(positions, questions)
    def test_a_position_comes_back(self, position: Position, question: list[object]) -> None:
        cursor = encode_cursor(position, question=question)

        assert decode_cursor(cursor, Position, question=question) == position
        assert re.fullmatch(CURSOR_PATTERN, cursor)

    @given(positions, questions, questions)
    def test_it_belongs_to_its_question(self, position: Position, asked: list[object], other: list[object]) -> None:
        cursor = encode_cursor(position, question=asked)
        if asked == other:
            return

        with pytest.raises(InvalidRequest):
            decode_cursor(cursor, Position, question=other)

    @given(positions, st.data())
    def test_editing_one_character_is_noticed(self, position: Position, data: st.DataObject) -> None:
        cursor = encode_cursor(position, question="q")
        at = data.draw(st.integers(0, len(cursor) - 2))  # the last one may hold bits that mean nothing
        other = data.draw(st.sampled_from("ABCXYZabcxyz0189-_").filter(lambda letter: letter != cursor[at]))

        with pytest.raises(InvalidRequest):
            decode_cursor(cursor[:at] + other + cursor[at + 1 :], Position, question="q")

    @given(st.text(max_size=60))
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidRequest):
            decode_cursor(text, Position, question="q")

    def test_a_position_of_another_list_is_refused(self) -> None:
        cursor = encode_cursor({"page": 3}, question="q")

        with pytest.raises(InvalidRequest, match="does not hold a position"):
            decode_cursor(cursor, Position, question="q")

    def test_a_very_long_one_is_not_even_decoded(self) -> None:
        with pytest.raises(InvalidRequest, match="longer"):
            decode_cursor("A" * 2000, Position, question="q")
