"""The text of a record is canonical, whatever is told."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument_registry.events import Fact, Metadata, schemas
from instrument_registry.events.audit.model import Text
from instrument_registry.events.audit.recording import LISTED_MAX, VALUE_BYTES_MAX, draft

NOON = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)
AT = "2026-08-18T06:30:00.000000Z"
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed(Fact):
    """Anything became anything else."""

    type: ClassVar[str] = "test.changed"

    old: object
    new: object
    reason: str
    about: str

    @property
    def subject(self) -> str:
        """Whatever."""
        return self.about


def told(*facts: Changed) -> list[tuple[Fact, str]]:
    return [(fact, schemas.encode(fact)) for fact in facts]


@given(old=VALUES, new=VALUES, reason=WORDS, about=WORDS, words=st.tuples(WORDS, WORDS, WORDS))
@settings(deadline=None, max_examples=300)
def test_a_record_is_what_the_canonical_encoder_would_write(
    old: object, new: object, reason: str, about: str, words: tuple[str, str, str]
) -> None:
    actor, correlation_id, address = words
    metadata = Metadata(actor=actor, correlation_id=correlation_id, address=address)
    facts = told(Changed(occurred_at=NOON, old=old, new=new, reason=reason, about=about))
    made = draft(facts, stream="s", metadata=metadata)
    assert made is not None
    text = made.text(AT, 7 << 20).encode()
    said = msgspec.json.decode(text, type=Text)

    assert rfc8785.dumps(msgspec.json.decode(text)) == text
    assert (said.actor, said.correlation_id, said.address, said.reason) == (actor, correlation_id, address, reason)
    assert (said.at, said.number, said.subject) == (NOON, str(7 << 20), about or "s")
    assert said.data_sha256 == hashlib.sha256(facts[0][1].encode()).hexdigest()


@given(st.integers(2, 60))
@settings(deadline=None, max_examples=20)
def test_several_facts_are_listed_up_to_a_bound_and_covered_by_one_digest(count: int) -> None:
    facts = told(
        *(Changed(occurred_at=NOON, old=None, new={"n": n}, reason="r", about=f"I{n % 2}") for n in range(count))
    )
    made = draft(facts, stream="run-7", metadata=Metadata(actor="a", correlation_id="c"))
    assert made is not None
    said = msgspec.json.decode(made.text(AT, 1 << 20))

    assert len(said["new"]["facts"]) == min(count, LISTED_MAX)
    assert len(said["new"]["facts"]) + said["new"]["left_out"] == said["facts"] == count
    assert said["data_sha256"] == hashlib.sha256("\n".join(data for _, data in facts).encode()).hexdigest()
    assert said["subject"] == "run-7"


def test_what_is_too_large_is_known_by_its_digest() -> None:
    facts = told(Changed(occurred_at=NOON, old=None, new="x" * VALUE_BYTES_MAX, reason="r", about="I1"))
    made = draft(facts, stream="s", metadata=Metadata(actor="a", correlation_id="c"))
    assert made is not None

    assert len(made.text(AT, 1 << 20)) < 1_000
    assert msgspec.json.decode(made.text(AT, 1 << 20))["new"] == {"bytes": len(facts[0][1])}
