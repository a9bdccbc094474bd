"""Sends each new checkpoint to somebody outside, who keeps it where nobody gets who may change the database."""

import asyncio

import structlog

from instrument_registry.clock import Clock
from instrument_registry.database import Database
from instrument_registry.events.audit import service
from instrument_registry.events.webhooks.sending import Sender
from instrument_registry.outbound.addresses import Guard

POLL_SECONDS = 5.0
AGAIN_SECONDS = 60.0
TIMEOUT_SECONDS = 15.0
HEADERS = {"content-type": "text/plain; charset=utf-8", "user-agent": "instrument-registry-audit"}

log = structlog.get_logger("audit")


async def run(
    database: Database,
    url: str,
    *,
    guard: Guard,
    clock: Clock,
    poll_seconds: float = POLL_SECONDS,
    again_seconds: float = AGAIN_SECONDS,
) -> None:
    """Post the newest checkpoint for ever, whenever there is one; those it has overtaken are part of what it proves.

    After a start the newest is sent again, for nobody remembers what the witness has. Raises: DatabaseUnavailable.
    """
    sent = 0
    async with Sender(guard, timeout_seconds=TIMEOUT_SECONDS) as sender:
        while True:
            async with database.transaction(read_only=True) as tx:
                newest = await service.checkpoints(tx, limit=1)
            wait_seconds = poll_seconds
            if newest and newest[0].size != sent:
                answer = await sender.post(url, newest[0].note.encode(), HEADERS, now=clock())
                if answer.taken:
                    sent = newest[0].size
                else:
                    wait_seconds = again_seconds
                    log.warning("audit.witness_refused", status=answer.status, reason=answer.problem)
            await asyncio.sleep(wait_seconds)
