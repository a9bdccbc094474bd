"""Profiles and conflicts as JSON: how they lie in the tables, and how a refused request waits for its settlement."""

from datetime import datetime
from typing import Any

import msgspec

from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.profiles.model import Item, ProfileType, Standing, Wanted


class KeptItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instrument of a profile."""

    asked: str
    number: int | None = None
    id: str | None = None
    key: str | None = None
    standing: Standing = Standing.ACCEPTED
    mode: str | None = None
    pinned: bool | None = None
    ends_at: datetime | None = None


class KeptContent(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, whole."""

    user_id: str
    name: str
    type: ProfileType
    items: list[KeptItem]
    rules: list[Any]  # in the JSON form of the room of rules
    mode: str
    priority: int
    copies: int
    pinned: bool
    preferences: dict[str, Any]  # free by nature, bounded and without credentials
    instruments_max: int | None
    expires_at: datetime | None


_CONTENT = msgspec.json.Decoder(KeptContent)
_ITEMS = msgspec.json.Decoder(list[KeptItem])


def mode_named(name: str) -> Mode:
    """A mode by the name it has outside."""
    return Mode[name.upper()]


def encode(wanted: Wanted) -> bytes:
    """A profile as JSON text."""
    return msgspec.json.encode(kept(wanted))


def kept(wanted: Wanted) -> KeptContent:
    """A profile as it is kept."""
    return KeptContent(
        user_id=wanted.user_id, name=wanted.name, type=wanted.type, items=[_kept(item) for item in wanted.items],
        rules=[msgspec.Raw(rule.encode()) for rule in wanted.rules], mode=wanted.mode.name.lower(),
        priority=wanted.priority, copies=wanted.copies, pinned=wanted.pinned,
        preferences=msgspec.Raw(wanted.preferences.encode()), instruments_max=wanted.instruments_max,  # type: ignore[arg-type]
        expires_at=wanted.expires_at,
    )  # fmt: skip


def decode(text: bytes | str) -> Wanted:
    """The profile a JSON text holds."""
    content = _CONTENT.decode(text)
    return Wanted(
        user_id=content.user_id, name=content.name, type=content.type,
        items=tuple(_item(item) for item in content.items),
        rules=tuple(msgspec.json.encode(rule).decode() for rule in content.rules), mode=mode_named(content.mode),
        priority=content.priority, copies=content.copies, pinned=content.pinned,
        preferences=msgspec.json.encode(content.preferences).decode(), instruments_max=content.instruments_max,
        expires_at=content.expires_at,
    )  # fmt: skip


def encode_items(items: tuple[Item, ...]) -> bytes:
    """Instruments as JSON text."""
    return msgspec.json.encode([_kept(item) for item in items])


def decode_items(text: bytes | str) -> tuple[Item, ...]:
    """The instruments a JSON text holds."""
    return tuple(_item(item) for item in _ITEMS.decode(text))


def _kept(item: Item) -> KeptItem:
    return KeptItem(
        asked=item.asked, number=item.number, id=item.id, key=item.key, standing=item.standing,
        mode=None if item.mode is None else item.mode.name.lower(), pinned=item.pinned,
        ends_at=item.ends_at,
    )  # fmt: skip


def _item(item: KeptItem) -> Item:
    return Item(
        asked=item.asked, number=item.number, id=item.id, key=item.key, standing=item.standing,
        mode=None if item.mode is None else mode_named(item.mode), pinned=item.pinned,
        ends_at=item.ends_at,
    )  # fmt: skip
