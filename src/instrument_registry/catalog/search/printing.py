"""Rows as text: the JSON of their own members, their other names, and the texts their digests are made from."""

import hashlib
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.search.rows import TokenRow

FIELD, PART, TOKEN = "\x1f", "\x1e", "\x1d"
OWN_FIELDS, TOKEN_PARTS = 8, 5
Tokens = tuple[TokenRow, ...]


class Own(NamedTuple):
    """The columns that rows do not share with their cohort."""

    ids: tuple[int, ...]
    ulids: tuple[str, ...]
    keys: tuple[str, ...]
    symbols: tuple[str, ...]
    names: tuple[str | None, ...]
    isins: tuple[str | None, ...]
    strikes: tuple[str | None, ...]
    tokens: tuple[Tokens, ...]


def own_texts(own: Own) -> list[str]:
    """The part of each row's digest text that is its own.

    These are id, ulid, key, symbol, name, isin, strike and tokens, joined by U+001F with nothing for null; the parts
    of a token (broker, segment, token, exchange token, symbol) are joined by U+001E, the tokens by U+001D.
    """
    tokens = _by_row(
        own.tokens, [f"{b}\x1e{s}\x1e{t}\x1e{x or ''}\x1e{y or ''}" for b, s, t, x, y in chain(*own.tokens)], TOKEN
    )
    return [
        f"{id_}\x1f{ulid}\x1f{key}\x1f{symbol}\x1f{name or ''}\x1f{isin or ''}\x1f{strike or ''}\x1f{called}"
        for id_, ulid, key, symbol, name, isin, strike, called in zip(*own[:-1], tokens, strict=True)
    ]


def row_hashes(shared: Iterable[str], texts: Iterable[str]) -> npt.NDArray[np.uint64]:
    """The first eight bytes of the MD5 of each cohort's text, U+001F and the row's own text, as a big-endian number."""
    md5 = hashlib.md5
    digests = [
        md5(f"{cohort}\x1f{text}".encode(), usedforsecurity=False).digest()
        for cohort, text in zip(shared, texts, strict=True)
    ]
    return np.frombuffer(b"".join(digests), ">u8")[::2].astype(np.uint64)


def own_json(own: Own, texts: list[str]) -> list[str]:
    """The JSON members of each row that no cohort shares, from the opening brace on; `texts` are its `own_texts`."""
    if not _plain(own, texts):
        return [_careful(*row) for row in zip(*own, strict=True)]
    tokens = _by_row(own.tokens, [f'"{broker}":"{token}"' for broker, _, token, _, _ in chain(*own.tokens)], ",")
    return [
        f'{{"id":"{ulid}","key":"{key}","symbol":"{symbol}","name":'
        + (f'"{name}","isin":' if name is not None else 'null,"isin":')
        + (f'"{isin}","strike":' if isin else 'null,"strike":')
        + (f'"{strike}","tokens":{{{called}}}' if strike else f'null,"tokens":{{{called}}}')
        for _, ulid, key, symbol, name, isin, strike, called in zip(*own[:-1], tokens, strict=True)
    ]


def other_names(symbol: str, name: str | None, tokens: Tokens) -> str:
    """What brokers call a row, where it is neither its symbol nor its name."""
    others = {called for _, _, _, _, called in tokens} - {symbol, name, None, ""}
    return FIELD.join(sorted(str(other).replace(FIELD, " ") for other in others)) if others else ""


def _by_row(tokens: tuple[Tokens, ...], texts: list[str], joint: str) -> list[str]:
    """The texts of all tokens, joined row by row."""
    joined = []
    first = 0
    for count in map(len, tokens):
        joined.append(texts[first] if count == 1 else joint.join(texts[first : first + count]))
        first += count
    return joined


def _plain(own: Own, texts: list[str]) -> bool:
    """Whether the rows can be printed as they are.

    Nothing has to be escaped, the separators are where they belong, and no broker has two tokens for one row.
    """
    written = np.frombuffer("".join(texts).encode(), np.uint8)
    tokens = sum(map(len, own.tokens))
    marks = {ord(FIELD): (OWN_FIELDS - 1) * len(texts), ord(PART): (TOKEN_PARTS - 1) * tokens}
    marks[ord(TOKEN)] = tokens - sum(map(bool, own.tokens))
    counts = np.bincount(written, minlength=256)
    return (
        not counts[: ord(TOKEN)].any()
        and not counts[[ord('"'), ord("\\")]].any()
        and all(counts[mark] == count for mark, count in marks.items())
        and all(len({token[0] for token in called}) == len(called) for called in own.tokens if len(called) > 1)
    )


def _careful(
    _: int, ulid: str, key: str, symbol: str, name: str | None, isin: str | None, strike: str | None, tokens: Tokens
) -> str:
    members = {
        "id": ulid,
        "key": key,
        "symbol": symbol,
        "name": name,
        "isin": isin,
        "strike": strike,
        "tokens": {broker: token for broker, _, token, _, _ in reversed(tokens)},  # the first that is told
    }
    return msgspec.json.encode(members).decode()[:-1]
