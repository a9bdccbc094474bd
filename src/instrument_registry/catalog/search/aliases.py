"""What traders call things: nicknames, abbreviations and former names."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name; of several targets the first that is live counts."""

    text: str
    targets: tuple[str, ...]  # names as they stand in keys, unescaped: M&M, INDIA VIX


def seed() -> tuple[Alias, ...]:
    """Our own list, which operators extend."""
    text = files("instrument_registry.catalog").joinpath("aliases.csv").read_text(encoding="utf-8")
    return read_aliases(text.splitlines())


def read_aliases(lines: Iterable[str]) -> tuple[Alias, ...]:
    """Aliases of CSV lines: alias, name (alternatives parted by |)."""
    return tuple(Alias(row["alias"], tuple(row["name"].split("|"))) for row in csv.DictReader(lines))
