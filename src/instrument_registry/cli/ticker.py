"""`instrument-registry ticker`: holds the connections of one account and follows what is planned for it."""

import asyncio
import importlib.util
import signal
import socket
from typing import Annotated

import typer

from instrument_registry.cli import client
from instrument_registry.errors import Invalid, Unavailable
from instrument_registry.ticker.door import Door
from instrument_registry.ticker.following import Follower
from instrument_registry.ticker.protocol import Start, credentials

# What a broker's connections are driven by; it comes with the broker's own program, not with us.
DRIVERS = {"kite": "kiteconnect"}


def ticker(
    account: Annotated[str, typer.Option(help="Which account to follow.")],
    secret: Annotated[
        str, typer.Option(help="The secret with its credentials; reading it needs a key that may administrate.")
    ],
    broker: Annotated[str, typer.Option(help=f"Whose socket: {', '.join(DRIVERS)}.")] = "kite",
    holder: Annotated[
        str | None, typer.Option(help="Who follows; the same name goes on after a restart. Else this machine's.")
    ] = None,
    feed: Annotated[str | None, typer.Option(help="Another address of the broker's socket.")] = None,
    url: client.Url = None,
    key: client.Key = None,
) -> None:
    """Hold an account's connections, one process each, and carry what is planned, until it is stopped.

    Raises: Invalid, Unavailable, Conflict when another ticker follows the account.
    """
    _see_driver(broker)
    address, key_text, trust = client.reached(url, key)

    async def follow() -> None:
        async with Door(address, key_text, account, trust=trust) as door:
            start = Start(**credentials(await door.secret(secret)), feed=feed)
            name = holder or f"{socket.gethostname()}:{account}"
            follower = Follower(door, account=account, broker=broker, holder=name, start=start)
            work = asyncio.ensure_future(follower.run())
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, work.cancel)
            try:
                await work
            except asyncio.CancelledError:
                return

    asyncio.run(follow())


def _see_driver(broker: str) -> None:
    if broker not in DRIVERS:
        raise Invalid(f"There is no ticker for {broker[:60]!r}; there are {', '.join(DRIVERS)}", field="broker")
    if importlib.util.find_spec(DRIVERS[broker]) is None:
        name = DRIVERS[broker]
        raise Unavailable(f"{name} is not installed, and the ticker drives it: `pip install {name}`")
