"""The fast road: a consumer reads from Redis what it has not read yet, and all that must last stays in the database.

How far it has come, what failed, what came back without a word, and its dead letters are those of any consumer. What
Redis does not have, because it lost it, let go of it or is away, is read from the store.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisSilent

from instrument_registry.clock import Clock
from instrument_registry.database import Database
from instrument_registry.errors import Invalid
from instrument_registry.events import service, wire
from instrument_registry.events.model import Append, Event, Metadata
from instrument_registry.events.streams import delivering, layout, reader_storage, redis_streams
from instrument_registry.events.streams.delivering import LEASE_SECONDS, Ahead
from instrument_registry.events.streams.model import Failed, Handed, Hold, Retrying
from instrument_registry.events.streams.redis_streams import RedisResting, Streams

BLOCK_SECONDS = 1.0
RENEW_SECONDS = LEASE_SECONDS / 3
RETRIES_EVERY_SECONDS = 1.0
JOIN_EVERY_SECONDS = 0.25
DEAD_AFTER_SECONDS = 30.0  # what another process has held so long is taken from it
CLAIMED_AT_ONCE = 100
NOTHING = Ahead([], 0, full=False)


class NotOnRedis(Invalid):
    """Single facts of bulk runs are in the store alone: read them there."""

    title = "This consumer cannot read from Redis"


class Reader:
    """One process of a consumer on the fast road; one task uses it."""

    def __init__(
        self,
        database: Database,
        streams: Streams,
        consumer_id: str,
        *,
        process: str,
        stream_id: UUID,
        batch_size: int,
        retrying: Retrying,
        clock: Clock,
        dead_after_seconds: float = DEAD_AFTER_SECONDS,
    ) -> None:
        self._database, self._streams, self._consumer_id = database, streams, consumer_id
        self._process, self._stream_id, self._batch_size = process, stream_id, batch_size
        self._retrying, self._clock, self._dead_after_seconds = retrying, clock, dead_after_seconds
        self._held: Hold | None = None
        self._generation = -1
        self._reached = 0
        self._joined = False
        self._renew_at = self._retries_at = self._join_at = self._claim_at = 0.0
        self._busy = len(streams.keys) - 1  # streams that had something the last time, which share a batch
        self._on_redis: dict[int, tuple[str, Handed]] = {}  # in our hands, by position, and the stream it came by
        self._unread: list[tuple[str, str, dict[str, str]]] = []  # given to us by Redis and not looked at yet
        self._done: set[int] = set()  # beyond what is noted as reached: Redis may bring it again

    async def read(self) -> list[Handed]:
        """What to do next, in order of position; nothing when there was nothing for a second.

        Raises: NoSuchConsumer, NotOnRedis, DatabaseUnavailable.
        """
        if not await self._hold():
            await asyncio.sleep(BLOCK_SECONDS)
            return []
        if again := await self._again():
            return again
        try:
            if await self._join():
                return await self._from_redis()
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                await self._away()
            self._joined = False
        except (RedisGone, RedisSilent, RedisError, RedisResting, OSError):
            await self._away()
        return await self._from_store()

    async def acknowledge(self, done: Sequence[Handed]) -> None:
        """Settle what has been done; Raises: NoSuchConsumer, DatabaseUnavailable."""
        positions = [one.event.position or 0 for one in done]
        stored = [position for position in positions if position not in self._on_redis]
        if stored:
            async with self._database.transaction() as tx:
                await delivering.acknowledge(
                    tx, self._consumer_id, positions=stored, retrying=self._retrying, at=self._clock()
                )
        self._done.update(position for position in positions if position > self._reached)
        await self._let_go([position for position in positions if position in self._on_redis])

    async def fail(self, one: Handed, failed: Failed) -> None:
        """Say that an event could not be done: it waits in the database for another try, or is a dead letter."""
        position = failed.position
        async with self._database.transaction() as tx:
            if position in self._on_redis:
                await reader_storage.set_aside(tx, self._consumer_id, [one], stream_id=self._stream_id)
            await delivering.acknowledge(
                tx, self._consumer_id, failed=[failed], retrying=self._retrying, at=self._clock()
            )
        await self._let_go([position] if position in self._on_redis else [])

    async def close(self) -> None:
        """Give back what was not done."""
        if self._held is not None:
            async with self._database.transaction() as tx:
                await reader_storage.set_aside(
                    tx, self._consumer_id, [one for _, one in self._on_redis.values()], stream_id=self._stream_id
                )
                await delivering.release(tx, self._held, looked_to=0)
            await self._let_go(list(self._on_redis))
            self._held = None

    async def _hold(self) -> bool:
        """Whether it is our turn; a consumer that was moved begins anew."""
        now = asyncio.get_running_loop().time()
        if self._held is not None:
            if now < self._renew_at:
                return True
            async with self._database.transaction() as tx:
                kept = await delivering.renew(tx, self._held, retrying=self._retrying, looked_to=0)
            self._renew_at = now + RENEW_SECONDS
            if kept is not None:
                return True
        self._on_redis.clear()
        async with self._database.transaction() as tx:
            self._held = await delivering.hold(
                tx, self._consumer_id, process=self._process, batch_size=self._batch_size, stream_id=self._stream_id
            )
        if self._held is None:
            return False
        if self._held.bulk:
            raise NotOnRedis("It asks for single facts of bulk runs, which are not on Redis: read the store")
        self._renew_at = now + RENEW_SECONDS
        self._reached, self._joined = self._held.reached, False
        if self._generation not in (-1, self._held.generation):
            self._done.clear()
            await self._forget()
        self._generation = self._held.generation
        return True

    async def _again(self) -> list[Handed]:
        """What is due for another try."""
        now = asyncio.get_running_loop().time()
        if self._held is None or now < self._retries_at:
            return []
        async with self._database.transaction() as tx:
            step = await delivering.hand_out(tx, self._held, NOTHING, retrying=self._retrying)
        if step is None:
            self._renew_at = 0.0
            return []
        if not step.handed:
            self._retries_at = now + RETRIES_EVERY_SECONDS
        return step.handed

    async def _join(self) -> bool:
        """Whether the group is on Redis, with all that is ahead of it."""
        now = asyncio.get_running_loop().time()
        if not self._joined and now >= self._join_at:
            self._join_at = now + JOIN_EVERY_SECONDS
            self._joined = await self._streams.join(self._consumer_id, position=self._reached)
            self._unread, self._claim_at = [], 0.0  # what is still ours there is claimed like a dead one's
        return self._joined

    async def _from_redis(self) -> list[Handed]:
        await self._claim()
        keys = self._streams.keys[1:]
        if not self._unread:
            with self._streams.asking():
                told = cast(
                    "list[tuple[str, list[tuple[str, dict[str, str]]]]]",
                    await self._streams.client.xreadgroup(
                        self._consumer_id,
                        self._process,
                        dict.fromkeys(keys, ">"),
                        count=max(1, self._batch_size // self._busy),
                        block=round(BLOCK_SECONDS * 1000),
                    ),
                )
            self._busy = max(len(told), 1)
            self._unread = [(key, entry_id, fields) for key, stream in told for entry_id, fields in stream]
            if not self._unread and await self._stands_still():
                self._joined = False
                return await self._from_store()
        chosen = await self._wanted(self._unread)
        self._unread = []
        return chosen

    async def _stands_still(self) -> bool:
        """Whether there is more in the log than the relay has brought for a second."""
        async with self._database.transaction(read_only=True) as tx:
            head = await service.head_position(tx)
        return await self._streams.position() < head

    async def _from_store(self) -> list[Handed]:
        """The next events from the database, until Redis has all that is ahead."""
        assert self._held is not None
        async with self._database.transaction() as tx:
            # What came from Redis and is still in our hands is remembered there from now on.
            await reader_storage.set_aside(
                tx, self._consumer_id, [one for _, one in self._on_redis.values()], stream_id=self._stream_id
            )
            self._on_redis.clear()
            ahead = await delivering.look_ahead(tx, self._held, after=self._reached, limit=self._batch_size)
            known = await reader_storage.known(
                tx, self._consumer_id, [event.position or 0 for event, _ in ahead.events]
            )
            known |= self._done
            events = [(event, name) for event, name in ahead.events if event.position not in known]
            ahead = Ahead(events, ahead.looked_to, ahead.full)
            step = await delivering.hand_out(tx, self._held, ahead, retrying=self._retrying)
            if step is not None and not step.handed and not step.blocked:
                reached = max(step.reached, ahead.looked_to)
                await reader_storage.advance(tx, self._held, reached=reached)
        if step is None:
            self._renew_at = 0.0
            return []
        moved = max(step.reached, 0 if step.handed or step.blocked else ahead.looked_to)
        if not step.handed and moved <= self._reached:
            await asyncio.sleep(JOIN_EVERY_SECONDS)
        self._reaches(moved)
        return step.handed

    async def _claim(self) -> None:
        """What dead processes held comes back: it waits in the database, and its attempt has been counted."""
        assert self._held is not None
        now = asyncio.get_running_loop().time()
        if now < self._claim_at:
            return
        self._claim_at = now + RENEW_SECONDS
        shared = await self._shared()
        idle_seconds = self._dead_after_seconds if shared or self._on_redis else 0.0
        keys = self._streams.keys[1:]
        with self._streams.asking():
            async with self._streams.client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.xautoclaim(
                        key, self._consumer_id, self._process, round(idle_seconds * 1000), count=CLAIMED_AT_ONCE
                    )
                told = await pipe.execute()
        found = [
            (key, _handed(fields, self._held.event_types))
            for key, claimed in zip(keys, told, strict=True)
            for _, fields in claimed[1]
            if fields
        ]
        back = [(key, one) for key, one in found if (one.event.position or 0) not in self._on_redis]
        if not back:
            return
        lost = [one for _, one in back if (one.event.position or 0) not in self._done]
        async with self._database.transaction() as tx:
            await reader_storage.set_aside(tx, self._consumer_id, lost, stream_id=None)
        self._retries_at = 0.0
        await self._settle([(key, one.event.position or 0) for key, one in back])

    async def _wanted(self, entries: Sequence[tuple[str, str, dict[str, str]]]) -> list[Handed]:
        """Of what came from Redis what is to be done; the rest is acknowledged."""
        assert self._held is not None
        read = sorted((layout.position_of(entry_id), key, fields) for key, entry_id, fields in entries)
        ahead = [position for position, _, _ in read if position > self._reached]
        async with self._database.transaction(read_only=True) as tx:
            known = await reader_storage.known(tx, self._consumer_id, ahead) | self._done
        passed: list[tuple[str, int]] = []
        chosen: list[Handed] = []
        for position, key, fields in read:
            wanted = wire.sent_as(fields["event_type"], self._held.event_types) is not None
            if position <= self._reached or position in known or not wanted:
                passed.append((key, position))
                continue
            one = _handed(fields, self._held.event_types)
            self._on_redis[position] = (key, one)
            chosen.append(one)
        if not chosen:
            await self._settle(passed)
        elif passed:
            await self._acknowledge_there(passed)
        return chosen

    async def _let_go(self, positions: Sequence[int]) -> None:
        if not positions:
            return
        gone = [(self._on_redis.pop(position)[0], position) for position in positions]
        try:
            await self._settle(gone)
        except (RedisError, RedisResting, OSError):
            await self._away()  # read again from there, some of it a second time

    async def _settle(self, gone: Sequence[tuple[str, int]]) -> None:
        """Acknowledge on Redis, and note in the database how far all is acknowledged."""
        assert self._held is not None
        await self._acknowledge_there(gone)
        for group in await self._streams.groups(self._consumer_id):
            if group.streams == len(self._streams.keys) - 1 and group.position > self._reached:
                async with self._database.transaction() as tx:
                    await reader_storage.advance(tx, self._held, reached=group.position)
                self._reaches(group.position)

    async def _acknowledge_there(self, gone: Sequence[tuple[str, int]]) -> None:
        by_stream: dict[str, list[str]] = {}
        for key, position in gone:
            by_stream.setdefault(key, []).append(layout.id_of(position))
        with self._streams.asking():
            async with self._streams.client.pipeline(transaction=False) as pipe:
                for key, ids in by_stream.items():
                    pipe.xack(key, self._consumer_id, *ids)
                await pipe.execute()

    def _reaches(self, position: int) -> None:
        self._reached = max(self._reached, position)
        self._done = {one for one in self._done if one > self._reached}

    async def _shared(self) -> bool:
        async with self._database.transaction(read_only=True) as tx:
            return await reader_storage.is_shared(tx, self._consumer_id)

    async def _forget(self) -> None:
        """The consumer was moved: what its group had read means nothing any more."""
        try:
            async with self._streams.client.pipeline(transaction=False) as pipe:
                for key in self._streams.keys[1:]:
                    pipe.xgroup_destroy(key, self._consumer_id)
                await pipe.execute(raise_on_error=False)
        except (RedisError, RedisResting, OSError):
            await self._away()

    async def _away(self) -> None:
        self._joined = False
        self._join_at = asyncio.get_running_loop().time() + BLOCK_SECONDS
        await redis_streams.disconnect(self._streams.client)


def _handed(fields: dict[str, str], filters: Sequence[str]) -> Handed:
    """An entry as the event it stands for."""
    whole = Append(
        number=0,
        event_id=UUID(fields["event_id"]),
        stream=fields["stream"],
        version=int(fields["stream_version"]),
        facts=1,
        metadata=Metadata(
            actor=fields["actor"], correlation_id=fields["correlation_id"], traceparent=fields.get("traceparent")
        ),
        recorded_at=datetime.fromisoformat(fields["recorded_at"]),
        position=int(fields["position"]),
    )
    event = Event(
        whole,
        0,
        fields["subject"] or None,
        fields["event_type"],
        int(fields["schema_version"]),
        fields["data"],
        datetime.fromisoformat(fields["occurred_at"]),
    )
    return Handed(event, wire.sent_as(event.type, filters) or event.type, 1)
