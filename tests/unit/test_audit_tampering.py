"""Ten thousand ways to change a log of a thousand records below its last checkpoint; verification finds each one.

The tamperer may recompute whatever needs no signing key: leaves, tiles, roots. What lies outside the database (the
public key and the checkpoints) is out of reach.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from instrument_registry.events.audit import merkle
from instrument_registry.events.audit.checkpoints import BadCheckpoint, Checkpoint, Signer, by_id, checked
from instrument_registry.events.audit.recording import canonical
from instrument_registry.events.audit.verification import Inspection, Row, Tampered

RECORDS = 1_000
TAMPERINGS = 10_000
NAME = "instrument-registry/test"
SIGNER = Signer(NAME, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGER = Signer(NAME, Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
START = datetime(2026, 8, 18, 3, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Log:
    """What lies in the database."""

    rows: list[Row]
    tiles: list[tuple[int, int, bytes, bytes]]
    notes: list[str]


def text_of(number: int, at: datetime, **changed: object) -> bytes:
    said: dict[str, object] = {
        "action": f"alias.{'added' if number % 3 else 'removed'}", "actor": f"api_key:{number % 7}",
        "address": "192.0.2.7", "at": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}", "correlation_id": f"c-{number}",
        "data_sha256": hashlib.sha256(str(number).encode()).hexdigest(), "facts": 1, "new": {"target": f"T{number}"},
        "number": str(number), "old": None, "reason": "because", "subject": f"alias-{number % 11}",
    }  # fmt: skip
    return canonical(said | changed).encode()


def row(position: int, number: int, at: datetime, text: bytes) -> Row:
    said = msgspec.json.decode(text)
    leaf = merkle.leaf_hash(text)
    return position, number, at, leaf, said["action"], said["actor"], said["subject"], said["correlation_id"], text


def tiles_of(rows: list[Row]) -> list[tuple[int, int, bytes, bytes]]:
    leaves = [row[3] for row in rows]
    found = []
    for index in range(len(leaves) // 256):
        hashes = leaves[index * 256 : (index + 1) * 256]
        found.append((0, index, merkle.folded(hashes), b"".join(hashes)))
    return found


def root_of(leaves: list[bytes]) -> bytes:
    tree = merkle.Frontier()
    for leaf in leaves:
        tree.push(leaf)
    return tree.root()


def signed(rows: list[Row], sizes: list[int], signer: Signer = SIGNER) -> list[str]:
    leaves = [row[3] for row in rows]
    return [
        signer.sign(
            Checkpoint(log=NAME, size=size, root=root_of(leaves[:size]), at=START + timedelta(seconds=size))
        ).text
        for size in sizes
    ]


def made() -> Log:
    rows = []
    for position in range(1, RECORDS + 1):
        number, at = position << 20, START + timedelta(seconds=position)
        rows.append(row(position, number, at, text_of(number, at)))
    return Log(rows, tiles_of(rows), signed(rows, [300, 700, RECORDS]))


LOG = made()
KEYS = by_id([SIGNER.verifier])
OUTSIDE = [checked(note, KEYS) for note in LOG.notes]


def verify(log: Log, *, offset: int = 0) -> None:
    notes = OUTSIDE if log.notes is LOG.notes else [checked(note, KEYS) for note in log.notes]
    inspection = Inspection(notes, outside=OUTSIDE, sample_offset=offset)
    inspection.take(log.rows)
    for tile in log.tiles:
        inspection.take_tile(*tile)
    inspection.finish()


Tampering = Callable[[Log, random.Random], Log]


def update_a_column(log: Log, rng: random.Random) -> Log:
    at = rng.randrange(RECORDS)
    values = list(log.rows[at])
    column = rng.randrange(1, 9)
    value = values[column]
    if isinstance(value, bytes):
        place = rng.randrange(len(value))
        values[column] = value[:place] + bytes([value[place] ^ 1 << rng.randrange(7)]) + value[place + 1 :]
    elif isinstance(value, datetime):
        values[column] = value + timedelta(microseconds=rng.randint(1, 10**9))
    elif isinstance(value, int):
        values[column] = value + rng.randint(1, 99)
    else:
        values[column] = str(value) + "x"
    return replace(log, rows=[*log.rows[:at], tuple(values), *log.rows[at + 1 :]])  # type: ignore[list-item]


def say_something_else(log: Log, rng: random.Random) -> Log:
    """Text, columns and leaf all tell the same new story."""
    at = rng.randrange(RECORDS)
    position, number, when, *_ = log.rows[at]
    name = rng.choice(["actor", "action", "subject", "reason", "new", "old", "correlation_id", "address"])
    other = row(position, number, when, text_of(number, when, **{name: f"other {rng.random()}"}))
    return replace(log, rows=[*log.rows[:at], other, *log.rows[at + 1 :]])


def delete(log: Log, rng: random.Random) -> Log:
    at = rng.randrange(RECORDS)
    return replace(log, rows=[*log.rows[:at], *log.rows[at + 1 :]])


def delete_and_close_up(log: Log, rng: random.Random) -> Log:
    at = rng.randrange(RECORDS)
    moved = [(one[0] - 1, *one[1:]) for one in log.rows[at + 1 :]]
    return rechained(replace(log, rows=[*log.rows[:at], *moved]))  # type: ignore[list-item]


def reorder(log: Log, rng: random.Random) -> Log:
    first, second = sorted(rng.sample(range(RECORDS), 2))
    rows = list(log.rows)
    rows[first], rows[second] = (first + 1, *rows[second][1:]), (second + 1, *rows[first][1:])
    return rng.choice([rechained, lambda one: one])(replace(log, rows=rows))


def insert(log: Log, rng: random.Random) -> Log:
    at = rng.randrange(RECORDS - 1)  # behind the last one would be beyond the checkpoint
    number = log.rows[at][1] + 1
    extra = row(at + 2, number, log.rows[at][2], text_of(number, log.rows[at][2]))
    moved = [(one[0] + 1, *one[1:]) for one in log.rows[at + 1 :]]
    return rng.choice([rechained, lambda one: one])(
        replace(log, rows=[*log.rows[: at + 1], extra, *moved])  # type: ignore[list-item]
    )


def cut_the_tail(log: Log, rng: random.Random) -> Log:
    left = rng.randrange(RECORDS)
    notes = [note for note in log.notes if int(note.split("\n")[1]) <= left]
    return rechained(Log(log.rows[:left], log.tiles, notes))


def swap_times(log: Log, rng: random.Random) -> Log:
    """Two records exchange their times, in columns alone or in their texts and leaves too."""
    first, second = sorted(rng.sample(range(RECORDS), 2))
    rows = list(log.rows)
    deep = rng.random() < 0.5
    for at, other in ((first, second), (second, first)):
        position, number, _, leaf, *rest = log.rows[at]
        when = log.rows[other][2]
        rows[at] = row(position, number, when, text_of(number, when)) if deep else (position, number, when, leaf, *rest)  # type: ignore[assignment]
    changed = replace(log, rows=rows)
    return rechained(changed) if deep else changed


def rechain(log: Log, rng: random.Random) -> Log:
    """One story changed, and everything computed again that needs no key."""
    return rechained(say_something_else(log, rng))


def rechain_with_another_key(log: Log, rng: random.Random) -> Log:
    changed = rechained(say_something_else(log, rng))
    return replace(changed, notes=signed(changed.rows, [RECORDS], STRANGER))


def change_a_tile(log: Log, rng: random.Random) -> Log:
    at = rng.randrange(len(log.tiles))
    level, index, root, hashes = log.tiles[at]
    place = rng.randrange(len(hashes))
    if rng.random() < 0.2:
        root = bytes([root[0] ^ 1]) + root[1:]
    else:
        hashes = hashes[:place] + bytes([hashes[place] ^ 1]) + hashes[place + 1 :]
    tiles = [*log.tiles[:at], (level, index, root, hashes), *log.tiles[at + 1 :]]
    return replace(log, tiles=log.tiles[:at] + log.tiles[at + 1 :] if rng.random() < 0.2 else tiles)


def change_a_note(log: Log, rng: random.Random) -> Log:
    at = rng.randrange(len(log.notes))
    note = log.notes[at]
    place = rng.randrange(len(note))
    other = rng.choice([character for character in "0123456789abcdefABCDEF" if character != note[place]])
    return replace(log, notes=[*log.notes[:at], note[:place] + other + note[place + 1 :], *log.notes[at + 1 :]])


def rechained(log: Log) -> Log:
    return replace(log, tiles=tiles_of(log.rows))


TAMPERINGS_BY_NAME: dict[str, Tampering] = {
    one.__name__: one
    for one in (
        update_a_column, say_something_else, delete, delete_and_close_up, reorder, insert, cut_the_tail, swap_times,
        rechain, rechain_with_another_key, change_a_tile, change_a_note,
    )
}  # fmt: skip


def test_an_untouched_log_is_in_order() -> None:
    verify(LOG)


@pytest.mark.parametrize("name", TAMPERINGS_BY_NAME)
def test_every_tampering_is_found(name: str) -> None:
    rng = random.Random(name)
    missed = []
    for number in range(TAMPERINGS // len(TAMPERINGS_BY_NAME) + 1):
        changed = TAMPERINGS_BY_NAME[name](LOG, rng)
        if changed == LOG:
            continue
        try:
            verify(changed, offset=number)
        except (Tampered, BadCheckpoint):
            continue
        missed.append(number)

    assert missed == []


def test_a_record_that_only_looks_canonical_is_found_by_the_sample() -> None:
    rows = list(LOG.rows)
    position, number, at, *_ = rows[41]
    spaced = text_of(number, at).replace(b'","', b'", "')
    rows[41] = row(position, number, at, spaced)
    log = Log(rows, tiles_of(rows), signed(rows, [RECORDS]))
    inspection = Inspection([checked(log.notes[0], KEYS)], sample_offset=42)

    with pytest.raises(Tampered, match="canonical"):
        inspection.take(log.rows)
