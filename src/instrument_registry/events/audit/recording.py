"""What the audit keeps of facts: one record an append, as canonical JSON (RFC 8785) that the database completes."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import rfc8785

from instrument_registry.events.model import Fact, Metadata

LISTED_MAX = 20  # of several facts told at once
VALUE_BYTES_MAX = 32 * 1024  # of what is shown of them; the digest stands for the rest
SEVERAL = "several"
SAFE_INTEGER = 2**53 - 1
LONG = re.compile(r"[0-9]{16}")

Json = Mapping[str, object] | list[object] | str | int | float | bool | None
_encode = msgspec.json.Encoder().encode

Told = tuple[Fact, str]  # a fact and its data as it is stored


@dataclass(frozen=True, slots=True)
class Draft:
    """A record but for its time and its number, which go between the three pieces of its text."""

    action: str
    subject: str
    pieces: tuple[str, str, str]

    def text(self, at: str, number: int) -> str:
        """The whole text, as the database writes it."""
        return f"{self.pieces[0]}{at}{self.pieces[1]}{number}{self.pieces[2]}"


def draft(told: Sequence[Told], *, stream: str, metadata: Metadata) -> Draft | None:
    """What is to be kept of an append; None when none of its facts is to be audited."""
    kept = [(fact, data) for fact, data in told if fact.audited]
    if not kept:
        return None
    fact, data = kept[0]
    subject, action = fact.subject or stream, fact.type
    if len(kept) == 1:
        old, new, reason = _shown(data)
    else:
        old, new, reason = None, _listed(kept), None
        if any(other.subject != fact.subject for other, _ in kept):
            subject = stream
        if any(other.type != fact.type for other, _ in kept):
            action = SEVERAL
    digest = hashlib.sha256("\n".join(data for _, data in kept).encode()).hexdigest()
    # The members in their order, so that only what is nested goes through the slower encoder.
    pieces = (
        f'{{"action":{_text(action)},"actor":{_text(metadata.actor)},"address":{_text(metadata.address)},"at":"',
        f'","correlation_id":{_text(metadata.correlation_id)},"data_sha256":"{digest}","facts":{len(kept)},'
        f'"new":{canonical(new)},"number":"',
        f'","old":{canonical(old)},"reason":{_text(reason)},"subject":{_text(subject)}}}',
    )
    return Draft(action, subject, pieces)


def canonical(value: Json) -> str:
    """A value as canonical JSON; whole numbers that JSON cannot hold safely become text."""
    if value is None or isinstance(value, str):
        return _text(value)
    try:
        text = rfc8785.dumps(value).decode()  # type: ignore[arg-type]
    except rfc8785.IntegerDomainError:
        return rfc8785.dumps(_safe(value)).decode()  # type: ignore[arg-type]
    # A large float is written without its point, and would be read as a whole number that is too large.
    return rfc8785.dumps(_safe(value)).decode() if LONG.search(text) else text  # type: ignore[arg-type]


def _text(value: str | None) -> str:
    """Text has the one form in both encoders."""
    return "null" if value is None else _encode(value).decode()


def _shown(data: str) -> tuple[Json, Json, str | None]:
    """Of one fact the fields called old, new and reason; without old and new the whole of it is new."""
    if len(data) > VALUE_BYTES_MAX:
        return None, {"bytes": len(data.encode())}, None
    fields: dict[str, Json] = msgspec.json.decode(data, type=dict)
    reason = fields.get("reason")
    if "old" in fields or "new" in fields:
        return fields.get("old"), fields.get("new"), reason if isinstance(reason, str) else None
    return None, dict(fields), reason if isinstance(reason, str) else None


def _listed(kept: Sequence[Told]) -> Json:
    """The first of several facts, and how many were left out."""
    room = VALUE_BYTES_MAX
    listed: list[object] = []
    for fact, data in kept[:LISTED_MAX]:
        room -= len(data)
        if room < 0:
            break
        listed.append({"data": msgspec.json.decode(data), "subject": fact.subject, "type": fact.type})
    return {"facts": listed, "left_out": len(kept) - len(listed)}


def _safe(value: object) -> Json:
    if isinstance(value, dict):
        return {name: _safe(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_safe(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE_INTEGER:
        return str(value)
    if isinstance(value, float) and abs(value) > SAFE_INTEGER:
        return repr(value)
    assert value is None or isinstance(value, str | int | float | bool)
    return value
