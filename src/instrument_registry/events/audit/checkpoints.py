"""Signed checkpoints: how large the tree was and what its root was, as signed notes (C2SP tlog-checkpoint, Ed25519).

A note reads: the log's name, size, root in base64, when; an empty line; the signature's line. Any program that knows
signed notes checks it.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from instrument_registry.errors import Invalid
from instrument_registry.events.audit.merkle import HASH_BYTES

ED25519 = b"\x01"
HINT_BYTES = 4
NOTE_LIMIT = 2_000
DASH = "\N{EM DASH} "


class BadCheckpoint(Invalid):
    """A checkpoint that cannot be read, or that nobody who is trusted has signed."""

    title = "The checkpoint is not valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What was signed: this log had so many leaves, with this root, at this time."""

    log: str
    size: int
    root: bytes
    at: datetime

    @property
    def text(self) -> str:
        """What the signature is over."""
        root = base64.b64encode(self.root).decode()
        return f"{self.log}\n{self.size}\n{root}\nat {self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint and who says to have signed it."""

    checkpoint: Checkpoint
    key_id: str
    signature: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key, as it is given to others: `<log>+<key id>+<base64>`."""

    log: str
    public: bytes

    @property
    def key_id(self) -> str:
        """Eight hexadecimal digits."""
        return hashlib.sha256(self.log.encode() + b"\n" + ED25519 + self.public).digest()[:HINT_BYTES].hex()

    def __str__(self) -> str:
        return f"{self.log}+{self.key_id}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The key of such a text; Raises: BadCheckpoint."""
        try:
            log, key_id, encoded = text.strip().split("+", 2)
            key = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise BadCheckpoint(f"{text[:100]!r} is no public key of an audit") from error
        found = cls(log, key[1:])
        if key[:1] != ED25519 or len(key) != HASH_BYTES + 1 or found.key_id != key_id:
            raise BadCheckpoint(f"{text[:100]!r} is no public key of an audit: it does not match its own id")
        return found

    def check(self, note: Note) -> None:
        """See that a note is signed with this key; Raises: BadCheckpoint."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(note.signature, note.checkpoint.text.encode())
        except InvalidSignature as error:
            raise BadCheckpoint(
                f"the checkpoint of size {note.checkpoint.size} has a signature that is not right",
                size=note.checkpoint.size,
            ) from error


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the log it signs for."""

    log: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.log, self.private.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint) -> Note:
        """A checkpoint as a signed note."""
        signature = self.private.sign(checkpoint.text.encode())
        hint = bytes.fromhex(self.verifier.key_id)
        line = f"{DASH}{self.log} {base64.b64encode(hint + signature).decode()}\n"
        return Note(checkpoint, self.verifier.key_id, signature, f"{checkpoint.text}\n{line}")


def read_note(text: str) -> Note:
    """A note taken apart, its signature unchecked; Raises: BadCheckpoint."""
    try:
        body, _, signed = text[:NOTE_LIMIT].partition("\n\n")
        log, size, root, at = body.split("\n")
        name, encoded = signed.removesuffix("\n").removeprefix(DASH).rsplit(" ", 1)
        signature = base64.b64decode(encoded, validate=True)
        checkpoint = Checkpoint(
            log=log,
            size=int(size),
            root=base64.b64decode(root, validate=True),
            at=datetime.strptime(at, "at %Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC),
        )
    except ValueError as error:
        raise BadCheckpoint(f"This is no checkpoint: {text[:60]!r}") from error
    note = Note(checkpoint, signature[:HINT_BYTES].hex(), signature[HINT_BYTES:], text)
    exact = f"{checkpoint.text}\n{DASH}{log} {base64.b64encode(signature).decode()}\n"
    if name != log or text != exact or len(checkpoint.root) != HASH_BYTES or checkpoint.size < 1:
        raise BadCheckpoint(f"This is no checkpoint as the audit writes it: {text[:60]!r}")
    return note


def checked(text: str, keys: Mapping[str, Verifier]) -> Checkpoint:
    """What a note says, signed by one of these keys; Raises: BadCheckpoint."""
    note = read_note(text)
    key = keys.get(note.key_id)
    if key is None or key.log != note.checkpoint.log:
        raise BadCheckpoint(
            f"the checkpoint of size {note.checkpoint.size} is signed with key {note.key_id} for "
            f"{note.checkpoint.log}, which is not trusted",
            size=note.checkpoint.size,
        )
    key.check(note)
    return note.checkpoint


def by_id(keys: Sequence[Verifier]) -> dict[str, Verifier]:
    """Keys as `checked` wants them."""
    return {key.key_id: key for key in keys}
