"""API keys before any database: how they are made, taken apart and recognised."""

import secrets
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from frame import NOON
from instrument_registry.access.model import (
    OVERLAP_MAX,
    ApiKey,
    BadKeyName,
    BadOverlap,
    KeyAlreadyRevoked,
    KeyRejected,
    KeyState,
    Scope,
    ScopeExceeded,
    Wanted,
    mint,
    presented,
    text_of,
)
from instrument_registry.access.spans import BadSpan, end_of, span_of


class TestMinting:
    def test_a_key_opens_with_its_own_text_alone(self) -> None:
        sealed, text = mint(
            Wanted(name="loader", scope=Scope.READER), created_by="me", at=NOON, random_bytes=secrets.token_bytes
        )

        shown = presented(text)

        assert shown.id == sealed.key.id
        assert sealed.opens(shown.secret)
        assert not sealed.opens("A" * 43)

    def test_it_is_one_word_with_its_checksum_at_the_end(self) -> None:
        assert text_of("a" * 16, "A" * 43) == f"irk_{'a' * 16}_{'A' * 43}1Vqqe7"

    def test_the_secret_is_256_random_bits_and_is_not_kept(self) -> None:
        asked: list[int] = []

        def random_bytes(length: int) -> bytes:
            asked.append(length)
            return secrets.token_bytes(length)

        sealed, text = mint(Wanted(name="a", scope=Scope.ADMIN), created_by="me", at=NOON, random_bytes=random_bytes)

        assert asked == [10, 32]
        assert presented(text).secret not in repr(sealed)

    @given(st.binary(min_size=32, max_size=32))
    def test_every_secret_survives_its_text(self, entropy: bytes) -> None:
        sealed, text = mint(
            Wanted(name="a", scope=Scope.READER), created_by="me", at=NOON, random_bytes=lambda length: entropy[:length]
        )

        assert sealed.opens(presented(text).secret)

    @pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 101, "\x1b[31m"])
    def test_a_name_that_would_spoil_a_table_is_refused(self, name: str) -> None:
        with pytest.raises(BadKeyName):
            mint(Wanted(name=name, scope=Scope.READER), created_by="me", at=NOON, random_bytes=secrets.token_bytes)


class TestPresented:
    @given(st.text(max_size=100))
    def test_what_is_no_key_is_refused_and_not_repeated(self, text: str) -> None:
        with pytest.raises(KeyRejected) as refusal:
            presented("x" + text)

        assert text == "" or len(text) < 3 or text not in str(refusal.value)

    @pytest.mark.parametrize("place", range(4, 70, 5))
    def test_one_wrong_character_is_told_from_a_key(self, place: int) -> None:
        text = text_of("abcdefghijklmnop", "0123456789" * 4 + "abc")
        letter = "b" if text[place] != "b" else "c"

        with pytest.raises(KeyRejected, match=r"checksum|form"):
            presented(text[:place] + letter + text[place + 1 :])

    @given(st.integers(21, 68), st.binary(min_size=42, max_size=42))
    def test_neighbours_that_changed_places_are_noticed(self, place: int, entropy: bytes) -> None:
        text = mint(
            Wanted(name="a", scope=Scope.READER),
            created_by="me",
            at=NOON,
            random_bytes=lambda length: entropy[:length] if length < 32 else entropy[10:],
        )[1]
        swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]

        assume(swapped != text)
        with pytest.raises(KeyRejected):
            presented(swapped)


class TestEnding:
    def key(self, *, ends_in: timedelta | None) -> ApiKey:
        end = None if ends_in is None else NOON + ends_in
        return ApiKey(
            id="a" * 16, name="a", scope=Scope.READER, created_at=NOON - timedelta(days=1), created_by="me",
            expires_at=end,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("ends_in", "state"),
        [(None, "in_force"), (timedelta(days=14, seconds=1), "in_force"), (timedelta(days=14), "ending"),
         (timedelta(microseconds=1), "ending"), (timedelta(0), "ended"), (timedelta(days=-1), "ended")],
    )  # fmt: skip
    def test_the_last_instant_is_the_first_at_which_it_opens_nothing(
        self, ends_in: timedelta | None, state: str
    ) -> None:
        assert self.key(ends_in=ends_in).state(NOON) == state

    def test_a_revoked_key_is_revoked_whenever_it_ends(self) -> None:
        assert self.key(ends_in=timedelta(0)).revoke(at=NOON, by="me").state(NOON) is KeyState.REVOKED

    @pytest.mark.parametrize("overlap", [timedelta(seconds=-1), OVERLAP_MAX + timedelta(seconds=1)])
    def test_an_overlap_has_bounds(self, overlap: timedelta) -> None:
        with pytest.raises(BadOverlap):
            self.key(ends_in=None).replaced(by="b" * 16, at=NOON, overlap=overlap)


class TestSpans:
    @pytest.mark.parametrize(
        ("text", "span"), [("0s", 0), ("90s", 90), ("30m", 1800), ("24h", 86_400), (" 7d ", 604_800)]
    )
    def test_a_number_and_its_unit(self, text: str, span: int) -> None:
        assert span_of(text) == timedelta(seconds=span)
        assert end_of(text, at=NOON) == NOON + timedelta(seconds=span)

    def test_a_date_is_its_beginning_in_utc_and_an_instant_keeps_its_offset(self) -> None:
        ends = [end_of(text, at=NOON).isoformat() for text in ("2027-01-31", "2027-01-31T18:00:00+05:30")]

        assert ends == ["2027-01-31T00:00:00+00:00", "2027-01-31T18:00:00+05:30"]

    @pytest.mark.parametrize("text", ["", "7", "d", "-1h", "1w", "1.5h", "tomorrow", "2027-13-01", "999999999d", "٣d"])
    def test_what_is_none_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(BadSpan):
            end_of(text, at=NOON)


class TestRevoking:
    def test_twice_is_a_conflict(self) -> None:
        sealed, _ = mint(
            Wanted(name="a", scope=Scope.READER), created_by="me", at=NOON, random_bytes=secrets.token_bytes
        )
        revoked = sealed.key.revoke(at=NOON, by="ops")

        with pytest.raises(KeyAlreadyRevoked, match="2026-08-18 06:30 UTC by ops"):
            revoked.revoke(at=NOON, by="ops")


class TestScopes:
    def test_nobody_gives_more_than_they_have(self) -> None:
        given = [[giver.includes(wanted) for wanted in Scope] for giver in Scope]
        done = [[_gives(giver, wanted) for wanted in Scope] for giver in Scope]

        assert done == given

    def test_each_includes_the_ones_before(self) -> None:
        included = [[one.includes(other) for other in Scope] for one in Scope]

        assert included == [[True, False, False], [True, True, False], [True, True, True]]


def _gives(giver: Scope, wanted: Scope) -> bool:
    try:
        return giver.give(wanted) is wanted
    except ScopeExceeded:
        return False
