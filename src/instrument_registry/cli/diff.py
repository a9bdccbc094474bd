"""`instrument-registry diff`: what changed between two market dates of the catalogue, or between two dump files.

Exit codes: 0 compared, whether or not anything changed, 1 failed, 2 wrong usage, 3 not allowed.
"""

import json
from collections import Counter
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client, completing
from instrument_registry.cli.tables import note, table
from instrument_registry.errors import Invalid, NotFound


class _Change(msgspec.Struct):
    change: str
    key: str
    broker: str | None = None
    field: str | None = None
    old: str | None = None
    new: str | None = None


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None
    total: int = 0


class _Diff(msgspec.Struct):
    changes: list[_Change]
    pagination: _Pagination
    counts: dict[str, int] | None = None


def diff(
    first: Annotated[str, typer.Argument(metavar="FROM", help="The earlier market date, YYYY-MM-DD, or dump file.")],
    last: Annotated[str, typer.Argument(metavar="TO", help="The later one.")],
    broker: Annotated[
        list[str] | None,
        typer.Option(
            help="With dates: compare its tokens too. With files: whose they are.", autocompletion=completing.brokers
        ),
    ] = None,
    venue: Annotated[list[str] | None, typer.Option(help="Only this venue.", autocompletion=completing.venues)] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind.", autocompletion=completing.kinds)] = None,
    underlying: Annotated[
        list[str] | None, typer.Option(help="Only this name and its contracts.", autocompletion=completing.symbols)
    ] = None,
    change: Annotated[list[str] | None, typer.Option(help="Only this sort of change, for example lot_changed.")] = None,
    as_known_at: Annotated[str | None, typer.Option(help="As known at this instant.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Changes on a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page ended.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Say what was listed, ended, renamed or changed: a summary by sort of change, then the changes by key."""
    if _is_date(first) != _is_date(last):
        raise Invalid(f"{first} and {last}: give two dates or two files")
    if _is_date(first):
        answer = client.connect(url, key).get(
            "/diff", **{"from": first, "to": last}, broker=_lower(broker), venue=_upper(venue), kind=_lower(kind),
            underlying=_upper(underlying), change=_lower(change), as_known_at=as_known_at, limit=limit, cursor=cursor,
        )  # fmt: skip
    else:
        if venue or kind or underlying or change or as_known_at or cursor:
            raise Invalid("Two files are compared as a whole; of the filters only --broker and --limit are for them")
        answer = _of_files(Path(first), Path(last), broker or [], limit=limit)
    if as_json:
        client.print_json(answer)
    else:
        _print(client.read(answer, _Diff))


def _of_files(first: Path, last: Path, brokers: list[str], *, limit: int) -> bytes:
    """The changes between two dumps, as the API would answer."""
    from instrument_registry.catalog.brokers import BROKERS
    from instrument_registry.catalog.dump_differences import compare, read
    from instrument_registry.catalog.ingestion.files import date_in_name, open_dumps

    for path in (first, last):
        if not path.exists():
            raise NotFound(f"There is no file {path}; a date is written YYYY-MM-DD")
    broker = _broker_of(first, last, brokers)
    frames = [read(BROKERS[broker], [one.dump for one in open_dumps(path)]) for path in (first, last)]
    found = compare(broker, *frames, day=date_in_name(last.name))
    shown = [{name: value for name, value in asdict(one).items() if name != "place"} for one in found[:limit]]
    body = {
        "from": first.name, "to": last.name, "broker": broker, "changes": shown,
        "counts": dict(Counter(one.change for one in found).most_common()),
        "pagination": {"limit": limit, "count": len(shown), "next_cursor": None, "total": len(found)},
    }  # fmt: skip
    return json.dumps(body, ensure_ascii=False).encode()


def _broker_of(first: Path, last: Path, brokers: list[str]) -> str:
    from instrument_registry.catalog.brokers import BROKERS, manifest

    known = {row.broker for path in (first, last) if (row := manifest.match(path)) is not None and row.broker}
    named = {one.lower() for one in brokers} or known
    if len(named) != 1 or not named <= set(BROKERS):
        listed = ", ".join(sorted(BROKERS))
        raise Invalid(f"Whose dumps {first.name} and {last.name} are is not known; give one --broker of {listed}")
    return str(named.pop())


def _print(found: _Diff) -> None:
    if found.counts is not None:
        table(("change", "instruments>"), found.counts.items())
    if found.changes:
        rows = [
            (
                one.change,
                one.key,
                f"{one.broker} {one.field}" if one.broker and one.field else one.field,
                one.old,
                one.new,
            )
            for one in found.changes
        ]
        print()
        table(("change", "key", "field", "old", "new"), rows)
    total, shown = found.pagination.total, len(found.changes)
    if found.pagination.next_cursor:
        note(f"{shown:,} of {total:,}; the next page: --cursor {found.pagination.next_cursor}")
    elif not total:
        note("Nothing changed.")
    elif shown < total and found.counts is not None:
        note(f"{shown:,} of {total:,}; --limit shows more")


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _upper(several: list[str] | None) -> list[str]:
    return [one.upper() for one in several or ()]


def _lower(several: list[str] | None) -> list[str]:
    return [one.lower() for one in several or ()]
