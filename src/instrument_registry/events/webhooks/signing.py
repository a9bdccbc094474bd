"""Standard Webhooks signatures: made here, judged in the tests by the libraries that receivers use."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from instrument_registry.events.webhooks.model import Signature

SECRET_BYTES = 32
PREFIX_HMAC, PREFIX_PUBLIC = "whsec_", "whpk_"

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Key:
    """What signs: the raw secret, and how."""

    scheme: Signature
    raw: bytes
    private: Ed25519PrivateKey | None = None

    @classmethod
    def of(cls, scheme: Signature, raw: bytes) -> "Key":
        """A key ready for use."""
        return cls(scheme, raw, Ed25519PrivateKey.from_private_bytes(raw) if scheme is Signature.ED25519 else None)

    def sign(self, content: bytes) -> str:
        """The signature of a message, as the header lists it."""
        if self.private is not None:
            made = self.private.sign(content)
        else:
            made = hmac.digest(self.raw, content, hashlib.sha256)
        return f"{self.scheme},{base64.b64encode(made).decode()}"

    @property
    def shown(self) -> str:
        """What a receiver verifies with: a shared secret (shown once), or a public key."""
        if self.private is None:
            return PREFIX_HMAC + base64.b64encode(self.raw).decode()
        public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PREFIX_PUBLIC + base64.b64encode(public).decode()


def mint(scheme: Signature, *, random_bytes: RandomBytes = secrets.token_bytes) -> Key:
    """A key nobody has seen."""
    return Key.of(scheme, random_bytes(SECRET_BYTES))


def headers(message_id: str, body: bytes, *, timestamp: int, keys: Sequence[Key]) -> dict[str, str]:
    """The headers that prove who sent a body, and when: one signature for each key, the newest first."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(key.sign(content) for key in keys),
    }
