"""The numbers of all processes of this instance, as Prometheus reads them."""

from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import telemetry
from instrument_registry.http.encoding import bytes_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.routes import public, root

router = root(tag="health")
OPENMETRICS = "application/openmetrics-text"


@router.get(
    "/metrics",
    **describe(
        media={"text/plain": {"schema": {"type": "string"}}, OPENMETRICS: {"schema": {"type": "string"}}},
        means="Prometheus' text format, or OpenMetrics with exemplars where Accept names it",
    ),
)
@public
async def scrape(request: Request) -> Response:
    """The numbers of every process of this instance; any worker answers for all."""
    text, content_type = telemetry.written(await telemetry.gather(), accept=request.headers.get("accept", ""))
    return bytes_response(text, media_type=content_type.encode())
