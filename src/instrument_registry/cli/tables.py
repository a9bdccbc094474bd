"""Tables for people: plain columns, coloured only where a terminal can and NO_COLOR does not forbid it."""

import sys
from collections.abc import Iterable, Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 10_000  # nobody wraps lines that another program reads
ABSENT = "-"


def console() -> Console:
    """Where answers go: what a dump says is printed as it stands, never read as markup."""
    width = None if sys.stdout.isatty() else WIDE
    return Console(width=width, markup=False, emoji=False, highlight=False)


def note(text: str) -> None:
    """Something for the person that is no part of the answer."""
    print(plain(text), file=sys.stderr)


def document(body: object) -> None:
    """An answer for programs: one JSON document on standard output."""
    print(msgspec.json.encode(body).decode())


def plain(value: object) -> str:
    """A value as one line of text that cannot steer a terminal."""
    if value is None or value == "":
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if text.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Rows below their columns; a column whose name ends in `>` stands to the right."""
    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        right = column.endswith(">")
        drawn.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    out = console()
    if title is not None:
        out.print(Text(plain(title), style="bold"))
    out.print(drawn)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line, without those that are absent."""
    drawn = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None and value != "":
            drawn.add_row(Text(name), value if isinstance(value, Text) else Text(plain(value)))
    console().print(drawn)
