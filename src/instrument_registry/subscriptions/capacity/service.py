"""What accounts can carry, said and shown; and what of it stands now, for whoever plans."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from instrument_registry import events
from instrument_registry.catalog.model import VENUES as SEGMENTS
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.capacity import storage
from instrument_registry.subscriptions.capacity.events import CapacityChanged, CapacityRetired, Said, stream_of
from instrument_registry.subscriptions.capacity.model import Figure
from instrument_registry.subscriptions.capacity.standing import AccountStanding, Health, Standing
from instrument_registry.subscriptions.capacity.storage import Account, AccountVersion, ConnectionRow
from instrument_registry.subscriptions.capacity.terms import (
    NAME,
    CapacityChangedSince,
    CapacityRefused,
    KeyShared,
    NoSuchAccount,
    Terms,
    checked,
    in_force,
)

REASON_CHARACTERS = 500
TAKEN = "venues"  # the built-in profiles are found under this name
Change = Callable[[Terms], Terms]


async def standing(tx: Transaction, *, at: datetime) -> Standing:
    """What every account that is not retired can carry, as of an instant."""
    version = await storage.standing_version(tx)
    accounts = await storage.listed(tx, retired=False)
    known: dict[str, list[ConnectionRow]] = {}
    for row in await storage.connections(tx):
        known.setdefault(row.account, []).append(row)
    stands = tuple(_stands(one, known.get(one.name, [])) for one in accounts)
    return Standing(version=version, at=at, accounts=stands)


async def put(
    tx: Transaction,
    account: str,
    terms: Terms,
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
    version: int | None = None,
) -> Account:
    """Say everything of an account, whatever was said before; with `version` only if nobody has said more since.

    Raises: UnknownVenue, CapacityRefused, KeyShared, CapacityChangedSince.
    """
    if not NAME.fullmatch(account) or account == TAKEN:
        remedy = "Send 1 to 40 letters, digits, dots, dashes and underscores, the first a letter or digit"
        raise CapacityRefused(f"{account[:60]!r} is no name of an account. {remedy}", field="account", remedy=remedy)
    await storage.locked(tx, account)
    before = await storage.find(tx, account)
    _expect(account, before, version)
    return await _made(tx, account, before, terms, reason=reason, metadata=metadata, at=at)


async def change(
    tx: Transaction,
    account: str,
    changes: Change,
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
    version: int | None = None,
) -> Account:
    """Say some things of an account otherwise; Raises: NoSuchAccount, and as `put`."""
    await storage.locked(tx, account)
    before = await find(tx, account)
    _expect(account, before, version)
    return await _made(tx, account, before, changes(before.terms), reason=reason, metadata=metadata, at=at)


async def retire(
    tx: Transaction, account: str, *, reason: str, metadata: Metadata, at: datetime, version: int | None = None
) -> None:
    """Let an account carry nothing any more; Raises: NoSuchAccount, CapacityChangedSince."""
    await storage.locked(tx, account)
    before = await find(tx, account)
    _expect(account, before, version)
    after = replace(
        before, version=before.version + 1, reason=_reason(reason), actor=metadata.actor, changed_at=at, retired_at=at
    )
    await storage.retire(tx, after, correlation_id=metadata.correlation_id)
    fact = CapacityRetired(
        account=account, broker=before.terms.broker, standing=await storage.grown(tx), account_version=after.version,
        reason=after.reason, occurred_at=at,
    )  # fmt: skip
    await events.append(tx, fact, stream=stream_of(account), metadata=metadata)


async def find(tx: Transaction, account: str, *, retired: bool = False) -> Account:
    """An account; Raises: NoSuchAccount."""
    found = await storage.find(tx, account)
    if found is None or (found.retired_at is not None and not retired):
        gone = " any more" if found is not None else ""
        raise NoSuchAccount(f"There is no account {account[:60]!r}{gone}", account=account)
    return found


async def listed(tx: Transaction, *, retired: bool = False) -> list[Account]:
    """The accounts by name; those that are retired too, if wanted."""
    return await storage.listed(tx, retired=retired)


async def history(tx: Transaction, account: str, *, below: int | None = None, limit: int = 100) -> list[AccountVersion]:
    """What was said of an account, the newest first; Raises: NoSuchAccount."""
    await find(tx, account, retired=True)
    return await storage.versions(tx, account, below=below, limit=limit)


async def _made(
    tx: Transaction,
    name: str,
    before: Account | None,
    terms: Terms,
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
) -> Account:
    wanted = checked(terms, segments=SEGMENTS, today=at.astimezone(MARKET_ZONE).date())
    if before is not None and before.retired_at is None and before.terms == wanted:
        return before
    if wanted.key is not None:
        holder = await storage.key_holder(tx, wanted.broker, wanted.key)
        if holder not in (None, name):
            problem = f"The key {wanted.key!r} is that of {holder}: its limits would be counted twice"
            raise KeyShared(problem, field="key", account=holder)
    after = Account(
        name=name, version=1 if before is None else before.version + 1, terms=wanted, reason=_reason(reason),
        actor=metadata.actor, created_at=at if before is None else before.created_at, changed_at=at, retired_at=None,
    )  # fmt: skip
    await storage.put(tx, after, correlation_id=metadata.correlation_id)
    await storage.forget_connections(tx, name, from_number=in_force(wanted).connection_count)
    old = {} if before is None or before.retired_at is not None else said(before.terms)
    new = said(wanted)
    differs = sorted(at for at in old.keys() | new.keys() if old.get(at) != new.get(at))
    fact = CapacityChanged(
        account=name, broker=wanted.broker, standing=await storage.grown(tx), account_version=after.version,
        old={at: old.get(at) for at in differs}, new={at: new.get(at) for at in differs}, reason=after.reason,
        occurred_at=at,
    )  # fmt: skip
    await events.append(tx, fact, stream=stream_of(name), metadata=metadata)
    return after


def said(terms: Terms) -> Said:
    """What is said of an account, each thing as one text."""
    told: Said = {"broker": terms.broker, "key": terms.key, "notes": terms.notes or None}
    told["counts_duplicates"] = None if terms.counts_duplicates is None else str(terms.counts_duplicates).lower()
    for name, figure in terms.figures.items():
        told[f"figures.{name}"] = _text(figure)
    for name, some in (terms.segments or {}).items():
        told[f"segments.{name}"] = ", ".join(some)
    for way in terms.ways or ():
        modes = "".join(f"; {name} {_text(figure)}" for name, figure in way.modes.items())
        told[f"ways.{way.name}"] = f"total {_text(way.total)}{modes}"
    return {name: value for name, value in told.items() if value is not None}


def _text(figure: Figure) -> str:
    number = "unknown" if figure.value is None else str(figure.value)
    return f"{number} ({figure.source}, {figure.as_of}, {figure.certainty})"


def _stands(account: Account, rows: list[ConnectionRow]) -> AccountStanding:
    limits = in_force(account.terms)
    known = {row.number: row.health for row in rows}
    lost, draining = (
        frozenset(number for number, health in known.items() if health is one) for one in (Health.LOST, Health.DRAINING)
    )
    return AccountStanding(
        name=account.name,
        broker=limits.broker,
        tokens=limits.tokens or limits.broker,
        version=account.version,
        account=limits.account(account.name, lost=lost, draining=draining),
        frame=limits.frame,
        segments=None if limits.segments is None else frozenset(limits.segments),
        segment_modes=limits.segments or {},
        health=tuple(known.get(number) for number in range(limits.connection_count)),
        life_hours=limits.life_hours.value if limits.life_hours is not None else None,
        counts_duplicates=limits.counts_duplicates,
    )


def _expect(account: str, found: Account | None, version: int | None) -> None:
    actual = 0 if found is None else found.version
    if version is not None and version != actual:
        detail = f"{account} is at version {actual} by now, not {version}"
        raise CapacityChangedSince(detail, account=account, actual_version=actual)


def _reason(reason: str) -> str:
    if not 1 <= len(reason.strip()) <= REASON_CHARACTERS:
        raise CapacityRefused(f"A reason has 1 to {REASON_CHARACTERS} characters", field="reason")
    return reason.strip()
