"""TLS out of files: what an instance shows to those who come.

Files are read anew by every process that starts, so a rolling restart (SIGHUP) brings in a renewed certificate; a pair
that cannot be used ends the new process and leaves the old one at work.
"""

import ipaddress
import shlex
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from prometheus_client import Gauge

from instrument_registry.clock import now
from instrument_registry.outbound.trust import OLDEST, words_of
from instrument_registry.settings import PREFIX, InvalidSettings, Settings

# Of 1.2 only what has forward secrecy and authenticates what it encrypts; 1.3 has nothing else.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
ENDS_SOON_DAYS = 14
PEM_LIMIT_BYTES = 1024 * 1024

ENDS = Gauge("instrument_registry_tls_certificate_ends_seconds", "When our certificate ends, in seconds since 1970")

log = structlog.get_logger("supervisor")

Factory = Callable[[object, object], ssl.SSLContext]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of itself."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    ends_at: datetime
    self_signed: bool


def tls_of(settings: Settings) -> Factory | None:
    """What makes connections secure, if a certificate is named; Raises: InvalidSettings."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = OLDEST
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    certificate, key = settings.tls_certificate, settings.tls_key
    for name, path in (("TLS_CERTIFICATE", certificate), ("TLS_KEY", key)):
        _readable(name, path)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidSettings(_why(error, certificate, key), setting=f"{PREFIX}TLS_CERTIFICATE") from error
    ends_at = certificate_in(certificate).ends_at
    ENDS.set(ends_at.timestamp())
    if (ends_at - now()).days < ENDS_SOON_DAYS:
        log.warning("tls.certificate_ends", path=str(certificate), ends_at=ends_at.isoformat())
    return lambda *_: context


def certificate_in(path: Path | str) -> Certificate:
    """What the first certificate of a file says; Raises: OSError, ValueError."""
    from cryptography import x509  # only who speaks TLS needs it

    with open(path, "rb") as file:
        found = x509.load_pem_x509_certificate(file.read(PEM_LIMIT_BYTES))
    names: list[str] = []
    addresses: list[str] = []
    with suppress(x509.ExtensionNotFound):
        told = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = told.get_values_for_type(x509.DNSName)
        addresses = [str(one) for one in told.get_values_for_type(x509.IPAddress)]
    return Certificate(tuple(names), tuple(addresses), found.not_valid_after_utc, found.issuer == found.subject)


def as_certified(url: str, certificate: Path) -> tuple[str, str]:
    """An address by a name that its certificate has, and what curl needs to believe it from here."""
    told = certificate_in(certificate)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    trust = f"--cacert {shlex.quote(str(certificate))} " if told.self_signed else ""
    known = [name for name in told.names if not name.startswith("*.")]
    if str(ipaddress.ip_address(host)) in told.addresses or not known:
        return url, trust
    address = f"[{host}]" if ":" in host else host
    return f"https://{known[0]}:{port}", f"{trust}--resolve {known[0]}:{port}:{address} "


def _readable(name: str, path: Path) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        setting = PREFIX + name
        raise InvalidSettings(f"{setting}: {path} cannot be read: {words_of(error)}", setting=setting) from error


def _why(error: Exception, certificate: Path, key: Path) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"{PREFIX}TLS_KEY: {key} is not the key of the certificate {certificate}"
    if isinstance(error, ValueError) and not isinstance(error, ssl.SSLError):
        return f"{PREFIX}TLS_KEY: {key} is protected by a password; write it without one, readable by us alone"
    return (
        f"{PREFIX}TLS_CERTIFICATE, {PREFIX}TLS_KEY: {certificate} and {key} are not a certificate and its key in PEM"
        f" ({words_of(error)})"
    )


def _no_password() -> str:
    raise ValueError("a password is needed")
