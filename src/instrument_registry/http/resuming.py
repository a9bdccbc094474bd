"""Streams that a reader takes up again where they broke off: the number of the last line, and lines in either form."""

from starlette.requests import Request

from instrument_registry.http.problems import FieldProblem, refused, shown

LAST_EVENT_ID = "Last-Event-ID"
DIGITS_MAX = 18


def last_seen(request: Request, *, what: str, counts: str) -> int | None:
    """The number that a reader saw last of what (`event`), as its header says; it `counts` versions, positions.

    Raises: InvalidRequest for what is no number.
    """
    last = request.headers.get(LAST_EVENT_ID)
    if last is None:
        return None
    if not (last.isascii() and last.isdecimal() and len(last) <= DIGITS_MAX):
        remedy = f"Send the id of the last {what} that came, or leave it out"
        field = f"header.{LAST_EVENT_ID}"
        raise refused([FieldProblem(field=field, problem=f"is no {counts}", remedy=remedy, value=shown(last))])
    return int(last)


def line(content: bytes, kind: str, *, number: int | None, server_sent: bool) -> bytes:
    """One line of JSON, or one Server-Sent Event with its number where it has one to go on from."""
    if not server_sent:
        return content + b"\n"
    identity = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (identity, kind.encode(), content)
