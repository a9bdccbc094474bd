"""One instrument and many: resolving identifiers, their history, their broker tokens."""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.catalog import feed, history, lookup
from instrument_registry.catalog.history import InstrumentNotFound
from instrument_registry.catalog.search import Index, Query
from instrument_registry.catalog.search.lookup import Resolved, resolve
from instrument_registry.database import DatabaseUnavailable
from instrument_registry.errors import Conflict
from instrument_registry.http.bodies import read_json
from instrument_registry.http.correlation import correlation_of
from instrument_registry.http.encoding import (
    bytes_response,
    entity_tag,
    json_bytes,
    json_response,
    not_modified,
    response_time_ms,
)
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.problems import FieldProblem, refused
from instrument_registry.http.queries import KnownAt, read_query
from instrument_registry.http.routes import room
from instrument_registry.http.shapes import (
    Ambiguous,
    BulkAnswer,
    Candidate,
    History,
    HistoryEvent,
    Instrument,
    MeaningInterval,
    Missing,
    Partial,
    Tokens,
    TokenValidity,
    Version,
)
from instrument_registry.http.stale import from_memory
from instrument_registry.wiring import Registry

BULK_MAX = 10_000
BULK_SMALL = 500  # looked up even when memory is short
AT_ONCE = 1_000  # identifiers of a bulk between which others have their turn
SUGGESTED = 20
SUGGESTIONS = 3
AMBIGUOUS_MAX = 20
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class AmbiguousIdentifier(Conflict):
    """Name one of the candidates, or add the broker's segment."""

    title = "The identifier means several instruments"


class OneQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be resolved: an identifier, or a broker's token with or without its segment."""

    identifier: Identifier | None = None
    broker: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    segment: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    token: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    as_of: date | None = None
    as_known_at: KnownAt | None = None


class DayQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The two axes of time."""

    as_of: date | None = None
    as_known_at: KnownAt | None = None


class BulkBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Identifiers of any sort, mixed.

    Keys, `broker:token`, `broker:SEGMENT:token`, `isin:…`, ids, symbols, `NFO:NIFTY;F;@1`.
    """

    instrument_ids: Annotated[list[Identifier], msgspec.Meta(min_length=1, max_length=BULK_MAX)]
    include_metadata: bool = False
    as_of: date | None = None
    as_known_at: KnownAt | None = None


router = room(tag="instruments")


@router.get(
    "/instruments/resolve",
    **describe(
        query=OneQuery,
        answer=Instrument,
        means="The instrument",
        problems=(InstrumentNotFound, AmbiguousIdentifier),
        tagged=True,
        from_memory=True,
    ),
)
async def resolve_one(request: Request) -> Response:
    """What one identifier means on a market date."""
    asked = read_query(request.scope, OneQuery)
    return await _one(request, _identifier(asked), as_of=asked.as_of, known_at=asked.as_known_at)


@router.post(
    "/instruments/bulk",
    **describe(body=BulkBody, answer=BulkAnswer, means="What each identifier means", from_memory=True),
)
@costs(RouteClass.READ)
async def bulk(request: Request) -> Response:
    """What up to 10,000 identifiers mean on a market date."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, BulkBody)
    if len(asked.instrument_ids) > BULK_SMALL:
        request.app.state.memory.require_room(f"A look-up of {len(asked.instrument_ids)} identifiers")
    index = await registry.catalogue.as_of(asked.as_of, known_at=asked.as_known_at)
    view = index.view
    answers: list[Resolved] = []
    for start in range(0, len(asked.instrument_ids), AT_ONCE):
        answers += resolve(view, asked.instrument_ids[start : start + AT_ONCE])
        await asyncio.sleep(0)  # so that nobody's search waits for all of it
    left = [place for place, answer in enumerate(answers) if not answer.rows]
    told = await _elsewhere_if_it_answers(registry, index, asked, left)
    found: list[bytes] = []
    partial: list[Partial] = []
    ambiguous: list[Ambiguous] = []
    missing: list[Missing] = []
    could_not_tell: list[str] = []
    for place, (text, answer) in enumerate(zip(asked.instrument_ids, answers, strict=True)):
        if place and place % AT_ONCE == 0:
            await asyncio.sleep(0)
        rows = answer.rows or (told[place].rows if told is not None else ())
        if rows and (len(rows) == 1 or answer.by == "symbol"):
            found.append(_bulk_item(index, text, rows[0], whole=asked.include_metadata))
        elif rows:
            candidates = [_candidate(index, row) for row in rows[:AMBIGUOUS_MAX]]
            ambiguous.append(Ambiguous(requested=text, candidates=candidates))
        elif told is None:
            could_not_tell.append(text)
        elif told[place].intervals:
            partial.append(Partial(requested=text, intervals=told[place].intervals))
        else:
            suggestions = _suggest(index, text) if len(missing) < SUGGESTED else []
            missing.append(Missing(requested=text, suggestions=suggestions))
    counts = {"found": len(found), "partial": len(partial), "ambiguous": len(ambiguous), "not_found": len(missing)}
    if could_not_tell:
        counts["could_not_tell"] = len(could_not_tell)
    body = {
        "instruments": msgspec.Raw(b"[" + b",".join(found) + b"]"), "partial": partial, "ambiguous": ambiguous,
        "not_found": missing, "could_not_tell": could_not_tell, "counts": counts, "as_of": view.as_of,
        "catalog_position": view.position,
        "index_age_seconds": registry.catalogue.age_seconds, "correlation_id": correlation_of(request.scope),
        "response_time_ms": response_time_ms(request.scope),
    }  # fmt: skip
    return from_memory(request.scope, bytes_response(json_bytes(body)))


@router.get(
    "/instruments/{key:path}/history",
    **describe(
        query=DayQuery, answer=History, means="Versions and facts", problems=(InstrumentNotFound, AmbiguousIdentifier)
    ),
)
async def instrument_history(request: Request) -> Response:
    """Everything that happened to an instrument: its versions on both axes of time, and the facts."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, DayQuery)
    day = asked.as_of or registry.catalogue.today()
    async with registry.database.transaction(read_only=True) as tx:
        meaning = await meant(request, named(request.scope, "key"), day, known_at=asked.as_known_at or history.LATEST)
        life = await history.life(tx, meaning.id)
        versions = await history.versions(tx, meaning.id, known_at=asked.as_known_at)
        told = await events.read_about(tx, life.ulid, limit=history.FACTS_MAX)
    return json_response(
        History(
            id=life.ulid,
            listed_on=life.listed_on,
            ended_on=life.ended_on,
            ended_as=life.ended_as,
            versions=[_version(version) for version in versions],
            events=[
                HistoryEvent(
                    type=one.type,
                    position=one.position,
                    occurred_at=one.occurred_at,
                    data=msgspec.Raw(one.data.encode()),
                )
                for one in told
            ],
        )
    )


@router.get(
    "/instruments/{key:path}/tokens",
    **describe(
        query=DayQuery,
        answer=Tokens,
        means="Broker tokens",
        problems=(InstrumentNotFound, AmbiguousIdentifier),
        from_memory=True,
    ),
)
async def instrument_tokens(request: Request) -> Response:
    """What each broker called the instrument, and when; where brokers disagree on the day."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, DayQuery)
    day, known_at = asked.as_of or registry.catalogue.today(), asked.as_known_at or history.LATEST
    key = named(request.scope, "key")
    try:
        meaning = await meant(request, key, day, known_at=known_at)
        async with registry.database.transaction(read_only=True) as tx:
            tokens = await history.tokens(tx, meaning.id, known_at=known_at)
    except DatabaseUnavailable:
        answer = _tokens_of_now(registry, key) if _of_now(registry, asked.as_of, asked.as_known_at) else None
        if answer is None:
            raise
        return from_memory(request.scope, json_response(answer))
    told = [_token(token) for token in tokens]
    disagreements = dict(history.disagreements(tokens, day))
    return json_response(Tokens(id=meaning.ulid, key=meaning.key, tokens=told, disagreements=disagreements))


@router.get(
    "/instruments/{key:path}",
    **describe(
        query=DayQuery,
        answer=Instrument,
        means="The instrument",
        problems=(InstrumentNotFound, AmbiguousIdentifier),
        tagged=True,
        from_memory=True,
    ),
)
async def instrument(request: Request) -> Response:
    """One instrument by key, id, or any other identifier."""
    asked = read_query(request.scope, DayQuery)
    return await _one(request, named(request.scope, "key"), as_of=asked.as_of, known_at=asked.as_known_at)


def _identifier(asked: OneQuery) -> str:
    if asked.identifier is not None and asked.token is None and asked.broker is None:
        return asked.identifier
    if asked.identifier is None and asked.broker and asked.token:
        return f"{asked.broker}:{asked.segment}:{asked.token}" if asked.segment else f"{asked.broker}:{asked.token}"
    given = ", ".join(name for name in ("identifier", "broker", "segment", "token") if getattr(asked, name) is not None)
    remedy = "Send either `identifier`, or `broker` and `token` (and `segment`)"
    problem = "is missing" if asked.identifier is None else "goes with no other parameter"
    raise refused([FieldProblem(field="query.identifier", problem=problem, remedy=remedy, value=given or None)])


async def _one(request: Request, text: str, *, as_of: date | None, known_at: datetime | None) -> Response:
    registry: Registry = request.app.state.registry
    catalogue = registry.catalogue
    if known_at is None:
        index = await catalogue.as_of(as_of)
        answer = resolve(index.view, [text])[0]
        if answer.rows and not _one_of_many(answer):
            candidates = [_candidate(index, row) for row in answer.rows[:AMBIGUOUS_MAX]]
            raise _ambiguous(text, candidates)
        if answer.rows:
            return _from_memory(request, index, answer.rows[0])
    day = as_of or catalogue.today()
    meaning = await meant(request, text, day, known_at=known_at or history.LATEST)
    former = None if meaning.at(day) else _interval(meaning)
    if known_at is None and (rows := resolve(index.view, [meaning.ulid])[0].rows):
        return _from_memory(request, index, rows[0], former=former)
    shown = await _then(registry, meaning, day, known_at=known_at or history.LATEST)
    if former is not None:
        shown = msgspec.structs.replace(shown, meant=former)
    tag = entity_tag(shown)
    return not_modified(request.scope, tag) or bytes_response(json_bytes(shown), headers={"etag": tag})


def _of_now(registry: Registry, as_of: date | None, known_at: datetime | None) -> bool:
    return known_at is None and as_of in (None, registry.catalogue.index.view.as_of)


def _tokens_of_now(registry: Registry, text: str) -> Tokens | None:
    """The tokens memory knows an instrument has now; since when, and who disagrees, only the tables know."""
    index = registry.catalogue.index
    found = resolve(index.view, [text])[0]
    if not found.rows:
        return None
    if not _one_of_many(found):
        raise _ambiguous(text, [_candidate(index, row) for row in found.rows[:AMBIGUOUS_MAX]])
    shown = msgspec.json.decode(index.view.fragment(found.rows[0]) + b"}", type=_Tokened)
    nothing: dict[str, str | None] = dict.fromkeys(TokenValidity.__struct_fields__)
    tokens = [
        msgspec.convert(nothing | {"broker": broker, "token": token}, TokenValidity)
        for broker, token in sorted(shown.tokens.items())
    ]
    return Tokens(id=shown.id, key=shown.key, tokens=tokens, disagreements=None)


def _from_memory(request: Request, index: Index, row: int, *, former: MeaningInterval | None = None) -> Response:
    more = b',"meant":' + json_bytes(former) if former else b""
    content = index.view.fragment(row) + more + b"}"
    tag = entity_tag(content)
    answer = not_modified(request.scope, tag) or bytes_response(content, headers={"etag": tag})
    return from_memory(request.scope, answer)


async def meant(request: Request, text: str, day: date, *, known_at: datetime) -> lookup.Meaning:
    """The one instrument an identifier means on a day; a former or expired key still leads to its instrument.

    Raises: InstrumentNotFound, AmbiguousIdentifier.
    """
    registry: Registry = request.app.state.registry
    index = registry.catalogue.index
    brokers = index.view.shelf.brokers.texts[1:]
    async with registry.database.transaction(read_only=True) as tx:
        (found,) = await lookup.meanings(tx, [text], brokers=brokers, known_at=known_at)
        if not found and (rows := resolve(index.view, [text])[0].rows):
            # A symbol or a relative reference: memory knows it, the database knows its id.
            candidate = _candidate(index, rows[0])
            (found,) = await lookup.meanings(tx, [candidate.id], brokers=brokers, known_at=known_at)
    told = lookup.joined(found)
    on_day = [meaning for meaning in told if meaning.at(day)]
    instruments = {meaning.id for meaning in on_day}
    if len(instruments) > 1:
        raise _ambiguous(text, [Candidate(id=meaning.ulid, key=meaning.key) for meaning in on_day[:AMBIGUOUS_MAX]])
    if on_day:
        return on_day[0]
    by_name = told and not _is_token(text, brokers)
    if by_name:  # names outlive what they named, tokens do not
        return max(told, key=lambda meaning: (meaning.valid_from <= day, meaning.valid_from))
    facts = {
        "identifier": text[:200],
        "as_of": day,
        "meant": [
            {"id": one.ulid, "key": one.key, "valid_from": one.valid_from, "valid_to": one.valid_to}
            for one in told[:AMBIGUOUS_MAX]
        ],
        "suggestions": _suggest(index, text),
    }
    raise InstrumentNotFound(f"{text[:200]} means nothing on {day}", **facts)


async def _then(registry: Registry, meaning: lookup.Meaning, day: date, *, known_at: datetime) -> Instrument:
    """An instrument as it was on a day, as far as was known at an instant, from the database."""
    async with registry.database.transaction(read_only=True) as tx:
        life = await history.life(tx, meaning.id)
        version = history.version_on(await history.versions(tx, meaning.id, known_at=known_at), day)
        tokens = await history.tokens(tx, meaning.id, known_at=known_at)
        overridden = await feed.overrides_known(tx, meaning.id, day, known_at=known_at)
        cycle = version and await history.cycle_on(tx, version, day, known_at=known_at)
    if version is None:
        raise InstrumentNotFound(
            f"Nothing was known of {meaning.key} at {known_at.isoformat()}", identifier=meaning.key
        )
    status = history.status_on(version, life, day)
    row = feed.row_of(version, ulid=life.ulid, identifier=life.id, status=status, overridden=overridden)
    own = {token.broker: token.token for token in reversed(tokens) if token.at(day)}
    return msgspec.convert(row | {"tokens": own, "cycle": cycle}, Instrument)


def _one_of_many(answer: Resolved) -> bool:
    """Whether several rows are one answer: a plain symbol is the first listing that bears it."""
    return len(answer.rows) == 1 or answer.by == "symbol"


def _bulk_item(index: Index, requested: str, row: int, *, whole: bool) -> bytes:
    fragment = index.view.fragment(row) if whole else _head(index, row)
    return b'{"requested":' + msgspec.json.encode(requested) + b"," + fragment[1:] + b"}"


def _candidate(index: Index, row: int) -> Candidate:
    return msgspec.json.decode(_head(index, row) + b"}", type=Candidate)


def _head(index: Index, row: int) -> bytes:
    """The JSON of a row's id and key, from the opening brace, without the closing one."""
    return index.view.shelf.text(index.view.columns, row).partition(b',"symbol":')[0]


class _Tokened(msgspec.Struct, frozen=True):
    """What the JSON of a row says of its tokens."""

    id: str
    key: str
    tokens: dict[str, str] = {}


class _Told(NamedTuple):
    """What the database says of an identifier: rows that it means on the day, else what it meant and when."""

    rows: tuple[int, ...] = ()
    intervals: Sequence[MeaningInterval] = ()


async def _elsewhere_if_it_answers(
    registry: Registry, index: Index, asked: BulkBody, left: Sequence[int]
) -> dict[int, _Told] | None:
    """The same as `_elsewhere`, or None where the database is away and memory answers for now."""
    try:
        return await _elsewhere(registry, index, asked, left)
    except DatabaseUnavailable:
        if not _of_now(registry, asked.as_of, asked.as_known_at):
            raise
        return None


async def _elsewhere(registry: Registry, index: Index, asked: BulkBody, left: Sequence[int]) -> dict[int, _Told]:
    """What identifiers that memory does not know mean or meant, by their place."""
    if not left:
        return {}
    texts = [asked.instrument_ids[place] for place in left]
    brokers, known_at = index.view.shelf.brokers.texts[1:], asked.as_known_at or history.LATEST
    async with registry.database.transaction(read_only=True) as tx:
        meanings = [
            lookup.joined(found) for found in await lookup.meanings(tx, texts, brokers=brokers, known_at=known_at)
        ]
    told: dict[int, _Told] = {}
    for place, meant_ in zip(left, meanings, strict=True):
        now = list(dict.fromkeys(one.ulid for one in meant_ if one.at(index.view.as_of)))
        rows = tuple(row for answer in resolve(index.view, now) for row in answer.rows) if now else ()
        told[place] = _Told(rows, [_interval(one) for one in meant_])
    return told


def _interval(meaning: lookup.Meaning) -> MeaningInterval:
    return MeaningInterval(id=meaning.ulid, key=meaning.key, valid_from=meaning.valid_from, valid_to=meaning.valid_to)


def _suggest(index: Index, text: str) -> list[Candidate]:
    page = index.search(Query(text=text.replace(":", " ").replace(";", " ")[:100], limit=SUGGESTIONS))
    return [_candidate(index, hit.row) for hit in page.hits]


def _ambiguous(text: str, candidates: list[Candidate]) -> AmbiguousIdentifier:
    return AmbiguousIdentifier(
        f"{text[:200]} means {len(candidates)} instruments", identifier=text[:200], candidates=candidates
    )


def _is_token(text: str, brokers: Sequence[str]) -> bool:
    return text.partition(":")[0].lower() in brokers


def _version(version: history.Version) -> Version:
    return msgspec.convert({name: feed.plain(getattr(version, name)) for name in Version.__struct_fields__}, Version)


def _token(token: history.BrokerToken) -> TokenValidity:
    return msgspec.convert(
        {name: feed.plain(getattr(token, name)) for name in TokenValidity.__struct_fields__}, TokenValidity
    )
