"""Brokers: what each publishes, how fresh our copy is, what it calls an instrument, and fetching it now."""

import tempfile
from datetime import date
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import Scope
from instrument_registry.catalog.history import InstrumentNotFound
from instrument_registry.catalog.ingestion import jobs, publishers
from instrument_registry.catalog.ingestion.addresses import FetchRefused
from instrument_registry.catalog.ingestion.file_names import date_in_name
from instrument_registry.catalog.ingestion.jobs import KeyUsedOtherwise
from instrument_registry.catalog.ingestion.publishers import NoSuchBroker, Publisher, TokensOfInstrument
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json, read_raw
from instrument_registry.http.encoding import json_response
from instrument_registry.http.jobs import JOB_HEADERS, JobShown, accepted, idempotency_key
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.problems import FieldProblem, refused
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry

UPLOAD_PATH = "/upload"
UPLOAD_LIMIT_BYTES = 128 * 1024 * 1024
UPLOAD_TIMEOUT_SECONDS = 600.0  # the largest one over a line of 2 Mbit/s
IN_MEMORY_BYTES = 1024 * 1024

Segments = Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=40)]], msgspec.Meta(max_length=50)]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class BrokerList(msgspec.Struct, frozen=True, kw_only=True):
    """Every broker and exchange whose dumps are read."""

    brokers: list[Publisher]


class BrokerTokensQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of a broker's tokens."""

    as_of: (
        Annotated[date, msgspec.Meta(description="Those of one market date; without it all there ever were.")] | None
    ) = None


class IngestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to ingest: public addresses, or without any those the broker publishes at; and how to take it."""

    sources: Annotated[list[Address], msgspec.Meta(max_length=20)] = []
    market_date: date | None = None  # that of the file name, else of its last change, else today
    scope: Segments = []  # segments that must be there; those of the last run
    allow_older: bool = False
    dry_run: bool = False


class UploadQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the uploaded dump is called, and how to take it."""

    name: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,149}$", description="The file's name: it may tell the market date."
        ),
    ]
    market_date: date | None = None
    scope: Segments = []
    allow_older: bool = False
    dry_run: bool = False


router = room(tag="brokers")


@router.get("/brokers", **describe(answer=BrokerList, means="The brokers"))
async def list_brokers(request: Request) -> Response:
    """Every broker with its public addresses, the newest run of each segment, and when it is fetched by itself."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        found = await publishers.publishers(tx, now=registry.clock())
    return json_response(BrokerList(brokers=found))


@router.get("/brokers/{broker}", **describe(answer=Publisher, means="The broker", problems=(NoSuchBroker,)))
async def one_broker(request: Request) -> Response:
    """A broker with its public addresses, the newest run of each segment, and when it is fetched by itself."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        (found,) = await publishers.publishers(tx, now=registry.clock(), only=named(request.scope, "broker"))
    return json_response(found)


@router.get(
    "/brokers/{broker}/tokens/{key:path}",
    **describe(
        query=BrokerTokensQuery, answer=TokensOfInstrument, means="The tokens, none where the broker does not list it",
        problems=(NoSuchBroker, InstrumentNotFound),
    ),
)  # fmt: skip
async def broker_tokens(request: Request) -> Response:
    """What a broker calls an instrument, named by its key or id, and called it before."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, BrokerTokensQuery)
    broker, key = named(request.scope, "broker"), named(request.scope, "key")
    async with registry.database.transaction(read_only=True) as tx:
        found = await publishers.tokens_of(tx, broker, key, as_of=asked.as_of, today=registry.catalogue.today())
    return json_response(found)


@router.post(
    "/brokers/{broker}/ingest",
    **describe(
        body=IngestBody, headers=JOB_HEADERS, answer=JobShown, status=202, means="The job",
        problems=(NoSuchBroker, FetchRefused, KeyUsedOtherwise),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
@costs(RouteClass.EXPENSIVE)
async def ingest_broker(request: Request) -> Response:
    """Fetch a broker's dump and ingest it, as a job."""
    registry: Registry = request.app.state.registry
    broker = publishers.known(named(request.scope, "broker"))
    asked, key = await read_json(request, IngestBody), idempotency_key(request)
    _refuse_future(registry, asked.market_date, field="body.market_date", value=asked.market_date)
    jobs.check_sources(asked.sources, allowed=registry.settings.fetch_networks)
    arguments = {"broker": broker.id, **msgspec.to_builtins(asked)}
    async with registry.database.transaction() as tx:
        job, _ = await jobs.submit(
            tx, jobs.INGEST, arguments, metadata=metadata_of(request.scope), at=registry.clock(), idempotency_key=key
        )
    return accepted(job)


@router.post(
    "/brokers/{broker}" + UPLOAD_PATH,
    **describe(
        query=UploadQuery, raw_body=True, headers=JOB_HEADERS, answer=JobShown, status=202, means="The job",
        problems=(NoSuchBroker, KeyUsedOtherwise),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
@costs(RouteClass.EXPENSIVE)
async def upload_dump(request: Request) -> Response:
    """Ingest one dump that comes with the request, packed (gzip, zip) or not, as a job."""
    registry: Registry = request.app.state.registry
    broker = publishers.known(named(request.scope, "broker"))
    asked, key = read_query(request.scope, UploadQuery), idempotency_key(request)
    if asked.market_date is not None:
        _refuse_future(registry, asked.market_date, field="query.market_date", value=asked.market_date)
    else:
        _refuse_future(registry, date_in_name(asked.name), field="query.name", value=asked.name)
    wanted: dict[str, object] = msgspec.to_builtins(asked)
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
        digest = await read_raw(request, file)
        arguments = {"broker": broker.id, **wanted, "file_name": wanted.pop("name"), "sha256": digest}
        async with registry.database.transaction() as tx:
            job, is_new = await jobs.submit(
                tx,
                jobs.INGEST,
                arguments,
                metadata=metadata_of(request.scope),
                at=registry.clock(),
                idempotency_key=key,
            )
            if is_new:
                await jobs.attach(tx, job.id, file)
    return accepted(job)


def _refuse_future(registry: Registry, day: date | None, *, field: str, value: object) -> None:
    today = registry.catalogue.today()
    if day is not None and day > today:
        problem = f"lies in the future: today is {today}"
        remedy = "Send the market date of the dump, which is today or earlier"
        raise refused([FieldProblem(field=field, problem=problem, remedy=remedy, value=str(value))])
