"""The data of a fact as JSON: written from the dataclass, checked against it, published as its JSON Schema."""

import json
from dataclasses import MISSING, fields
from typing import get_type_hints

import msgspec

from instrument_registry.events.model import External, Fact, FactRefused

ENVELOPE = "occurred_at"
_FORMS: dict[type[Fact], type[msgspec.Struct]] = {}


def encode(fact: Fact) -> str:
    """The data of a fact as JSON text.

    Raises: FactRefused when a field holds what its schema does not promise.
    """
    if isinstance(fact, External):
        return fact.text
    form = _form(type(fact))
    data = msgspec.json.encode(form(**{name: getattr(fact, name) for name in form.__struct_fields__}))
    check(type(fact), data)
    return data.decode()


def check(kind: type[Fact], data: str | bytes) -> None:
    """See that a text is what the fact's schema promises; Raises: FactRefused."""
    try:
        msgspec.json.decode(data, type=_form(kind))
    except msgspec.ValidationError as error:
        raise FactRefused(f"{kind.type} version {kind.version}: {error}", type=kind.type) from error
    except msgspec.DecodeError as error:
        raise FactRefused(f"{kind.type} version {kind.version} is not JSON: {error}", type=kind.type) from error


def published(kind: type[Fact]) -> str:
    """The JSON Schema of a fact's data, as the text of its file."""
    (form,), components = msgspec.json.schema_components([_form(kind)], ref_template="#/$defs/{name}")
    name = form["$ref"].rsplit("/", 1)[-1]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": file_name(kind),
        **components.pop(name),
        "title": kind.type,
        "description": " ".join((kind.__doc__ or "").split()),
        **({"$defs": components} if components else {}),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def file_name(kind: type[Fact]) -> str:
    """The name of the file in `schemas/events` that publishes a fact."""
    return f"{kind.type}.v{kind.version}.json"


def _form(kind: type[Fact]) -> type[msgspec.Struct]:
    if kind not in _FORMS:
        _FORMS[kind] = _made(kind)
    return _FORMS[kind]


def _made(kind: type[Fact]) -> type[msgspec.Struct]:
    hints = get_type_hints(kind, include_extras=True)
    shape: list[tuple[str, type] | tuple[str, type, object]] = []
    for field in fields(kind):
        if field.name == ENVELOPE:
            continue
        if field.default is not MISSING:
            shape.append((field.name, hints[field.name], field.default))
        elif field.default_factory is not MISSING:
            shape.append((field.name, hints[field.name], msgspec.field(default_factory=field.default_factory)))
        else:
            shape.append((field.name, hints[field.name]))
    return msgspec.defstruct(kind.__name__, shape, kw_only=True, frozen=True, forbid_unknown_fields=True)
