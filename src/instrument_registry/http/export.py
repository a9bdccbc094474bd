"""The catalogue, or a part of it, as one file."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.catalog import exporting
from instrument_registry.catalog.export_formats import FORMATS, Format
from instrument_registry.catalog.exporting import Wanted
from instrument_registry.catalog.model import Kind
from instrument_registry.database import Database
from instrument_registry.http.encoding import entity_tag, not_modified
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.queries import KnownAt, read_query
from instrument_registry.http.routes import room
from instrument_registry.http.spelling import spelt
from instrument_registry.http.streaming import TooManyStreams, streamed
from instrument_registry.wiring import Registry

Several = tuple[Annotated[str, msgspec.Meta(max_length=100)], ...]


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which instruments, in which format; those that have ended by the day are left out."""

    format: Literal["csv", "jsonl", "arrow", "parquet"] = "csv"
    as_of: date | None = None
    as_known_at: KnownAt | None = None
    venue: Several = ()
    kind: tuple[Kind, ...] = ()
    underlying: Several = ()
    broker: Annotated[
        Several, msgspec.Meta(description="Only what these have a token for, and only their tokens.")
    ] = ()
    expiry_from: date | None = None
    expiry_to: date | None = None
    include_test: bool = False


TEXTS, BINARY = {"schema": {"type": "string"}}, {"schema": {"type": "string", "format": "binary"}}
MEDIA = {
    one.media_type.partition(";")[0]: TEXTS if name in ("csv", "jsonl") else BINARY for name, one in FORMATS.items()
}

router = room(tag="export")


@router.get(
    "/export",
    **describe(query=ExportQuery, media=MEDIA, means="The instruments by key", problems=(TooManyStreams,), tagged=True),
)
@costs(RouteClass.EXPENSIVE)
async def export(request: Request) -> Response:
    """The instruments that live on a market date, by key, with a column for each broker's tokens.

    CSV and the Arrow formats name these columns `token_<broker>`; a line of JSON has the members an instrument has in
    answers. All rows are of one moment; the entity tag changes with the catalogue.
    """
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, ExportQuery)
    chosen = {"venue": asked.venue, "underlying": asked.underlying, "broker": asked.broker}
    asked = msgspec.structs.replace(asked, **spelt(chosen, where="query"))
    format_ = FORMATS[asked.format]
    day = asked.as_of or registry.catalogue.today()
    async with registry.database.transaction(read_only=True) as tx:
        position = await events.head_position(tx)
        brokers = sorted(set(asked.broker)) or await exporting.brokers_heard(tx)
    tag = entity_tag(asked, day, brokers, position)
    unchanged = not_modified(request.scope, tag)
    if unchanged is not None:
        return unchanged
    wanted = Wanted(
        day=day, known_at=asked.as_known_at, venues=asked.venue, kinds=asked.kind, underlyings=asked.underlying,
        brokers=asked.broker, expiry_from=asked.expiry_from, expiry_to=asked.expiry_to, include_test=asked.include_test,
    )  # fmt: skip
    name = f"instruments-{day}.{format_.suffix}"
    headers = {
        "etag": tag,
        "content-disposition": f'attachment; filename="{name}"',
        "x-catalog-position": str(position),
    }
    pieces = _pieces(registry.database, wanted, format_, brokers)
    return await streamed(pieces, media_type=format_.media_type, headers=headers)


def _pieces(database: Database, wanted: Wanted, format_: Format, brokers: Sequence[str]) -> Iterator[bytes]:
    with database.blocking_session("export") as connection, closing(exporting.read(connection, wanted)) as batches:
        yield from format_.encode(batches, brokers)
