"""`instrument-registry summary`: what the catalogue holds and how fresh it is."""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import console, facts, table


class _Run(msgspec.Struct):
    broker: str
    segment: str
    market_date: str
    rows: int
    age_days: int
    fresh: bool


class _Summary(msgspec.Struct):
    instruments: int
    by_venue: dict[str, int]
    by_kind: dict[str, int]
    by_status: dict[str, int]
    by_broker: dict[str, int]
    runs: list[_Run] | None
    dumps_waiting: int | None
    as_of: str
    catalog_position: int
    index_age_seconds: float


def summary(
    as_of: Annotated[str | None, typer.Option(help="As of this market date, YYYY-MM-DD.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Say how many instruments there are of what, and how fresh each broker's part is."""
    content = client.connect(url, key).get("/catalog/summary", as_of=as_of)
    if as_json:
        client.print_json(content)
        return
    told = client.read(content, _Summary)
    behind = f", {told.index_age_seconds:.1f} s behind" if told.index_age_seconds else ""
    facts([
        ("as of", told.as_of), ("instruments", told.instruments), ("position", f"{told.catalog_position}{behind}"),
        ("by status", _counts(told.by_status)), ("by venue", _counts(told.by_venue)),
        ("by kind", _counts(told.by_kind)), ("by broker", _counts(told.by_broker)),
        ("dumps waiting", told.dumps_waiting),
    ])  # fmt: skip
    if told.runs:
        console().print()
        rows = [
            (run.broker, run.segment, run.market_date, run.age_days, run.rows, None if run.fresh else "stale")
            for run in told.runs
        ]
        table(["broker", "segment", "last run of", "days old>", "rows>", ""], rows)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
