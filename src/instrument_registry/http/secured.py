"""Headers that tell browsers to trust an answer with as little as possible.

Answers are data: nothing in them runs, frames them or learns where a reader came from. A page that needs more brings a
policy of its own, which is then the only one.
"""

from collections.abc import Iterable

Header = tuple[bytes, bytes]
LIMITED = "limited"  # in the scope: the headers that say how the caller stands, once it is known

POLICY = b"content-security-policy"
PAGE = ((b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY"), (b"referrer-policy", b"no-referrer"))
DATA = (*PAGE, (POLICY, b"default-src 'none'; frame-ancestors 'none'"))
# Only where a caller came by TLS: told in plain text it would be ignored, or keep people out.
BY_TLS = (b"strict-transport-security", b"max-age=31536000")


def secured(headers: Iterable[Header], ours: Iterable[Header], *, scheme: str) -> list[Header]:
    """The headers of an answer with some of ours and those that every answer has."""
    told = [*headers, *ours]
    for name, _ in told:
        if name == POLICY:
            told += PAGE
            break
    else:
        told += DATA
    if scheme == "https":
        told.append(BY_TLS)
    return told
