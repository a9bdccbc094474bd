"""Cursors: opaque text that says where a page ended, bound to the question it belongs to.

A cursor carries no rights, only a position, so it is not signed with a secret: a checksum catches what was damaged or
edited, the binding catches a cursor of another question, and its content is checked like any other input.
"""

import base64
import binascii
import hashlib
from typing import TypeVar

import msgspec

from instrument_registry.http.problems import FieldProblem, InvalidRequest, refused, shown

CURSOR_LIMIT = 1_024
CHECK_BYTES = 8
CURSOR_PATTERN = "^[A-Za-z0-9_-]+$"

Position = TypeVar("Position")


def encode_cursor(position: object, *, question: object) -> str:
    """A cursor for the page after `position`; `question` is whatever decides what is listed, and in which order."""
    content = msgspec.msgpack.encode(position)
    return base64.urlsafe_b64encode(_check(content, question) + content).rstrip(b"=").decode()


def decode_cursor(cursor: str, kind: type[Position], *, question: object) -> Position:
    """The position a cursor stands for.

    Raises: InvalidRequest when it is damaged, edited, or belongs to another question.
    """
    if len(cursor) > CURSOR_LIMIT:
        raise _bad(cursor, "is longer than any cursor")
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _bad(cursor, "is not a cursor") from error
    check, content = raw[:CHECK_BYTES], raw[CHECK_BYTES:]
    if check != _check(content, question):
        raise _bad(cursor, "is damaged or belongs to another question")
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise _bad(cursor, "does not hold a position of this list") from error


def _check(content: bytes, question: object) -> bytes:
    bound = msgspec.msgpack.encode(question, enc_hook=str)
    digest = hashlib.blake2b(len(bound).to_bytes(8, "big") + bound + content, digest_size=CHECK_BYTES, person=b"cursor")
    return digest.digest()


def _bad(cursor: str, problem: str) -> InvalidRequest:
    remedy = "Take next_cursor from the page before, with the same question, or leave it out to start again"
    return refused([FieldProblem(field="query.cursor", problem=problem, remedy=remedy, value=shown(cursor))])
