"""Answers from memory say so while nobody can tell whether there is something newer: with position and age."""

from starlette.responses import Response
from starlette.types import Scope

from instrument_registry.wiring import Registry

STALE = "X-Registry-Stale"
POSITION = "X-Catalog-Position"
AGE = "X-Index-Age-Seconds"
STALE_HEADERS = {
    STALE: "Why nobody can tell whether there is something newer: `database`, it does not answer; `behind`, its facts "
    "do not come. Absent: the answer has everything.",
    POSITION: "Of a stale answer: the newest fact it knows of.",
    AGE: "Of a stale answer: since when it may miss something.",
}


def from_memory(scope: Scope, response: Response) -> Response:
    """The same answer, marked where it may miss something."""
    registry: Registry = scope["app"].state.registry
    catalogue = registry.catalogue
    if catalogue.stale:
        why = b"behind" if registry.database.breaker.closed else b"database"
        response.raw_headers += [
            (STALE.lower().encode(), why),
            (POSITION.lower().encode(), b"%d" % catalogue.position),
            (AGE.lower().encode(), b"%.3f" % catalogue.age_seconds),
        ]
    return response
