"""schemas/openapi.json is what the code answers."""

import json
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from instrument_registry.http.app import ROOMS, published
from instrument_registry.http.routes import DoorRoute, needed_scope

FILE = Path(__file__).parents[2] / "schemas" / "openapi.json"


class TestOpenApi:
    def test_the_committed_document_is_the_one_the_code_makes(self) -> None:
        made = published()

        assert FILE.read_bytes() == made, "run: python -m instrument_registry.http > schemas/openapi.json"

    def test_every_reference_leads_somewhere(self) -> None:
        document = json.loads(published())
        names = set(document["components"]["schemas"])

        assert _references(document) <= {f"#/components/schemas/{name}" for name in names}

    def test_every_failure_is_a_problem_document(self) -> None:
        document = json.loads(published())

        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                for status, answer in operation["responses"].items():
                    if int(status) >= 400:
                        assert list(answer["content"]) == ["application/problem+json"], (path, method, status)

    def test_every_operation_says_what_it_does(self) -> None:
        document = json.loads(published())

        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert operation.get("description"), (path, method)


class TestRoutes:
    def test_every_room_uses_routes_that_ask_who_calls(self) -> None:
        routes = [route for room in ROOMS for route in room.routes]

        assert [route for route in routes if not isinstance(route, DoorRoute)] == []

    def test_only_what_tells_nothing_of_the_catalogue_is_public(self) -> None:
        routes = [route for room in ROOMS for route in room.routes if isinstance(route, APIRoute)]

        public = {route.path for route in routes if needed_scope(route.endpoint) is None}
        assert public == {"/health", "/health/live", "/health/ready", "/metrics", "/problems/{name}"}


def _references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(_references(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(_references(value) for value in part))
    return set()
