"""The way back to how it was started: everything live is taken back, caches are forgotten, breakers close."""

import re
from collections.abc import Collection
from datetime import datetime

from instrument_registry import events
from instrument_registry.configuration import service
from instrument_registry.configuration.model import Version
from instrument_registry.database import Transaction
from instrument_registry.errors import Invalid
from instrument_registry.events import Metadata
from instrument_registry.operations import orders
from instrument_registry.operations.events import STREAM, EmergencyReset

PHRASE = "reset everything as of version {version}"
WRITTEN = re.compile(r"reset everything as of version (\d{1,18})")


class NotConfirmed(Invalid):
    """Ask by GET for what would be reset and for the phrase to confirm it with; then send that as `confirm`."""

    title = "The reset was not confirmed"


def phrase(version: int) -> str:
    """What confirms a reset: it names the configuration that somebody has looked at."""
    return PHRASE.format(version=version)


async def would_change(tx: Transaction) -> tuple[int, dict[str, str]]:
    """The newest version, and everything that is set live and would be taken back; secret values hidden."""
    return await service.set_live(tx)


async def reset(
    tx: Transaction,
    confirm: str,
    *,
    ordered: Collection[str],
    breakers: Collection[str],
    reason: str,
    metadata: Metadata,
    at: datetime,
) -> Version | None:
    """Take everything back and give the orders; the version that was made, None when nothing was set live.

    Sent again after it was done, it finds nothing to take back and is done again. Raises: NotConfirmed.
    """
    newest, live = await service.set_live(tx)
    written = WRITTEN.fullmatch(" ".join(confirm.split()))
    if written is None:
        raise NotConfirmed("confirm does not say what the GET of this path asks for", field="confirm")
    if live and int(written[1]) != newest:
        raise NotConfirmed(
            f"The configuration is at version {newest}, not {written[1]}: look again at what would be reset",
            field="confirm",
            version=newest,
        )
    made = await service.reset(tx, reason=reason, metadata=metadata, at=at)
    await orders.give(tx, list(ordered), actor=metadata.actor, at=at)
    told = EmergencyReset(
        configuration_version=made.version if made else None, orders=sorted(ordered), breakers=sorted(breakers),
        reason=reason, occurred_at=at,
    )  # fmt: skip
    await events.append(tx, told, stream=STREAM, metadata=metadata)
    return made
