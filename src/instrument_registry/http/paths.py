"""Paths whose names hold slashes: `%2F` stays inside a name, and HEAD is a GET without its body.

Servers decode `%2F` before routing, so `/instruments/X%2Fhistory` would look like the history of X. Here an encoded
slash travels through routing as one private character, and `named` turns it back; a slash that was sent as such stays
a separator, which a `{key:path}` route takes into the key anyway: both spellings of BYBIT:BTC/USDT:USDT;PERP work.
"""

from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from instrument_registry.errors import NotFound

SLASH = "\ue02f"  # a private-use character: no name contains it
NAME_LIMIT = 300
LARGEST_ID = 2**63 - 1


class NoSuchName(NotFound):
    """Nothing can have this name."""

    title = "Nothing has this name"


def named(scope: Scope, parameter: str) -> str:
    """A name out of the path, decoded once, with the slashes it was sent with.

    Raises: NoSuchName for what can be no name at all.
    """
    name: str = scope["path_params"][parameter].replace(SLASH, "/")
    if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
        raise NoSuchName(f"A {parameter} has 1 to {NAME_LIMIT} printable characters")
    return name


def numbered(scope: Scope, parameter: str) -> int:
    """A number out of the path: the id of something that is counted.

    Raises: NoSuchName.
    """
    text = named(scope, parameter)
    if not (text.isascii() and text.isdecimal() and int(text) <= LARGEST_ID):
        raise NoSuchName(f"{text[:40]} is no id: those of this kind are whole numbers")
    return int(text)


class Paths:
    """Keeps encoded slashes apart from separators, and answers HEAD wherever GET is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or b""
            if b"%2F" in raw or b"%2f" in raw:
                parts = raw.decode("ascii", "replace").replace("%2f", "%2F").split("%2F")
                scope = {**scope, "path": SLASH.join(unquote(part) for part in parts)}
            if scope["method"] == "HEAD":  # the server keeps its own scope and so sends no body; streams begin none
                scope = {**scope, "method": "GET", "head": True}
        await self.app(scope, receive, send)
