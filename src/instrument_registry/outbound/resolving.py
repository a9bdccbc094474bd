"""Names looked up for a client that asks only checked addresses: what was checked is what is connected to."""

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from instrument_registry.outbound.addresses import Guard, Target


class GuardedResolver(AbstractResolver):
    """Hands on the addresses of a name if every one of them may be asked: no second look-up can bring another."""

    def __init__(self, guard: Guard, *, scheme: str = "https", inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._scheme = scheme
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:  # one private address among public ones is an attack or a mistake: none is used
            address = self._guard.literal_address(result["host"])
            if address is None:
                raise self._guard.refusal("The host resolves to something that is no address", host=host)
            self._guard.check_address(address, host=host, scheme=self._scheme)
        return found

    async def close(self) -> None:
        await self._inner.close()


def request_url(target: Target, guard: Guard) -> URL:
    """The URL as the client reads it, which has to be how it was checked; Raises: AddressRefused."""
    url = URL(target.url, encoded=True)
    if ((url.host or "").lower().removesuffix("."), url.port) != (target.host, target.port):
        raise guard.refusal("The URL can be read in two ways", url=target.url)
    return url
