"""Which addresses a download may go to: the public internet and nothing else, unless it is listed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from instrument_registry.errors import Invalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = {"http": 80, "https": 443}
FIRST_FREE_PORT = 1024  # below it live mail, name and login services
URL_CHARACTERS = 2_000
HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
NUMERIC = re.compile(r"(?:0x[0-9a-f]*|\d+)\Z")
PLAIN_NUMBER = re.compile(r"(?:0|[1-9]\d{0,2})")

# What Python's own lists (which differ from release to release) may take for public: a cloud's own services, blocks
# kept for protocols, and addresses that carry another one inside.
NEVER = (
    IPv4Network("168.63.129.16/32"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("::/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("2001::/23"),
    IPv6Network("2002::/16"),
    IPv6Network("fec0::/10"),
)


class FetchRefused(Invalid):
    """The address, or what lies there, is nothing we download."""

    title = "This address is not downloaded from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A checked URL, taken apart."""

    url: str
    scheme: str
    host: str  # lower case; an address without brackets
    port: int


def check_url(url: str, *, allowed: Sequence[Network] = ()) -> Target:
    """Take a URL apart and see that it may be asked for; a host name's addresses are judged when it is resolved.

    Raises: FetchRefused.
    """
    if len(url) > URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise FetchRefused("The URL is too long or holds characters a URL does not have", url=url[:200])
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchRefused("The URL cannot be read", url=url) from error
    if parts.scheme not in PORTS:
        raise FetchRefused("Only http and https are downloaded from", url=url, scheme=parts.scheme)
    if parts.username is not None or parts.password is not None:
        raise FetchRefused("A URL with a user or password is not used")
    host = _host(parts, url)
    address = literal_address(host)
    if address is not None:
        check_address(address, host=host, allowed=allowed)
    port = PORTS[parts.scheme] if port is None else port
    listed = address is not None and any(address in network for network in allowed)
    if port not in PORTS.values() and port < FIRST_FREE_PORT and not listed:
        raise FetchRefused("This port is not downloaded from", url=url, port=port)
    return Target(url=url, scheme=parts.scheme, host=host, port=port)


def check_address(address: Address, *, host: str, allowed: Sequence[Network] = ()) -> None:
    """See that an address is public, or listed.

    Raises: FetchRefused.
    """
    if not any(address in network for network in allowed) and not is_public(address):
        raise FetchRefused(
            "The host is not on the public internet, nor listed in INSTRUMENT_REGISTRY_FETCH_NETWORKS",
            host=host, address=str(address),
        )  # fmt: skip


def is_public(address: Address) -> bool:
    """Whether an address, and any other it stands for, belongs to the public internet."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.scope_id is not None:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not any(address in network for network in NEVER)
    )


def literal_address(host: str) -> Address | None:
    """The address a host is written as; None for a name.

    Raises: FetchRefused for the other spellings of an address that system libraries understand (0177.1, 0x7f000001).
    """
    if ":" in host:
        return _address(host)
    if not NUMERIC.match(host.rpartition(".")[2]):
        return None
    if not all(PLAIN_NUMBER.fullmatch(part) for part in host.split(".")):
        raise FetchRefused("The host is an address in a disguised spelling", host=host)
    return _address(host)


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise FetchRefused("The host is neither a name nor an address", host=text) from error


def _host(parts: SplitResult, url: str) -> str:
    host = (parts.hostname or "").removesuffix(".")
    if not host:
        raise FetchRefused("The URL names no host", url=url)
    if "[" in parts.netloc:
        return str(_address(host))
    if not HOST.fullmatch(host):
        raise FetchRefused("The host is not a name of the internet", url=url, host=host)
    return host
