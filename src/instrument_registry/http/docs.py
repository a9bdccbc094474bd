"""The API's pages: Swagger UI from this machine alone, under a policy that runs nothing but our own scripts."""

from pathlib import Path

import fastapi_standalone_docs  # type: ignore[import-untyped]
from fastapi import FastAPI
from fastapi_csp_docs import get_swagger_ui_html, get_swagger_ui_init_js
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from instrument_registry.http.encoding import bytes_response, entity_tag, json_bytes, not_modified
from instrument_registry.http.openapi import document
from instrument_registry.http.routes import public, root

DOCS = "/docs"
OPENAPI = "/openapi.json"
ASSETS = Path(fastapi_standalone_docs.__file__).parent / "static"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # Swagger UI draws its arrows from data: images
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {"content-security-policy": POLICY, "cache-control": "no-cache"}


router = root(tag="docs")


def serve_assets(app: FastAPI) -> None:
    """Serve what the page is made of."""
    app.mount(f"{DOCS}/swagger", StaticFiles(directory=ASSETS / "swagger"))
    app.mount(f"{DOCS}/icon", StaticFiles(directory=ASSETS / "fastapi"))


@router.get(OPENAPI, include_in_schema=False)
@public
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    content = json_bytes(document(request.app))
    tag = entity_tag(content)
    return not_modified(request.scope, tag) or bytes_response(content, headers={"etag": tag})


@router.get(DOCS, include_in_schema=False)
@public
async def page(request: Request) -> Response:
    """Swagger UI, which reads the document."""
    html = get_swagger_ui_html(
        title=request.app.title,
        swagger_js_url=f"{DOCS}/swagger/swagger-ui-bundle.js",
        swagger_css_url=f"{DOCS}/swagger/swagger-ui.css",
        swagger_favicon_url=f"{DOCS}/icon/favicon.png",
        swagger_ui_init_script_url=f"{DOCS}/start.js",
    )
    html.headers.update(HEADERS)
    return html


@router.get(f"{DOCS}/start.js", include_in_schema=False)
@public
async def start(_: Request) -> Response:
    """The script that starts Swagger UI; in a file of its own, as the policy allows none in the page."""
    return get_swagger_ui_init_js(openapi_url=OPENAPI)
