"""Says in a caller's words why msgspec refused a field: which one, what it held, what would be right."""

import re
from collections.abc import Mapping
from functools import cache
from typing import cast

import msgspec

from instrument_registry.http.problems import FieldProblem, InvalidRequest, nearest, refused, shown, unknown_name

REFUSAL = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?(?P<at>\$.*)`)?", re.DOTALL)
UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")
EXPECTED = re.compile(r"Expected (?P<want>.*?)(?:, got (?P<got>.*))?", re.DOTALL)
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "nothing",
    "date": "a date (YYYY-MM-DD)",
    "datetime": "an instant (YYYY-MM-DDThh:mm:ssZ)",
    "decimal": "a decimal number",
}
TYPE = re.compile(r"`([^`]+)`")
BEYOND = "Number out of range"
ZONELESS = "with a timezone component"
MALFORMED = re.compile(r"Invalid (?:RFC3339 encoded )?(?P<want>\w+)")
STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


@cache
def names_of(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The names a struct has outside."""
    return kind.__struct_encode_fields__


def explain(error: msgspec.ValidationError, *, where: str, kind: type[msgspec.Struct], given: object) -> InvalidRequest:
    """The refusal as an answer; `where` is query or body, `given` the plain value that was refused."""
    match = REFUSAL.fullmatch(str(error))
    what, at = (match["what"], match["at"] or "$") if match else (str(error), "$")
    path = at.removeprefix("$").lstrip(".")
    prefix = f"{where}.{path}" if path else where
    if unknown := UNKNOWN.fullmatch(what):
        known = names_of(kind) if not path else ()
        return refused([unknown_name(prefix, unknown["name"], known)])
    if missing := MISSING.fullmatch(what):
        return refused([FieldProblem(field=f"{prefix}.{missing['name']}", problem="is missing", remedy="Add it")])
    value = _value_at(given, at)
    return refused(
        [FieldProblem(field=prefix, problem=_problem(what), remedy=_remedy(what, value, at, kind), value=shown(value))]
    )


def _problem(what: str) -> str:
    if what.endswith(ZONELESS):
        return "has no offset from UTC"
    if what == BEYOND:
        return "is too large"
    if want := _wanted(what):
        return f"is not {want}"
    return "is not one of the known values" if what.startswith("Invalid enum value") else f"is refused: {what}"


def _remedy(what: str, value: object, at: str, kind: type[msgspec.Struct]) -> str:
    if what.endswith(ZONELESS):
        return "Add Z, or an offset such as +05:30"
    if what == BEYOND:
        return "Send a smaller number"
    if want := _wanted(what):
        return f"Send {want}"
    if what.startswith("Invalid enum value"):
        choices = _choices(kind, at)
        guess = nearest(str(value), choices)
        return (
            f"Did you mean {guess}? " if guess else ""
        ) + f"Choose from: {', '.join(choices) or 'see /openapi.json'}"
    return "See /openapi.json"


def _wanted(what: str) -> str | None:
    if match := EXPECTED.fullmatch(what):
        return TYPE.sub(
            lambda name: " or ".join(WORDS.get(part.strip(), part.strip()) for part in name[1].split("|")),
            match["want"],
        )
    match = MALFORMED.match(what)
    return WORDS.get(match["want"]) if match else None


def _choices(kind: type[msgspec.Struct], at: str) -> list[str]:
    """What an enum or literal field of the top level allows."""
    name = STEP.match(at.removeprefix("$"))
    schema = msgspec.json.schema_components([kind])[1]
    properties = cast(Mapping[str, Mapping[str, object]], schema[kind.__name__].get("properties", {}))
    texts: list[str] = []
    todo: list[object] = [properties.get(name[1], {})] if name else []
    while todo and len(texts) < 100:
        found = todo.pop()
        if isinstance(found, list):
            todo.extend(found)
        elif isinstance(found, Mapping):
            texts += [str(choice) for choice in found.get("enum", ()) if choice is not None]
            if reference := found.get("$ref"):
                todo.append(schema.get(str(reference).rsplit("/", 1)[-1], {}))
            todo.extend(found[part] for part in ("anyOf", "items") if part in found)
    return texts


def _value_at(given: object, at: str) -> object:
    for name, index in STEP.findall(at.removeprefix("$")):
        if name and isinstance(given, Mapping):
            given = given.get(name)
        elif index.isdigit() and isinstance(given, list) and int(index) < len(given):
            given = given[int(index)]
        else:
            return None
    return given
