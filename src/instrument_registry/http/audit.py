"""The audit: who changed what, from what to what, why; and the proof that nobody changed the answer."""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import Scope
from instrument_registry.database import Database
from instrument_registry.events.audit import merkle, service
from instrument_registry.events.audit.model import (
    Kept,
    NotUnderCheckpoint,
    Record,
    RecordNotFound,
    SizeUnknown,
    Text,
    Wanted,
)
from instrument_registry.http.encoding import Pagination, json_bytes, json_response
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import numbered
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.http.streaming import TooManyStreams, streamed
from instrument_registry.wiring import Registry

PIECE_RECORDS = 500
RENAMED = {"from_": "from"}
COLUMNS = (
    "position", "at", "action", "actor", "subject", "old", "new", "reason", "correlation_id", "address", "facts",
    "data_sha256", "number",
)  # fmt: skip

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Cursor = Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)]
Position = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class AuditRecordShown(msgspec.Struct, frozen=True, kw_only=True):
    """One record as its text says it; without a position it has not been sealed yet.

    `data_sha256` is the digest of the data of the facts it tells of, as the fact log keeps them.
    """

    position: int | None
    at: datetime
    action: str
    actor: str
    subject: str
    old: msgspec.Raw
    new: msgspec.Raw
    reason: str | None
    correlation_id: str
    address: str | None
    facts: int
    data_sha256: str
    number: str


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Records, the newest first."""

    records: list[AuditRecordShown]
    pagination: Pagination


class SealedRecordShown(msgspec.Struct, frozen=True, kw_only=True):
    """A record and its exact text: SHA-256 of a zero byte and the text is its leaf."""

    record: AuditRecordShown
    text: str
    leaf: Hash


class CheckpointShown(msgspec.Struct, frozen=True, kw_only=True):
    """How large the tree was, with which root, signed; `note` is what was signed and the signature (signed note)."""

    size: int
    root: Hash
    at: datetime
    key_id: str
    note: str


class CheckpointPage(msgspec.Struct, frozen=True, kw_only=True):
    """Checkpoints, the newest first."""

    checkpoints: list[CheckpointShown]
    pagination: Pagination


class InclusionShown(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9162, 2.1.3: `path` leads from the leaf (index position - 1) to the root of the checkpoint."""

    position: int
    leaf: Hash
    path: list[Hash]
    checkpoint: CheckpointShown


class ConsistencyShown(msgspec.Struct, frozen=True, kw_only=True, rename=RENAMED):
    """RFC 9162, 2.1.4: `path` shows that the tree of size `from` is the beginning of that of size `to`."""

    from_: int
    to: int
    from_root: Hash
    to_root: Hash
    path: list[Hash]


class _Filters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=RENAMED):
    """Which records."""

    actor: Annotated[Word, msgspec.Meta(description="api_key:<id>, a user at a terminal, a worker.")] | None = None
    subject: Annotated[Word, msgspec.Meta(description="An instrument's id, a key's id, else a stream.")] | None = None
    action: Annotated[Word, msgspec.Meta(description="A fact's type: alias.added, access.refused.")] | None = None
    correlation_id: Word | None = None
    from_: Annotated[Instant, msgspec.Meta(description="Recorded at this instant or later.")] | None = None
    to: Annotated[Instant, msgspec.Meta(description="Recorded before this instant.")] | None = None


class AuditQuery(_Filters, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=RENAMED):
    """Which records to list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Cursor | None = None


class AuditExportQuery(_Filters, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=RENAMED):
    """Which records to write, and how."""

    format: Literal["jsonl", "csv"] = "jsonl"


class CheckpointsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many checkpoints to list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Cursor | None = None


class ProofQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to which checkpoint."""

    size: Annotated[Position, msgspec.Meta(description="A checkpoint's size; else the newest one.")] | None = None


class ConsistencyQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=RENAMED):
    """Between which sizes of the tree."""

    from_: Position
    to: Position


router = room(tag="audit")


@router.get("/audit", **describe(query=AuditQuery, answer=AuditPage, means="The records"))
@needs(Scope.OPERATOR)
async def list_records(request: Request) -> Response:
    """Every change, refusal and action of an operator: by whom, of what, from what to what, why, whence and when."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, AuditQuery)
    wanted = _wanted(asked)
    question = ("audit", wanted)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.search(tx, wanted, before=before, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].number, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(AuditPage(records=[_shown(one) for one in page], pagination=pagination))


MEDIA = {name: {"schema": {"type": "string"}} for name in ("application/x-ndjson", "text/csv")}


@router.get(
    "/audit/export",
    **describe(query=AuditExportQuery, media=MEDIA, means="The records, the oldest first", problems=(TooManyStreams,)),
)
@needs(Scope.OPERATOR)
@costs(RouteClass.EXPENSIVE)
async def export_records(request: Request) -> Response:
    """The records as a file. A line of JSON holds `position` and the record's exact text as `record`."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, AuditExportQuery)
    lines, media_type = (_csv, "text/csv; charset=utf-8") if asked.format == "csv" else (_lines, "application/x-ndjson")
    headers = {"content-disposition": f'attachment; filename="audit.{asked.format}"'}

    def pieces(database: Database) -> Iterator[bytes]:
        with (
            database.blocking_session("audit export") as connection,
            closing(service.read_through(connection, _wanted(asked))) as records,
        ):
            yield from lines(records)

    return await streamed(pieces(registry.database), media_type=media_type, headers=headers)


@router.get(
    "/audit/checkpoints", **describe(query=CheckpointsQuery, answer=CheckpointPage, means="The signed checkpoints")
)
@needs(Scope.OPERATOR)
async def list_checkpoints(request: Request) -> Response:
    """What was signed and when; each is also outside the database, in <data dir>/audit/checkpoints.log."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, CheckpointsQuery)
    question = ("audit checkpoints",)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.checkpoints(tx, before=before, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].size, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(CheckpointPage(checkpoints=[_checkpoint(one) for one in page], pagination=pagination))


@router.post(
    "/audit/checkpoints",
    **describe(
        answer=CheckpointShown, status=201, means="It covers everything recorded so far", problems=(NotUnderCheckpoint,)
    ),
)
@needs(Scope.OPERATOR)
async def make_checkpoint(request: Request) -> Response:
    """Let the sealer sign for everything recorded so far, now."""
    registry: Registry = request.app.state.registry
    await events.wake(registry.database)
    return json_response(_checkpoint(await service.checkpoint_now(registry.database)), 201)


@router.get(
    "/audit/consistency",
    **describe(query=ConsistencyQuery, answer=ConsistencyShown, means="The proof", problems=(SizeUnknown,)),
)
@needs(Scope.OPERATOR)
async def prove_consistency(request: Request) -> Response:
    """The proof that nothing below an older size has changed since."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, ConsistencyQuery)
    async with registry.database.transaction(read_only=True) as tx:
        told = await service.compare(tx, asked.from_, asked.to)
    from_root, to_root = (root.hex() for root in told.roots)
    path = [one.hex() for one in told.path]
    return json_response(
        ConsistencyShown(from_=told.first, to=told.second, from_root=from_root, to_root=to_root, path=path)
    )


@router.get("/audit/{position}", **describe(answer=SealedRecordShown, means="The record", problems=(RecordNotFound,)))
@needs(Scope.OPERATOR)
async def one_record(request: Request) -> Response:
    """The record at a position, with the exact text that was hashed."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.get(tx, numbered(request.scope, "position"))
    leaf = merkle.leaf_hash(found.text.encode()).hex()
    return json_response(SealedRecordShown(record=_shown(found), text=found.text, leaf=leaf))


@router.get(
    "/audit/{position}/proof",
    **describe(
        query=ProofQuery, answer=InclusionShown, means="The proof",
        problems=(RecordNotFound, NotUnderCheckpoint, SizeUnknown),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def prove_inclusion(request: Request) -> Response:
    """The proof that a record is in the tree of a signed checkpoint; archived records have one, too."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, ProofQuery)
    async with registry.database.transaction(read_only=True) as tx:
        proof = await service.prove(tx, numbered(request.scope, "position"), size=asked.size)
    return json_response(
        InclusionShown(
            position=proof.position, leaf=proof.leaf.hex(), path=[one.hex() for one in proof.path],
            checkpoint=_checkpoint(proof.checkpoint),
        )
    )  # fmt: skip


def _wanted(asked: _Filters) -> Wanted:
    return Wanted(
        actor=asked.actor, subject=asked.subject, action=asked.action, correlation_id=asked.correlation_id,
        since=asked.from_, until=asked.to,
    )  # fmt: skip


def _shown(record: Record) -> AuditRecordShown:
    said = msgspec.json.decode(record.text, type=Text)
    return AuditRecordShown(position=record.position, **{name: getattr(said, name) for name in COLUMNS[1:]})


def _checkpoint(kept: Kept) -> CheckpointShown:
    return CheckpointShown(
        size=kept.size, root=kept.root.hex(), at=kept.at, key_id=kept.key_id, note=kept.note
    )  # fmt: skip


def _lines(records: Iterable[Record]) -> Iterator[bytes]:
    for some in _pieces(records):
        yield b"".join(
            json_bytes({"position": one.position, "record": msgspec.Raw(one.text.encode())}) + b"\n" for one in some
        )


def _csv(records: Iterable[Record]) -> Iterator[bytes]:
    header = io.StringIO()
    csv.writer(header).writerow(COLUMNS)
    yield header.getvalue().encode()
    for some in _pieces(records):
        text = io.StringIO()
        rows = csv.writer(text)
        for one in some:
            shown = _shown(one)
            values = (getattr(shown, name) for name in COLUMNS)
            rows.writerow(
                [bytes(value).decode() if isinstance(value, msgspec.Raw) else _plain(value) for value in values]
            )
        yield text.getvalue().encode()


def _plain(value: object) -> object:
    return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(value, datetime) else value


def _pieces(records: Iterable[Record]) -> Iterator[list[Record]]:
    some: list[Record] = []
    for one in records:
        some.append(one)
        if len(some) == PIECE_RECORDS:
            yield some
            some = []
    yield some
