"""Change only what is still as it was read: versions as entity tags, and the one a caller expects."""

import re
import zlib
from collections.abc import Mapping

import msgspec
from starlette.requests import Request

from instrument_registry.http.problems import FieldProblem, refused, shown

IF_MATCH = "If-Match"
MATCHED = {IF_MATCH: "The ETag it was read with: changed by nobody since, or not changed at all."}
TAG = re.compile(r'(?:W/)?"(\d{1,18})(?:\.[0-9a-f]{8})?"')


def version_tag(version: int, *, beside: Mapping[str, str] | None = None) -> str:
    """The entity tag of a version, and of what changes without one; weak, as what is shown besides may differ."""
    if not beside:
        return f'W/"{version}"'
    digest = zlib.crc32(msgspec.json.encode(beside, order="sorted"))
    return f'W/"{version}.{digest:08x}"'


def expected_version(request: Request) -> int | None:
    """The version that If-Match names; none when any will do. Raises: InvalidRequest."""
    text = request.headers.get(IF_MATCH)
    if text is None or text.strip() == "*":
        return None
    match = TAG.fullmatch(text.strip())
    if match is None:
        remedy = "Send the ETag it was read with, or leave the header out"
        raise refused(
            [FieldProblem(field=f"header.{IF_MATCH}", problem="is no ETag of ours", remedy=remedy, value=shown(text))]
        )
    return int(match[1])
