"""Where webhooks may go: https on the public internet; anything else only where an operator listed the network."""

import asyncio
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver
from yarl import URL

from instrument_registry.outbound.addresses import AddressRefused, Guard, Network, Target
from instrument_registry.outbound.resolving import GuardedResolver, request_url

RESOLVED_WITHIN_SECONDS = 5.0


class WebhookAddressRefused(AddressRefused):
    """Name a public https address, or let an operator list the network in INSTRUMENT_REGISTRY_WEBHOOK_NETWORKS."""

    title = "Webhooks are not sent to this address"


def guard_of(listed: Sequence[Network]) -> Guard:
    """Where webhooks may go when these networks are listed."""
    return Guard(
        use="sent to",
        setting="INSTRUMENT_REGISTRY_WEBHOOK_NETWORKS",
        listed=listed,
        refusal=WebhookAddressRefused,
    )


async def look(url: str, guard: Guard, *, inner: AbstractResolver | None = None) -> Target:
    """See that webhooks may go to a URL and to every address that its name has now.

    Raises: WebhookAddressRefused. Each attempt looks again, and goes to no other address than was looked at.
    """
    target = guard.check_url(url)
    request_url(target, guard)
    if guard.literal_address(target.host) is None:
        resolver = GuardedResolver(guard, scheme=target.scheme, inner=inner)
        try:
            await asyncio.wait_for(resolver.resolve(target.host, target.port), RESOLVED_WITHIN_SECONDS)
        except (OSError, TimeoutError) as error:
            raise WebhookAddressRefused("The name of the host has no address", host=target.host) from error
        finally:
            await resolver.close()
    return target


def origin(url: str) -> str:
    """Scheme, host and port of a URL: all that may be told to everybody, as its path may be a password."""
    return str(URL(url).origin())
