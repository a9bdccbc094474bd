"""Which addresses a download may go to: the public internet and nothing else, unless it is listed."""

from collections.abc import Sequence

from instrument_registry.outbound.addresses import AddressRefused, Guard, Network, Target


class FetchRefused(AddressRefused):
    """The address, or what lies there, is nothing we download."""

    title = "This address is not downloaded from"


def guard_of(allowed: Sequence[Network]) -> Guard:
    """Where downloads may go when these networks are listed."""
    return Guard(
        use="downloaded from",
        setting="INSTRUMENT_REGISTRY_FETCH_NETWORKS",
        listed=allowed,
        refusal=FetchRefused,
        plain_http=True,
    )


def check_url(url: str, *, allowed: Sequence[Network] = ()) -> Target:
    """Take a URL apart and see that it may be downloaded from; Raises: FetchRefused."""
    return guard_of(allowed).check_url(url)
