"""`instrument-registry resolve`: what identifiers mean.

Exit codes: 0 each means one instrument, 1 one of them does not or failed, 2 wrong usage, 3 not allowed.
"""

import sys
from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client, completing
from instrument_registry.cli.listing import Instrument, table_of
from instrument_registry.cli.tables import note

FROM_INPUT = "-"


class _Candidate(msgspec.Struct):
    key: str


class _Ambiguous(msgspec.Struct):
    requested: str
    candidates: list[_Candidate]


class _Interval(msgspec.Struct):
    key: str
    valid_from: str
    valid_to: str | None


class _Partial(msgspec.Struct):
    requested: str
    intervals: list[_Interval]


class _Missing(msgspec.Struct):
    requested: str
    suggestions: list[_Candidate]


class _Answer(msgspec.Struct):
    instruments: list[Instrument]
    partial: list[_Partial]
    ambiguous: list[_Ambiguous]
    not_found: list[_Missing]
    as_of: str
    could_not_tell: list[str] = []


def resolve(
    identifiers: Annotated[
        list[str],
        typer.Argument(
            help="Keys, broker:token, broker:SEGMENT:token, isin:…, ids, symbols, NFO:NIFTY;F;@1; - reads lines."
        ),
    ],
    as_of: Annotated[str | None, typer.Option(help="As of this market date, YYYY-MM-DD.")] = None,
    broker: Annotated[
        list[str] | None, typer.Option(help="Show this broker's tokens alone.", autocompletion=completing.brokers)
    ] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Say what identifiers of any sort mean on a market date."""
    asked = [one for text in identifiers for one in (_lines() if text == FROM_INPUT else [text])]
    body: dict[str, object] = {"instrument_ids": asked, "include_metadata": True}
    if as_of is not None:
        body["as_of"] = as_of
    content = client.connect(url, key).post("/instruments/bulk", body)
    answer = client.read(content, _Answer)
    if as_json:
        client.print_json(content)
    else:
        _print(answer, [one.lower() for one in broker or ()])
    if answer.partial or answer.ambiguous or answer.not_found or answer.could_not_tell:
        raise typer.Exit(1)


def _lines() -> list[str]:
    return [line.strip() for line in sys.stdin if line.strip()]


def _print(answer: _Answer, brokers: list[str]) -> None:
    if answer.instruments:
        table_of(answer.instruments, brokers=brokers, first="requested")
    for many in answer.ambiguous:
        note(f"{many.requested} means {len(many.candidates)}: {', '.join(one.key for one in many.candidates)}")
    for once in answer.partial:
        meant = "; ".join(
            f"{one.key} from {one.valid_from} until before {one.valid_to or '…'}" for one in once.intervals
        )
        note(f"{once.requested} means nothing on {answer.as_of}, but {meant}")
    for missing in answer.not_found:
        guess = f"; did you mean {', '.join(one.key for one in missing.suggestions)}?" if missing.suggestions else ""
        note(f"{missing.requested} means nothing{guess}")
    for unknown in answer.could_not_tell:
        note(f"{unknown} is not among what is listed now; the database, which knows the rest, does not answer")
