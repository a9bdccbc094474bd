"""Whom a caller of an instance trusts: the web's authorities, those of a file, or one certificate alone."""

import ssl
from pathlib import Path

from instrument_registry.errors import Invalid

OLDEST = ssl.TLSVersion.TLSv1_2
PEM_LIMIT_BYTES = 1024 * 1024
PEM_END = "-----END CERTIFICATE-----"


class NotTrusted(Invalid):
    """Name a file with certificates in PEM."""

    title = "The file of trusted certificates cannot be used"


def trusting(ca: Path | str | None = None) -> ssl.SSLContext:
    """How callers connect: with the web's authorities, or with those in a file alone; Raises: NotTrusted."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise NotTrusted(f"{ca} holds no certificates that can be read: {words_of(error)}", path=str(ca)) from error
    context.minimum_version = OLDEST
    return context


def pinned(certificate: Path | str) -> ssl.SSLContext:
    """How to connect to the instance that shows exactly this certificate, whatever name it is called by.

    Raises: NotTrusted.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = OLDEST
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        with open(certificate, encoding="ascii") as file:
            shown, end, _ = file.read(PEM_LIMIT_BYTES).partition(PEM_END)
        context.load_verify_locations(cadata=shown + end)
    except (OSError, ValueError) as error:
        raise NotTrusted(f"{certificate} cannot be read: {words_of(error)}", path=str(certificate)) from error
    return context


def unverified() -> ssl.SSLContext:
    """How to see whether our own process answers behind our own socket: nothing is told to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def words_of(error: Exception) -> str:
    """Why a file could not be used, in as few words as there are."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
