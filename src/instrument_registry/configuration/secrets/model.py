"""What a secret is called, what it may be, and what is known of its versions: everything but the value."""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from instrument_registry.configuration.model import PREFIX
from instrument_registry.errors import Gone, Invalid, NotFound, Unavailable
from instrument_registry.sealing import Bound
from instrument_registry.settings import ENVIRONMENT_FORM

NAME = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
NAME_MAX = 120  # with our prefix
ENVIRONMENT = re.compile(ENVIRONMENT_FORM)
VALUE_BYTES_MAX = 64 * 1024
REASON_MAX = 500
OVERLAP_SECONDS = 24 * 3600
OVERLAP_SECONDS_MAX = 30 * 24 * 3600
SHOWN_MAX = 100


class BadSecret(Invalid):
    """Choose another name, value or overlap, as it says."""

    title = "The secret cannot be so"


class NoSuchSecret(NotFound):
    """Choose the name it says is nearest, or list them."""

    title = "There is no such secret"


class SecretOver(Gone):
    """Read the version in force."""

    title = "This version can be read no more"


class MasterKeyMissing(Unavailable):
    """Put the key back that wraps what is stored, or give up what it wraps."""

    title = "A master key is missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """One version of a secret without its value; `key_id` is the master key that wraps it as long as it is kept."""

    environment: str
    name: str
    version: int
    key_id: str | None
    actor: str
    correlation_id: str
    at: datetime
    reason: str
    ends_at: datetime | None = None
    ended_by: str | None = None
    ended_reason: str | None = None

    @property
    def bound(self) -> Bound:
        """What its sealed value is bound to."""
        return bound(self.name, self.version, self.environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A master key: whether it is here, whether it wraps what is new, and how much it still wraps."""

    key_id: str
    held: bool
    newest: bool
    secrets: int
    webhook_secrets: int

    @property
    def wraps(self) -> int:
        """How many values would be lost with it."""
        return self.secrets + self.webhook_secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrapped:
    """How far a change of master keys has come: `left` still lie under others, `damaged` cannot be opened."""

    key_id: str
    rewrapped: int
    left: int
    damaged: tuple[str, ...] = ()


def bound(name: str, version: int, environment: str) -> Bound:
    """What a secret's value is bound to: no webhook's secret opens in its place."""
    return Bound(f"secret:{name}", version, environment)


def name_of(text: str) -> str:
    """A secret's name, written with or without our prefix; Raises: BadSecret."""
    name = text.strip().upper().removeprefix(PREFIX)
    if not text.isascii() or not NAME.fullmatch(name):
        remedy = "Choose 1 to 100 of A-Z, 0-9 and _, a letter first"
        raise BadSecret(
            f"A secret cannot be called {text[:SHOWN_MAX]!r}. {remedy}", field="name", value=text[:SHOWN_MAX],
            remedy=remedy,
        )  # fmt: skip
    return name


def environment_of(text: str) -> str:
    """The name of an environment; Raises: BadSecret."""
    if not ENVIRONMENT.match(text) or text != text.strip():
        remedy = "Choose 1 to 40 of a-z, 0-9, _ and -, a letter first"
        raise BadSecret(
            f"An environment cannot be called {text[:SHOWN_MAX]!r}. {remedy}", field="environment",
            value=text[:SHOWN_MAX], remedy=remedy,
        )  # fmt: skip
    return text


def value_of(text: str) -> bytes:
    """A value as it is sealed; Raises: BadSecret, which says how long it was and nothing more."""
    value = text.encode()
    if not 1 <= len(value) <= VALUE_BYTES_MAX:
        remedy = f"Send 1 to {VALUE_BYTES_MAX} bytes of UTF-8"
        raise BadSecret(f"The value has {len(value)} bytes. {remedy}", field="value", remedy=remedy)
    return value


def overlap_of(seconds: int) -> int:
    """For how long a former version can still be read; Raises: BadSecret."""
    if not 0 <= seconds <= OVERLAP_SECONDS_MAX:
        remedy = f"Choose from 0 to {OVERLAP_SECONDS_MAX} seconds"
        raise BadSecret(
            f"An overlap cannot have {seconds} seconds. {remedy}", field="overlap_seconds", value=str(seconds),
            remedy=remedy,
        )  # fmt: skip
    return seconds


def reason_of(text: str) -> str:
    """Why something is done; Raises: BadSecret."""
    if not 1 <= len(text.strip()) <= REASON_MAX:
        remedy = f"Say why in 1 to {REASON_MAX} characters"
        raise BadSecret(f"A reason is needed. {remedy}", field="reason", remedy=remedy)
    return text.strip()


def none_called(name: str, environment: str, *, known: Collection[str], elsewhere: Collection[str]) -> NoSuchSecret:
    """Says that there is no such secret, where there is one, and which one may have been meant."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if elsewhere:
        remedy = f"There is one in {', '.join(sorted(elsewhere))}: say environment={min(elsewhere)}"
    elif near:
        remedy = f"Did you mean {near[0]}?"
    else:
        remedy = "List them with `instrument-registry secrets list`"
    detail = f"There is no secret {name} in {environment}. {remedy}"
    return NoSuchSecret(detail, name=name, environment=environment, remedy=remedy)
