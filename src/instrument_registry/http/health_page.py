"""Health as a page for whoever looks with a browser: nothing to load, nothing to click."""

from html import escape

import msgspec
from starlette.responses import Response

from instrument_registry.http.encoding import bytes_response

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
HTML = b"text/html; charset=utf-8"
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem 1rem .3rem 0;vertical-align:top;"
    "border-bottom:1px solid #8884}.passed{color:#2a7d2a}.failed{color:#c0392b}.could_not_tell{color:#b8860b}"
)
WORDS = {"passed": "passed", "failed": "failed", "could_not_tell": "could not tell"}


class _Check(msgspec.Struct):
    check: str
    verdict: str
    reason: str
    duration_ms: float


class _Answer(msgspec.Struct):
    status: str | int  # a problem document has a number there
    checks: list[_Check] = []


def wants_page(accept: str) -> bool:
    """Whether it is a browser that asks: programs name JSON, or nothing."""
    return "text/html" in accept


def page(answer: bytes, status: int) -> Response:
    """The page for an answer."""
    told = msgspec.json.decode(answer, type=_Answer)
    word = told.status if isinstance(told.status, str) else "not ready"
    rows = "".join(
        f'<tr><td>{escape(one.check.replace("_", " "))}<td class="{escape(one.verdict)}">'
        f"{escape(WORDS.get(one.verdict, one.verdict))}<td>{escape(one.reason)}<td>{one.duration_ms:g} ms"
        for one in told.checks
    )
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Instrument Registry: {escape(word)}</title>'
        f"<style>{STYLE}</style><h1>Instrument Registry: {escape(word)}</h1>"
        f"<table><thead><tr><th>check<th>verdict<th>what it saw<th>took</thead><tbody>{rows}</tbody></table></html>\n"
    )
    headers = {"cache-control": "no-store", "vary": "accept", "content-security-policy": POLICY}
    return bytes_response(text.encode(), status, headers, media_type=HTML)
