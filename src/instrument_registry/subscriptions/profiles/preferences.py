"""Preferences are the user's own notes: bounded, and never a credential."""

import re
from collections.abc import Iterator, Mapping, Sequence

from instrument_registry.subscriptions.profiles.model import BadProfile
from instrument_registry.telemetry.masking import masked_text, says_secret

BYTES_MAX = 8 * 1024
DEPTH_MAX = 8
SECRET_WORDS = frozenset(
    {"password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "credential", "credentials", "token"}
    | {"tokens", "apikey", "apikeys", "authorization", "bearer", "cookie", "jwt", "otp", "totp", "mpin"}
)
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
WORDS = re.compile(r"[^A-Za-z0-9]+")
TOGETHER = re.compile(r"(?:api|access|private|secret|session|refresh|auth|encryption|master)(?:key|token|secret)", re.I)
SHAPES = (
    re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),  # a JSON web token
    re.compile(r"-----BEGIN [A-Z ]+-----"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\b(?:gh[pousr]_|glpat-|xox[abprs]-|sk_live_|sk-)[A-Za-z0-9_-]{16,}"),
)
RUN = re.compile(r"[A-Za-z0-9+/=_-]{28,}")
ALTERNATING, ALTERNATIONS = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])"), 4
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class CredentialRefused(BadProfile):
    """Leave it out; brokers' credentials are kept as secrets, by name."""

    title = "Preferences hold no credentials"


def see_harmless(preferences: Mapping[str, object], *, size_bytes: int) -> None:
    """See that preferences are small, and hold nothing that is named or looks like a credential.

    Raises: BadProfile; CredentialRefused, which names the place and never the value.
    """
    if size_bytes > BYTES_MAX:
        problem = f"preferences have up to {BYTES_MAX} bytes of JSON, not {size_bytes}; keep less"
        raise BadProfile(problem, field="preferences", limit_bytes=BYTES_MAX)
    for place, name, value in _parts(preferences, "preferences", depth=0):
        if name is not None and (_named_secret(name) or _shaped_secret(name)):
            raise _refused(place, "is named like a credential")
        if isinstance(value, str) and _shaped_secret(value):
            raise _refused(place, "looks like a credential")


def _parts(value: object, place: str, *, depth: int) -> Iterator[tuple[str, str | None, object]]:
    if depth > DEPTH_MAX:
        raise BadProfile(f"{place[:200]} lies deeper than {DEPTH_MAX} levels; flatten it", field="preferences")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            below = f"{place}.{name if not _shaped_secret(name) else '…'}"
            yield below, name, inner
            yield from _parts(inner, below, depth=depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value):
            yield f"{place}[{number}]", None, inner
            yield from _parts(inner, f"{place}[{number}]", depth=depth + 1)


def _named_secret(name: str) -> bool:
    words = {word.lower() for word in WORDS.split(CAMEL.sub("_", name))}
    return (
        bool(words & SECRET_WORDS)
        or words == {"pin"}
        or TOGETHER.search(WORDS.sub("", name)) is not None
        or says_secret(name)
    )


def _shaped_secret(text: str) -> bool:
    if masked_text(text) != text or any(shape.search(text) for shape in SHAPES):
        return True
    return any(_random(run) for run in RUN.findall(UUID.sub("", text)))


def _random(run: str) -> bool:
    """Whether letters and digits alternate in a long run as in no word or number."""
    return len(ALTERNATING.findall(run)) >= ALTERNATIONS


def _refused(place: str, problem: str) -> CredentialRefused:
    detail = f"{place[:200]} {problem}; leave it out, and keep credentials as secrets"
    return CredentialRefused(detail, field=place[:200], remedy="Leave it out")
