"""A query string is read, checked and published from one struct: its fields are the parameters."""

import re
from datetime import datetime
from functools import cache
from typing import Annotated, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.types import Scope

from instrument_registry.http.fields import explain, names_of
from instrument_registry.http.problems import FieldProblem, refused, unknown_name

QUERY_LIMIT_BYTES = 8_192
PARAMETER_LIMIT = 200
NO_NUMBERS = frozenset({"nan", "inf", "infinity"})  # which msgspec reads, and JSON cannot hold
DATED = re.compile(r"\d{4}-", re.ASCII)

KnownAt = Annotated[datetime, msgspec.Meta(tz=True, description="As was known at this instant.")]

Query = TypeVar("Query", bound=msgspec.Struct)


def read_query(scope: Scope, kind: type[Query]) -> Query:
    """The query string as a struct; names it does not have are refused, lists repeat their name.

    Raises: InvalidRequest.
    """
    values = _values(scope["query_string"], kind)
    try:
        query = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise explain(error, where="query", kind=kind, given=values) from error
    return query


def refuse_unknown(query_string: bytes, known: tuple[str, ...]) -> None:
    """Raises: InvalidRequest when a parameter is not among the known ones."""
    for name, _ in _pairs(query_string):
        if name not in known:
            raise refused([unknown_name("query", name, known)])


def is_list(kind: type[msgspec.Struct], name: str) -> bool:
    """Whether a parameter may be repeated."""
    return name in _lists(kind)


def _values(query_string: bytes, kind: type[msgspec.Struct]) -> dict[str, str | list[str]]:
    repeated = _lists(kind)
    known = names_of(kind)
    values: dict[str, str | list[str]] = {}
    for name, value in _pairs(query_string):
        if name not in known:
            raise refused([unknown_name("query", name, known)])
        if name in repeated:
            several = values.setdefault(name, [])
            assert isinstance(several, list)
            several.append(value)
        elif name in values:
            problem = FieldProblem(field=f"query.{name}", problem="is given twice", remedy="Send it once", value=value)
            raise refused([problem])
        elif value.lower() == "null" and name not in _texts(kind):  # msgspec would read it as absent
            problem = FieldProblem(field=f"query.{name}", problem="is not a value", remedy="Leave it out", value=value)
            raise refused([problem])
        elif name in _instants(kind) and not DATED.match(value):  # msgspec would read seconds of the epoch
            what = "an instant (YYYY-MM-DDThh:mm:ssZ)"
            problem = FieldProblem(field=f"query.{name}", problem=f"is not {what}", remedy=f"Send {what}", value=value)
            raise refused([problem])
        elif name in _floats(kind) and value.lower().lstrip("+-") in NO_NUMBERS:
            problem = FieldProblem(
                field=f"query.{name}", problem="is not a number", remedy="Send a number", value=value
            )
            raise refused([problem])
        else:
            values[name] = value
    return values


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    if not query_string:
        return []
    if len(query_string) > QUERY_LIMIT_BYTES:
        raise refused([_whole("is too long", f"Send at most {QUERY_LIMIT_BYTES} bytes")])
    if b"%00" in query_string:
        raise refused([_whole("holds a zero byte", "Leave it out")])
    if query_string.count(b"&") >= PARAMETER_LIMIT:
        raise refused([_whole("has too many parameters", f"Send at most {PARAMETER_LIMIT}")])
    try:
        parts = [part.partition("=") for part in query_string.decode("ascii").split("&") if part]
        return [(_unquoted(name), _unquoted(value)) for name, _, value in parts]
    except UnicodeDecodeError as error:
        raise refused([_whole("is not UTF-8", "Percent-encode UTF-8")]) from error


def _unquoted(text: str) -> str:
    # What urllib's parse_qsl does, in a third of its time.
    text = text.replace("+", " ")
    return unquote(text, errors="strict") if "%" in text else text


def _whole(problem: str, remedy: str) -> FieldProblem:
    return FieldProblem(field="query", problem=problem, remedy=remedy)


@cache
def _lists(kind: type[msgspec.Struct]) -> frozenset[str]:
    several = (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)
    return frozenset(name for name, part in _parts(kind) if isinstance(part, several))


@cache
def _instants(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(name for name, part in _parts(kind) if isinstance(part, msgspec.inspect.DateTimeType))


@cache
def _floats(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(name for name, part in _parts(kind) if isinstance(part, msgspec.inspect.FloatType))


@cache
def _texts(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(name for name, part in _parts(kind) if isinstance(part, msgspec.inspect.StrType))


def _parts(kind: type[msgspec.Struct]) -> list[tuple[str, msgspec.inspect.Type]]:
    """Each parameter with each of the types it may have."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    found: list[tuple[str, msgspec.inspect.Type]] = []
    for field in info.fields:
        whole = field.type
        for part in whole.types if isinstance(whole, msgspec.inspect.UnionType) else (whole,):
            inner = part.type if isinstance(part, msgspec.inspect.Metadata) else part
            found.append((field.encode_name, inner))
    return found
