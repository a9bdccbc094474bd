"""Which master key wraps what is stored, and how everything comes under the newest one while others read and write."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from instrument_registry import events
from instrument_registry.clock import Clock
from instrument_registry.configuration.secrets import storage
from instrument_registry.configuration.secrets.events import STREAM, SecretsRewrapped
from instrument_registry.configuration.secrets.model import KeyUse, MasterKeyMissing, Rewrapped
from instrument_registry.database import Database, Transaction
from instrument_registry.events import Metadata
from instrument_registry.events.webhooks import service as webhooks
from instrument_registry.sealing import MasterKeyUnusable, SealBroken, Sealed, Sealer

BATCH = 200
REWRAPPED_AT_ONCE = 2_000
DAMAGED_NAMED = 20


@dataclass(frozen=True, slots=True)
class Shelf:
    """A table with sealed values: which are under some keys (held until the transaction ends), and how they change."""

    kind: str
    under: Callable[[Transaction, Sequence[bytes], int, Sealer], Awaitable[list[Sealed]]]
    put: Callable[[Transaction, Mapping[int, bytes]], Awaitable[None]]


async def _secrets_under(tx: Transaction, keys: Sequence[bytes], after: int, sealer: Sealer) -> list[Sealed]:
    return await storage.under(tx, keys, after=after, limit=BATCH)


async def _webhooks_under(tx: Transaction, keys: Sequence[bytes], after: int, sealer: Sealer) -> list[Sealed]:
    return await webhooks.secrets_to_rewrap(tx, under=keys, after=after, limit=BATCH, environment=sealer.environment)


SHELVES = (
    Shelf("secrets", _secrets_under, storage.replace_sealed),
    Shelf("webhook secrets", _webhooks_under, webhooks.put_rewrapped),
)


async def keys(tx: Transaction, sealer: Sealer, *, at: datetime) -> list[KeyUse]:
    """Every master key that is here or wraps something: those here first, the newest before the others."""
    held = sealer.keys.held()
    kept, signing = await storage.by_key(tx), await webhooks.secrets_by_key(tx, at=at)
    return [
        KeyUse(
            key_id=one.hex(), held=one in held, newest=held[:1] == [one], secrets=kept.get(one, 0),
            webhook_secrets=signing.get(one, 0),
        )
        for one in [*held, *sorted((kept.keys() | signing.keys()) - set(held))]
    ]  # fmt: skip


async def require_keys(tx: Transaction, sealer: Sealer, *, at: datetime, given_up: Collection[str] = ()) -> None:
    """See that every master key is here that wraps something, but for those given up; Raises: MasterKeyMissing."""
    missing = [one for one in await keys(tx, sealer, at=at) if not one.held and one.key_id not in given_up]
    if not missing:
        return
    ids, count = [one.key_id for one in missing], sum(one.wraps for one in missing)
    secrets = f"{count} stored secrets are" if count > 1 else "One stored secret is"
    wraps, is_here = ("keys", "are") if len(ids) > 1 else ("key", "is")
    options = " ".join(f"--without-key {one}" for one in ids)
    raise MasterKeyMissing(
        f"{secrets} sealed under the master {wraps} {', '.join(ids)}, which {is_here} not in {sealer.keys.shown}; "
        f"put irmk_{ids[0]}_… back from a backup, or start with {options} and set anew what it sealed",
        key_ids=ids,
    )


async def rewrap(
    database: Database,
    sealer: Sealer,
    *,
    metadata: Metadata,
    clock: Clock,
    at_most: int = REWRAPPED_AT_ONCE,
) -> Rewrapped:
    """Bring up to so many values under the newest master key, a few in each transaction; again until none is left.

    Raises: MasterKeyUnusable.
    """
    newest, _ = sealer.keys.newest()
    others = [one for one in sealer.keys.held() if one != newest]
    done, damaged = 0, list[str]()
    for shelf in SHELVES:
        after = 0
        while done < at_most:
            async with database.transaction() as tx:
                found = await shelf.under(tx, others, after, sealer)
                changed, broken = _rewrapped(found, sealer)
                if changed:
                    await shelf.put(tx, changed)
                    fact = SecretsRewrapped(
                        occurred_at=clock(), key_id=newest.hex(), kind=shelf.kind, values=len(changed)
                    )
                    await events.append(tx, fact, stream=STREAM, metadata=metadata)
            done += len(changed)
            damaged += broken
            if len(found) < BATCH:
                break
            after = found[-1].id
    async with database.transaction(read_only=True) as tx:
        uses = await keys(tx, sealer, at=clock())
    left = sum(one.wraps for one in uses if one.held and not one.newest)
    return Rewrapped(
        key_id=newest.hex(), rewrapped=done, left=max(left - len(damaged), 0), damaged=tuple(damaged[:DAMAGED_NAMED])
    )


def _rewrapped(found: Sequence[Sealed], sealer: Sealer) -> tuple[dict[int, bytes], list[str]]:
    """Values under the newest key by row, and what cannot be opened: it stays as it is and holds up nobody."""
    changed: dict[int, bytes] = {}
    broken: list[str] = []
    for one in found:
        try:
            changed[one.id] = sealer.rewrap(one.sealed, one.bound)
        except (SealBroken, MasterKeyUnusable):
            broken.append(str(one.bound))
    return changed, broken
