"""What consumers see: the names under which events travel, and the filters that choose among them.

`instrument.updated` is no fact but another name for every fact about an instrument that was there before. Nobody gets
an event twice: who asks for its own type, by name or by wildcard, gets it under that type, and only who asks for the
other name alone gets it under that, with no more than the instrument's id.
"""

import json
import re
from collections.abc import Sequence

from instrument_registry.errors import Invalid
from instrument_registry.events.model import Event

EVERYTHING = "*"
UPDATED = "instrument.updated"
_INSTRUMENT, _LISTED = "instrument.", "instrument.listed"

FILTER_CHARACTERS = 100
FILTER = re.compile(r"\*|[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*(?:\.\*)?")


class BadFilter(Invalid):
    """Name a type such as instrument.delisted, a family such as instrument.*, or * for everything."""

    title = "The filter cannot be understood"


def wire_types(type_: str) -> tuple[str, ...]:
    """The names under which a fact of a type may travel, its own first."""
    if type_.startswith(_INSTRUMENT) and type_ not in (_LISTED, UPDATED):
        return type_, UPDATED
    return (type_,)


def matches(pattern: str, type_: str) -> bool:
    """Whether a filter means a type: by its name, by the family it belongs to (`instrument.*`), or by `*`."""
    if pattern.endswith(EVERYTHING):
        return type_.startswith(pattern[:-1])
    return pattern == type_


def sent_as(type_: str, filters: Sequence[str]) -> str | None:
    """The name under which a fact of a type goes to somebody with these filters; None when it does not."""
    own, *others = wire_types(type_)
    if any(matches(pattern, own) for pattern in filters):
        return own
    return next((other for other in others if other in filters), None)


def data_as(event: Event, name: str) -> str:
    """The data of an event under a name it travels by, as JSON text."""
    if name == UPDATED and event.type != UPDATED:
        return json.dumps({"instrument_id": event.subject})
    return event.data


def check_filters(filters: Sequence[str], *, field: str) -> None:
    """See that filters can be understood; Raises: BadFilter."""
    for pattern in filters:
        if len(pattern) > FILTER_CHARACTERS or not FILTER.fullmatch(pattern):
            detail = f"{pattern[:FILTER_CHARACTERS]!r} is neither a type, a family such as instrument.*, nor *"
            raise BadFilter(detail, field=field, value=pattern[:FILTER_CHARACTERS])
