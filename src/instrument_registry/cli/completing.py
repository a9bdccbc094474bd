"""What a shell offers while somebody types a command; whatever fails offers nothing."""

import msgspec

from instrument_registry.errors import RegistryError


class _Suggestion(msgspec.Struct):
    text: str
    key: str


class _Suggestions(msgspec.Struct):
    suggestions: list[_Suggestion]


def brokers(incomplete: str) -> list[str]:
    """The ids of brokers."""
    from instrument_registry.catalog.brokers import BROKERS

    return [broker for broker in sorted(BROKERS) if broker.startswith(incomplete.lower())]


def kinds(incomplete: str) -> list[str]:
    """Kinds of instruments."""
    from instrument_registry.catalog.model import Kind

    return [kind.value for kind in Kind if kind.startswith(incomplete.lower())]


def venues(incomplete: str) -> list[str]:
    """Venue codes."""
    from instrument_registry.catalog.model import VENUES

    typed = [venue.lower() if incomplete.islower() else venue for venue in VENUES]
    return [venue for venue in typed if venue.startswith(incomplete)]


def symbols(incomplete: str) -> list[str]:
    """Names that begin so, if an instance runs that can be asked."""
    from instrument_registry.cli.client import connect, read

    if not incomplete:
        return []
    try:
        answer = connect(None, None).get("/search/suggest", query=incomplete[:100])
        found = read(answer, _Suggestions).suggestions
    except RegistryError:
        return []
    # A shell only takes what continues the word as it was typed; names are found in either case.
    names = [one.text.lower() if incomplete.islower() else one.text for one in found]
    return [name for name in names if name.startswith(incomplete)]
