"""No process starts without the master keys that wrap what is stored."""

from collections.abc import Collection

from instrument_registry.configuration.secrets import wrapping
from instrument_registry.sealing import sealer_of
from instrument_registry.wiring import Registry


async def require_master_keys(registry: Registry, *, given_up: Collection[str] = ()) -> None:
    """See that they are here; an instance that has stored nothing yet makes its first one.

    Raises: MasterKeyMissing naming the ids of those that are not, MasterKeyUnusable.
    """
    sealer = sealer_of(registry.settings)
    async with registry.database.transaction(read_only=True) as tx:
        await wrapping.require_keys(tx, sealer, at=registry.clock(), given_up=given_up)
    sealer.keys.newest()
