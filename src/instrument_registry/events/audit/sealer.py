"""The one who puts records into the tree and signs its root: nothing it has signed for may change afterwards."""

import asyncio
import secrets

import structlog
from prometheus_client import Gauge

from instrument_registry.clock import Clock
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Unavailable
from instrument_registry.events import service as log_service
from instrument_registry.events import storage as events_storage
from instrument_registry.events.audit import merkle, service, storage
from instrument_registry.events.audit.checkpoints import Checkpoint, Note, Signer, read_note
from instrument_registry.events.audit.events import AuditKeyRegistered
from instrument_registry.events.audit.outside import Outside
from instrument_registry.events.model import Metadata

LOCK = 0x6972_6175_6469_74  # "iraudit": whoever seals this database holds it, as long as its session lives
POLL_SECONDS = 0.5
APPENDS_MAX = 5_000  # in one statement
CHECKPOINT_RECORDS = 1_000
CHECKPOINT_SECONDS = 60.0
MONTHS_AHEAD = 3
MONTHS_CHECKED_EVERY_SECONDS = 3600
STREAM = "audit"

log = structlog.get_logger("audit")
BROKEN = Gauge("instrument_registry_audit_broken", "1 while the tree differs from what was signed")


class AuditBroken(Unavailable):
    """Run `instrument-registry audit verify`; after a restored backup put the file of checkpoints aside."""

    title = "The audit is not what was signed"


async def run(database: Database, outside: Outside, *, clock: Clock, poll_seconds: float = POLL_SECONDS) -> None:
    """Seal and sign for ever; a second sealer waits until the first is gone.

    Each step is done or not done, so it may be killed anywhere. Raises: DatabaseUnavailable, KeyUnreadable.
    """
    async with database.session("audit sealer") as session:
        await events_storage.notice_silence(session)
        while not await events_storage.locked(session, LOCK):
            await asyncio.sleep(poll_seconds)
        log.info("audit.sealer_started")
        await storage.ensure_months(session, months_ahead=MONTHS_AHEAD)
        await events_storage.listen(session, service.CHECKPOINT_ASKED)
        sealer = await prepare(session, outside, clock=clock)
        loop = asyncio.get_running_loop()
        months_due = loop.time() + MONTHS_CHECKED_EVERY_SECONDS
        sign_from, asked = loop.time(), False
        while True:
            await sealer.seal()
            if asked or (sealer.due() and loop.time() >= sign_from):
                signed = await _sign(sealer)
                sign_from = loop.time() + (0 if signed else CHECKPOINT_SECONDS)
            if loop.time() >= months_due:
                await storage.ensure_months(session, months_ahead=MONTHS_AHEAD)
                months_due = loop.time() + MONTHS_CHECKED_EVERY_SECONDS
            asked = bool([one async for one in session.notifies(timeout=poll_seconds, stop_after=1)])


async def prepare(session: Transaction, outside: Outside, *, clock: Clock) -> "Sealer":
    """A sealer that has its key registered and knows what was signed last, here and outside.

    For a session in autocommit of which there is only one. Raises: KeyUnreadable, BadCheckpoint.
    """
    signer = await _registered(session, outside, clock=clock)
    kept = await storage.checkpoints(session, before=None, limit=1)
    inside, beyond = (read_note(kept[0].note) if kept else None), outside.last()
    after, size = await storage.sealed_up_to(session)
    last = inside
    if beyond and (
        beyond.checkpoint.log != signer.log or not inside or beyond.checkpoint.size > inside.checkpoint.size
    ):
        last = beyond
    elif inside and (beyond is None or beyond.checkpoint.size < inside.checkpoint.size):
        outside.add(inside)
    sealer = Sealer(session, outside, signer, clock, last=last.checkpoint if last else None, after=after, size=size)
    if last and last is beyond and await sealer.agrees(last.checkpoint):  # it was written outside and then cut off
        await storage.add_checkpoint(session, last)
    return sealer


class Sealer:
    """One session's work on the tree."""

    def __init__(
        self,
        session: Transaction,
        outside: Outside,
        signer: Signer,
        clock: Clock,
        *,
        last: Checkpoint | None,
        after: int,
        size: int,
    ) -> None:
        self.last, self.size = last, size
        self._session, self._outside, self._signer, self._clock = session, outside, signer, clock
        self._after = after

    async def seal(self) -> int:
        """Give every record whose event has a position its leaf, and store the tiles that become full; the size."""
        while True:
            async with self._session.transaction():
                looked_at, after, size = await storage.seal(self._session, after=self._after, limit=APPENDS_MAX)
                if size >> merkle.TILE_HEIGHT != self.size >> merkle.TILE_HEIGHT:
                    await store_tiles(self._session, size)
            self._after, self.size = after, size
            if looked_at < APPENDS_MAX:
                return self.size

    def due(self) -> bool:
        """Whether a checkpoint is to be signed: after 1,000 records, or 60 s after the last one if there are any."""
        if self.last is None:
            return self.size > 0
        age_seconds = (self._clock() - self.last.at).total_seconds()
        more = self.size - self.last.size
        return more >= CHECKPOINT_RECORDS or (more != 0 and age_seconds >= CHECKPOINT_SECONDS)

    async def sign(self) -> Note | None:
        """Sign the tree as it is, outside first: what the file says may be ahead of the database, never behind.

        None when there is nothing to sign. Raises: AuditBroken.
        """
        if self.last is not None:
            await self._still_so(self.last)
            if self.last.size == self.size:
                return None
        if self.size == 0:
            return None
        root = await service.root(self._session, self.size)
        checkpoint = Checkpoint(log=self._signer.log, size=self.size, root=root, at=self._clock())
        note = self._signer.sign(checkpoint)
        self._outside.add(note)
        await storage.add_checkpoint(self._session, note)
        self.last = checkpoint
        return note

    async def agrees(self, last: Checkpoint) -> bool:
        """Whether what was signed is still the beginning of the tree."""
        try:
            await self._still_so(last)
        except AuditBroken:
            return False
        return True

    async def _still_so(self, last: Checkpoint) -> None:
        """Never sign two histories: what was signed must still be the beginning."""
        if last.log != self._signer.log:
            raise AuditBroken(f"{self._outside.checkpoints} is of {last.log}, the database of {self._signer.log}")
        if self.size < last.size:
            raise AuditBroken(f"The tree has {self.size} leaves, and one of {last.size} was signed", size=self.size)
        try:
            root = await service.root(self._session, last.size)
        except ValueError as error:
            raise AuditBroken(f"The tree is not whole: {error}") from error
        if root != last.root:
            raise AuditBroken(f"The first {last.size} leaves are not those that were signed", size=last.size)


async def store_tiles(tx: Transaction, size: int) -> int:
    """Store every tile that a tree of this size has filled; how many were missing."""
    made, level = 0, 0
    while full := size >> (level + 1) * merkle.TILE_HEIGHT:
        for index in range(await storage.tiles(tx, level=level), full):
            first = index << merkle.TILE_HEIGHT
            hashes = await storage.hashes(tx, level=level, first=first, count=merkle.TILE_WIDTH)
            root = merkle.folded(hashes)
            await storage.add_tile(tx, level=level, index=index, root=root, hashes=b"".join(hashes))
            made += 1
        level += 1
    return made


async def _sign(sealer: Sealer) -> bool:
    """Whether the tree could be signed; a broken one is told again and again, and goes on growing unsigned."""
    try:
        await sealer.sign()
    except AuditBroken as error:
        BROKEN.set(1)
        log.critical("audit.broken", reason=str(error))
        return False
    BROKEN.set(0)
    return True


async def _registered(session: Transaction, outside: Outside, *, clock: Clock) -> Signer:
    private = outside.private_key()
    async with session.transaction():
        known = await storage.keys(session)
        signer = Signer(known[0].log if known else f"instrument-registry/{secrets.token_hex(8)}", private)
        at = clock()
        if await storage.add_key(session, signer.verifier, at=at):
            fact = AuditKeyRegistered(occurred_at=at, key_id=signer.verifier.key_id, verifier=str(signer.verifier))
            metadata = Metadata(actor="sealer", correlation_id=f"audit-key-{signer.verifier.key_id}")
            await log_service.append(session, fact, stream=STREAM, metadata=metadata)
    outside.trust(signer)
    return signer
