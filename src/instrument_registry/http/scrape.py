"""The numbers of all processes of this instance, as Prometheus reads them."""

from starlette.responses import Response

from instrument_registry import telemetry
from instrument_registry.http.encoding import bytes_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.routes import public, root

router = root(tag="health")


@router.get(
    "/metrics",
    **describe(media={"text/plain": {"schema": {"type": "string"}}}, means="Prometheus' text format"),
)
@public
async def scrape() -> Response:
    """The numbers of every process of this instance; any worker answers for all."""
    return bytes_response(await telemetry.gather(), media_type=telemetry.CONTENT_TYPE.encode())
