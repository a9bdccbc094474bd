"""Which addresses a request may go to: the public internet and nothing else, unless a network is listed."""

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


class AddressRefused(Invalid):
    """The address is nothing we ask."""

    title = "This address is not asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A checked URL, taken apart."""

    url: str
    scheme: str
    host: str  # lower case; an address without brackets
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Where requests of one kind may go.

    `plain_http` says whether http may be spoken on the public internet; to a listed network it always may.
    """

    use: str  # completes "is not …", as in "is not downloaded from"
    setting: str  # lists the networks that are not public and yet may be asked
    listed: Sequence[Network] = ()
    refusal: type[AddressRefused] = AddressRefused
    plain_http: bool = False

    def check_url(self, url: str) -> Target:
        """Take a URL apart and see that it may be asked; a name's addresses are judged when it is resolved.

        Raises: AddressRefused, of this guard's kind.
        """
        if len(url) > URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise self.refusal("The URL is too long or holds characters a URL does not have", url=url[:200])
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise self.refusal("The URL cannot be read", url=url) from error
        if parts.scheme not in PORTS or (parts.scheme == "http" and not self.plain_http and not self.listed):
            schemes = "http and https are" if self.plain_http else "https is"
            raise self.refusal(f"Only {schemes} {self.use}", url=url, scheme=parts.scheme)
        if parts.username is not None or parts.password is not None:
            raise self.refusal("A URL with a user or password is not used")
        host = self._host(parts, url)
        address = self.literal_address(host)
        if address is not None:
            self.check_address(address, host=host, scheme=parts.scheme)
        port = PORTS[parts.scheme] if port is None else port
        if port not in PORTS.values() and port < FIRST_FREE_PORT and not (address and self.lists(address)):
            raise self.refusal(f"This port is not {self.use}", url=url, port=port)
        return Target(url=url, scheme=parts.scheme, host=host, port=port)

    def check_address(self, address: Address, *, host: str, scheme: str = "https") -> None:
        """See that an address is public, or listed; Raises: AddressRefused, of this guard's kind."""
        if self.lists(address):
            return
        if not is_public(address):
            raise self.refusal(
                f"The host is not on the public internet, nor listed in {self.setting}",
                host=host, address=str(address),
            )  # fmt: skip
        if scheme == "http" and not self.plain_http:
            raise self.refusal(f"Only https is {self.use}; http where {self.setting} lists the network", host=host)

    def lists(self, address: Address) -> bool:
        """Whether an operator listed a network that holds this address."""
        return any(address in network for network in self.listed)

    def literal_address(self, host: str) -> Address | None:
        """The address a host is written as; None for a name.

        Raises: AddressRefused for the other spellings that system libraries understand (0177.1, 0x7f000001).
        """
        if ":" in host:
            return self._address(host)
        if not NUMERIC.match(host.rpartition(".")[2]):
            return None
        if not all(PLAIN_NUMBER.fullmatch(part) for part in host.split(".")):
            raise self.refusal("The host is an address in a disguised spelling", host=host)
        return self._address(host)

    def _address(self, text: str) -> Address:
        try:
            return ip_address(text)
        except ValueError as error:
            raise self.refusal("The host is neither a name nor an address", host=text) from error

    def _host(self, parts: SplitResult, url: str) -> str:
        host = (parts.hostname or "").removesuffix(".")
        if not host:
            raise self.refusal("The URL names no host", url=url)
        if "[" in parts.netloc:
            return str(self._address(host))
        if not HOST.fullmatch(host):
            raise self.refusal("The host is not a name of the internet", url=url, host=host)
        return host


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
