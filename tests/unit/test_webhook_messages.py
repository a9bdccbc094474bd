"""What goes out, judged by the libraries with which receivers read and verify it."""

import base64
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError
from svix.webhooks import Webhook as Svix
from svix.webhooks import WebhookVerificationError as SvixError

from instrument_registry.events.webhooks import signing
from instrument_registry.events.webhooks.messages import Message, Told, message
from instrument_registry.events.webhooks.model import Format, Signature
from outside.judging import node_judges

AT = datetime(2026, 8, 18, 6, 30, 0, 123456, tzinfo=UTC)
ID = UUID("0198b9a2-7d3e-7c3a-9b1f-000000000001")
DATA = '{"instrument_id": "01K3", "name": "M&M — \\"Mahindra\\" ₹", "big": 12345678901234567890}'
TOLD = Told(ID, "instrument.name_changed", AT, DATA, "01K3", 42)


def signed(body: bytes, *keys: signing.Key, at: datetime | None = None) -> dict[str, str]:
    timestamp = int((at or datetime.now(UTC)).timestamp())
    return signing.headers(str(ID), body, timestamp=timestamp, keys=keys)


def verified_by(library: str, secret: str, body: bytes, headers: dict[str, str]) -> bool:
    """What a library for receivers says."""
    if library == "standardwebhooks of npm":
        asked = {"judge": "standardwebhooks", "secret": secret, "body": body.decode(), "headers": headers}
        return node_judges([asked])[0]["right"]
    try:
        (Webhook if library == "standardwebhooks" else Svix)(secret).verify(body, headers)
    except (WebhookVerificationError, SvixError):
        return False
    return True


def proven(public: str, body: bytes, headers: dict[str, str]) -> bool:
    """What `cryptography` says of a v1a signature."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for one in headers["webhook-signature"].split():
        scheme, _, text = one.partition(",")
        try:
            if scheme == "v1a":
                key.verify(base64.b64decode(text), content)
                return True
        except InvalidSignature:
            continue
    return False


@pytest.mark.parametrize("library", ["standardwebhooks", "svix", "standardwebhooks of npm"])
class TestSharedSecrets:
    def test_what_is_signed_verifies(self, library: str) -> None:
        key, body = signing.mint(Signature.HMAC), message(TOLD, Format.STANDARD).body

        assert verified_by(library, key.shown, body, signed(body, key))

    def test_what_was_tampered_with_does_not(self, library: str) -> None:
        key, body = signing.mint(Signature.HMAC), message(TOLD, Format.STANDARD).body
        headers = signed(body, key)

        assert not verified_by(library, key.shown, body.replace(b"42", b"43"), headers)
        assert not verified_by(library, key.shown, body, headers | {"webhook-id": str(UUID(int=1))})
        assert not verified_by(library, signing.mint(Signature.HMAC).shown, body, headers)

    def test_what_is_older_than_five_minutes_does_not(self, library: str) -> None:
        key, body = signing.mint(Signature.HMAC), message(TOLD, Format.STANDARD).body
        at = datetime.now(UTC) - timedelta(seconds=302)

        assert not verified_by(library, key.shown, body, signed(body, key, at=at))

    def test_during_an_overlap_both_secrets_verify_and_afterwards_the_new_one_alone(self, library: str) -> None:
        former, newest = signing.mint(Signature.HMAC), signing.mint(Signature.HMAC)
        body = message(TOLD, Format.STANDARD).body
        during, after = signed(body, newest, former), signed(body, newest)

        assert [verified_by(library, key.shown, body, during) for key in (former, newest)] == [True, True]
        assert [verified_by(library, key.shown, body, after) for key in (former, newest)] == [False, True]


class TestKeyPairs:
    def test_what_is_signed_verifies_and_what_was_tampered_with_does_not(self) -> None:
        key, body = signing.mint(Signature.ED25519), message(TOLD, Format.STANDARD).body
        headers = signed(body, key)

        assert proven(key.shown, body, headers)
        assert not proven(key.shown, body + b" ", headers)
        assert not proven(signing.mint(Signature.ED25519).shown, body, headers)

    def test_during_an_overlap_both_pairs_verify(self) -> None:
        former, newest = signing.mint(Signature.ED25519), signing.mint(Signature.ED25519)
        body = message(TOLD, Format.STANDARD).body

        assert [proven(key.shown, body, signed(body, newest, former)) for key in (former, newest)] == [True, True]
        assert [proven(key.shown, body, signed(body, newest)) for key in (former, newest)] == [False, True]


class TestBodies:
    def test_a_standard_body_holds_the_data_byte_by_byte(self) -> None:
        made = message(TOLD, Format.STANDARD)

        assert DATA.encode() in made.body
        assert json.loads(made.body) == {
            "type": "instrument.name_changed", "timestamp": "2026-08-18T06:30:00.123456Z", "id": str(ID),
            "position": 42, "subject": "01K3", "data": json.loads(DATA),
        }  # fmt: skip

    @pytest.mark.parametrize("form", Format)
    def test_a_large_one_is_sent_thin_with_a_link(self, form: Format) -> None:
        large = Told(ID, "instrument.listed", AT, json.dumps({"name": "x" * 20_000}), "01K3", 42)
        made = message(large, form)

        assert len(made.body) < 1_000
        link = f"/api/v1/internal/instrument-registry/events/{ID}"
        assert link in (made.headers["ce-dataref"] if form is Format.CLOUDEVENTS_BINARY else made.body.decode())


@pytest.mark.parametrize("form", [Format.CLOUDEVENTS, Format.CLOUDEVENTS_BINARY])
class TestCloudEvents:
    def test_are_read_by_the_package_of_pypi(self, form: Format) -> None:
        made = message(TOLD, form)
        event = from_http_event(HTTPMessage(dict(made.headers), made.body))

        self._right(
            event.get_id(), event.get_type(), event.get_source(), event.get_subject(), event.get_extension("sequence")
        )
        assert event.get_time() == AT
        assert event.get_data() == json.loads(DATA)

    def test_are_read_by_the_package_of_npm(self, form: Format) -> None:
        made = message(TOLD, form)
        verdict = node_judges([{"judge": "cloudevents", "headers": dict(made.headers), "body": made.body.decode()}])[0]

        assert verdict["right"], verdict
        event = verdict["found"]
        self._right(event["id"], event["type"], event["source"], event["subject"], event["sequence"])
        assert event["data"]["name"] == json.loads(DATA)["name"]

    def test_what_no_header_can_hold_is_written_in_the_per_cent_form(self, form: Format) -> None:
        odd = Told(ID, "external.desk", AT, "{}", 'M&M "₹" 100%\r\nX: 1', 7)
        made = message(odd, form)
        event = from_http_event(HTTPMessage(dict(made.headers), made.body))

        assert event.get_subject() == odd.subject
        assert all(value.isascii() and value.isprintable() for value in made.headers.values())

    def _right(self, *found: object) -> None:
        assert found == (str(ID), "instrument.name_changed", "/instrument-registry", "01K3", "42")


def test_the_same_event_is_the_same_bytes_every_time() -> None:
    bodies: set[Message] = set()
    for form in Format:
        assert message(TOLD, form) == message(TOLD, form)
        bodies.add(message(TOLD, form).body)

    assert len(bodies) == 3
