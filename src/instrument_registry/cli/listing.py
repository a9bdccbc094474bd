"""Instruments as people read them: what of an answer is shown, as rows of a table."""

from collections.abc import Iterable, Sequence

import msgspec

from instrument_registry.cli.tables import table


class Instrument(msgspec.Struct):
    """What tables show of an instrument."""

    id: str
    key: str
    name: str | None = None
    kind: str = ""
    lot_size: int | None = None
    tick_size: str | None = None
    status: str = ""
    tokens: dict[str, str] = {}
    overridden: dict[str, str | int | None] | None = None
    why: str | None = None
    requested: str | None = None


def table_of(found: Iterable[Instrument], *, brokers: Sequence[str], first: str | None = None) -> None:
    """A table of instruments with the tokens of some brokers, of all where none is named.

    `first` is a member shown before all others, `why` is shown last where there is one.
    """
    listed = list(found)
    shown = list(brokers) or sorted({broker for one in listed for broker in one.tokens})
    why = any(one.why for one in listed)
    columns = [
        *([first] if first else []),
        "key",
        "name",
        "kind",
        "lot>",
        "tick>",
        "status",
        *shown,
        *(["why"] if why else []),
    ]
    rows = [
        [
            *([getattr(one, first)] if first else []),
            one.key, one.name, one.kind, own(one, "lot_size"), own(one, "tick_size"), one.status,
            *(one.tokens.get(broker) for broker in shown), *([one.why] if why else []),
        ]
        for one in listed
    ]  # fmt: skip
    table(columns, rows)


def own(one: Instrument, field: str) -> str | None:
    """A field, with a star where an operator's word stands for the files'."""
    value = getattr(one, field)
    return f"{value}*" if field in (one.overridden or {}) else None if value is None else str(value)
