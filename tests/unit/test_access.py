"""API keys before any database: how they are made, taken apart and recognised."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frame import NOON
from instrument_registry.access.model import BadKeyName, KeyAlreadyRevoked, KeyRejected, Scope, mint, presented


class TestMinting:
    def test_a_key_opens_with_its_own_text_alone(self) -> None:
        sealed, text = mint(
            name="loader", scope=Scope.READER, created_by="me", at=NOON, random_bytes=secrets.token_bytes
        )

        shown = presented(text)

        assert shown.id == sealed.key.id
        assert sealed.opens(shown.secret)
        assert not sealed.opens("A" * 43)

    def test_the_secret_is_256_random_bits_and_is_not_kept(self) -> None:
        asked: list[int] = []

        def random_bytes(length: int) -> bytes:
            asked.append(length)
            return secrets.token_bytes(length)

        sealed, text = mint(name="a", scope=Scope.ADMIN, created_by="me", at=NOON, random_bytes=random_bytes)

        assert asked == [10, 32]
        assert presented(text).secret not in repr(sealed)

    @given(st.binary(min_size=32, max_size=32))
    def test_every_secret_survives_its_text(self, entropy: bytes) -> None:
        sealed, text = mint(
            name="a", scope=Scope.READER, created_by="me", at=NOON, random_bytes=lambda length: entropy[:length]
        )

        assert sealed.opens(presented(text).secret)

    @pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 101, "\x1b[31m"])
    def test_a_name_that_would_spoil_a_table_is_refused(self, name: str) -> None:
        with pytest.raises(BadKeyName):
            mint(name=name, scope=Scope.READER, created_by="me", at=NOON, random_bytes=secrets.token_bytes)


class TestPresented:
    @given(st.text(max_size=100))
    def test_what_is_no_key_is_refused_and_not_repeated(self, text: str) -> None:
        with pytest.raises(KeyRejected) as refusal:
            presented("x" + text)

        assert text == "" or len(text) < 3 or text not in str(refusal.value)


class TestRevoking:
    def test_twice_is_a_conflict(self) -> None:
        sealed, _ = mint(name="a", scope=Scope.READER, created_by="me", at=NOON, random_bytes=secrets.token_bytes)
        revoked = sealed.key.revoke(at=NOON, by="ops")

        with pytest.raises(KeyAlreadyRevoked, match="2026-08-18 06:30 UTC by ops"):
            revoked.revoke(at=NOON, by="ops")


class TestScopes:
    def test_each_includes_the_ones_before(self) -> None:
        included = [[one.includes(other) for other in Scope] for one in Scope]

        assert included == [[True, False, False], [True, True, False], [True, True, True]]
