"""What a ticker and the registry say to each other, and what its processes say, without any input or output."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from instrument_registry.errors import RegistryError

DIGEST_CHARACTERS = 32
Token = tuple[str, str]  # segment, token
Table = Mapping[Token, str]  # the mode of each


class Item(msgspec.Struct, frozen=True):
    """One instrument in a step or a snapshot."""

    segment: str
    token: str
    mode: str
    instrument_id: str = ""
    key: str = ""

    @property
    def name(self) -> Token:
        """Under which name the broker knows it."""
        return self.segment, self.token


class Frame(msgspec.Struct, frozen=True):
    """One message as it goes over the broker's socket."""

    text: str | None = None
    base64: str | None = None
    instruments: int = 0


class After(msgspec.Struct, frozen=True):
    """Only when this account has come so far."""

    account: str
    position: int


class Line(msgspec.Struct, frozen=True):
    """What comes on the stream of an account."""

    kind: str
    position: int | None = None
    connection: str = ""
    items: list[Item] = []
    frames: list[Frame] = []
    digest_after: str | None = None
    after: After | None = None
    reason: str | None = None


class Lease(msgspec.Struct, frozen=True):
    """The account is ours to follow until then."""

    epoch: int


class Acknowledged(msgspec.Struct, frozen=True):
    """Connections that carry something else than they should."""

    resync: list[str]
    head: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection's process is to do: take a snapshot for all it carries, or take a step."""

    number: int
    act: str  # snapshot, add, mode, remove
    items: list[tuple[str, str, str]]
    frames: list[str] = []


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection's process begins with."""

    api_key: str
    access_token: str
    feed: str | None = None


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a connection's process says: what an order led to, or every second how it is."""

    number: int | None = None
    digest: str | None = None
    open: bool | None = None
    ticks: dict[str, tuple[float, float]] = {}  # by token: when, and the last price
    problem: str | None = None


class Ended(RegistryError):
    """Start it again where it may run."""

    title = "The ticker has to stop"


class Resync(Exception):
    """A connection carries something else than it should: begin with a snapshot."""


def digest_of(table: Table) -> str:
    """What a connection carries as the registry computes it: of the lines `segment|token|mode` in ascending order."""
    lines = sorted(f"{segment}|{token}|{mode}" for (segment, token), mode in table.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGEST_CHARACTERS]


def stepped(table: dict[Token, Item], kind: str, items: Iterable[Item]) -> None:
    """Let a table be as it is after a step or a snapshot."""
    if kind == "snapshot":
        table.clear()
    for item in items:
        if kind == "remove":
            table.pop(item.name, None)
        else:
            table[item.name] = item


def modes_of(table: Mapping[Token, Item]) -> dict[Token, str]:
    """What a connection carries, for its digest."""
    return {name: item.mode for name, item in table.items()}


def credentials(value: str) -> dict[str, Any]:
    """The API key and the access token out of a secret's value: a JSON object, or both with a colon between.

    Raises: Ended.
    """
    try:
        read = msgspec.json.decode(value) if value.lstrip().startswith("{") else None
    except msgspec.DecodeError as error:
        raise Ended("The secret is no JSON object") from error
    if read is None:
        api_key, colon, access_token = value.strip().partition(":")
        read = {"api_key": api_key, "access_token": access_token} if colon else {}
    if not all(isinstance(read.get(name), str) and read[name] for name in ("api_key", "access_token")):
        raise Ended('The secret must be {"api_key": …, "access_token": …}, or both with a colon between')
    return {name: read[name] for name in ("api_key", "access_token")}
