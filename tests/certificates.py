"""Certificates for tests, made on the spot: of an authority, issued by it, or signed by themselves."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Private = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files: a certificate (with whom issued it behind it) and its key."""

    certificate: Path
    key: Path


def self_signed(folder: Path, *names: str, password: bytes | None = None) -> Pair:
    """A certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _written(folder, [_signed(names, key=key, by=key, issuer=_name(names[0]))], key, password=password)


def authority(folder: Path) -> Pair:
    """Somebody who issues certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("An authority of tests")
    made = _builder(name, name, key).add_extension(x509.BasicConstraints(True, None), critical=True)
    return _written(folder, [made.sign(key, hashes.SHA256())], key)


def issued(ca: Pair, folder: Path, *names: str) -> Pair:
    """A certificate that an authority vouches for."""
    signer = serialization.load_pem_private_key(ca.key.read_bytes(), None)
    assert isinstance(signer, Private)
    issuer = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    return _written(folder, [_signed(names, key=key, by=signer, issuer=issuer.subject), issuer], key)


def _signed(names: tuple[str, ...], *, key: Private, by: Private, issuer: x509.Name) -> x509.Certificate:
    told = x509.SubjectAlternativeName([_general(name) for name in names])
    return _builder(_name(names[0]), issuer, key).add_extension(told, critical=False).sign(by, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: Private) -> x509.CertificateBuilder:
    begun = datetime.now(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun)
        .not_valid_after(begun + timedelta(days=60))
    )


def _written(folder: Path, chain: list[x509.Certificate], key: Private, *, password: bytes | None = None) -> Pair:
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder / "certificate.pem", folder / "key.pem")
    pair.certificate.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed))
    pair.key.chmod(0o600)
    return pair
