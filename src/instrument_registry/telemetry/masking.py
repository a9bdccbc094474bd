"""Keeps secrets out of log lines: by the name of a field, and by their form anywhere in a text."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

import structlog

HIDDEN = "***"
SECRET_WORDS = frozenset(
    {"apikey", "authorization", "cookie", "credential", "credentials", "key", "keys", "passphrase", "passwd"}
    | {"password", "passwords", "pwd", "secret", "secrets", "token", "tokens"}
)
HARMLESS = (int, float, date, Decimal, UUID)
NESTED = frozenset({dict, list})
DEPTH_MAX = 12

NAMES = "password|passwd|pwd|passphrase|secret|token|authorization|api[_-]?key|key|cookie"
COLON_NAMES = tuple(
    f"{end}:" for end in ("word", "passwd", "pwd", "phrase", "secret", "token", "tion", "key", "cookie")
)
COLONS_OF_A_TIMESTAMP = 2
# In the order in which they are looked for: a key keeps its id, an address its login, a name stays.
FORMS = (
    (re.compile(r"\birk_(?:([a-z2-7]{16}_)[A-Za-z0-9_-]+|[A-Za-z0-9_-]{17,})"), rf"irk_\1{HIDDEN}"),
    (re.compile(r"\b(irmk_|whsec_)[A-Za-z0-9_+/=-]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^\s/:@\"']*):[^\s/\"']+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=:-]{6,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (
        re.compile(
            rf"(?<![A-Za-z])({NAMES})(\\*[\"']?\s*[=:]\s*\\*[\"']?)(?:token\s+)?[^\s\"'\\,;&)}}]+", re.IGNORECASE
        ),
        rf"\1\2{HIDDEN}",
    ),
)


def masked(value: object, *, depth: int = 0) -> object:
    """A value as it may be logged: texts without secrets, and nothing under names that speak of them."""
    if isinstance(value, str):
        return masked_text(value)
    if value is None or isinstance(value, HARMLESS):
        return value
    if depth < DEPTH_MAX and isinstance(value, Mapping):
        return {
            name: HIDDEN if says_secret(name) and not _tells_nothing(one) else masked(one, depth=depth + 1)
            for name, one in value.items()
        }
    if depth < DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
        return [masked(one, depth=depth + 1) for one in value]
    return masked_text(repr(value))


def masked_text(text: str) -> str:
    """A text with what looks like a secret taken out of it."""
    for form, instead in FORMS:
        text = form.sub(instead, text)
    return text


def suspicious(line: str) -> bool:
    """Whether a line of compact JSON may hold a secret: a cheap look that is sometimes mistaken, never the other way.

    Between names and values such a line has no blank, `=` or bare quotation mark, and beside its structure and the
    clock's two there is seldom a colon: the line of a request has none of what is looked for.
    """
    return (
        " " in line or "=" in line or "\\" in line or "://" in line or "k_" in line or "c_" in line
        or (line.count(":") - line.count('":') > COLONS_OF_A_TIMESTAMP and _names(line.lower()))
    )  # fmt: skip


def _names(lower: str) -> bool:
    return any(word in lower for word in COLON_NAMES)


def hide_named(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """A processor: what stands under a name that speaks of a secret is not told."""
    for name in _speaking(tuple(event)):
        if not _tells_nothing(event[name]):
            event[name] = HIDDEN
    for value in event.values():
        if value.__class__ in NESTED:
            return {name: masked(one) if one.__class__ in NESTED else one for name, one in event.items()}
    return event


@lru_cache(maxsize=1024)
def _speaking(names: tuple[str, ...]) -> tuple[str, ...]:
    """Which of an event's names speak of secrets: lines of one kind have the same names, and seldom such."""
    return tuple(name for name in names if says_secret(name))


@lru_cache(maxsize=1024)
def says_secret(name: object) -> bool:
    """Whether a name speaks of a secret: its last word does (`api_key`, but not `key_id`)."""
    return re.split(r"[\s_.:-]", str(name).lower())[-1] in SECRET_WORDS


def _tells_nothing(value: object) -> bool:
    return value is None or isinstance(value, int | float)
