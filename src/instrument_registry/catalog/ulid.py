"""ULID text: 48 bits of time and 80 of chance in 26 characters of Crockford's base 32 (https://github.com/ulid/spec)."""

import base64
import re
from datetime import datetime

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FROM_RFC4648 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ALPHABET)
_TEXT = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def ulids(count: int, *, at: datetime, chance: bytes) -> list[str]:
    """`count` ULIDs of one moment; `chance` is 10 random bytes for each."""
    milliseconds = int(at.timestamp() * 1000)
    prefix = "".join(ALPHABET[milliseconds >> shift & 31] for shift in range(45, -1, -5))
    text = base64.b32encode(chance).decode().translate(_FROM_RFC4648)
    return [prefix + text[start : start + 16] for start in range(0, 16 * count, 16)]


def is_ulid(text: str) -> bool:
    """Whether a text is a ULID as we write it (upper case)."""
    return _TEXT.fullmatch(text) is not None
