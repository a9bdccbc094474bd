"""The relay to Redis: what stands there is the newest of the log, once, in order, and no more than has room."""

import asyncio
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from prometheus_client import REGISTRY

from conftest import DatabaseUrls
from facts import METADATA, Counted, catch_up, counted, renamed
from instrument_registry import events
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.clock import now
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.events.streams import layout, redis_streams, relay_storage
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.redis_streams import BrokerUrlRefused, Streams, Write
from instrument_registry.events.streams.relay import Bounds
from instrument_registry.http.health import Verdict, run_check
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry
from instrument_registry.workers.relay import relay_to_redis
from redis_servers import RedisServer, binaries, serving
from relaying import WITHIN_SECONDS, append, copied, marker, reaches, relaying, sequencing, standing, tell, told, until

SMALL = Bounds(poll_seconds=0.02, look_seconds=0.05, kept_events=50, cap_events=200, trim_after_events=20)
BULK = """
insert into draft (type, data) select 'test.counted', json_build_object('number', n) from generate_series(1, %s) n
"""


@pytest.fixture(params=list(binaries()))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of one's own."""
    with serving(binaries()[request.param], tmp_path / "redis") as started:
        yield started


class TestASteadyRelay:
    @pytest.mark.parametrize("ordering", list(Ordering))
    async def test_brings_everything_once_and_in_order(
        self, database: Database, server: RedisServer, ordering: Ordering
    ) -> None:
        await tell(database, 400)
        async with relaying(database, server.url, ordering=ordering):
            await reaches(server, 400)
            await tell(database, 37)
            await reaches(server, 437)

        there = standing(server)
        assert copied(server) == await told(database)
        assert set(there) == set(layout.streams(ordering))
        for key, entries in there.items():
            places = [layout.position_of(one) for one, _ in entries]
            assert places == sorted(places)
            assert places == [int(fields["position"]) for _, fields in entries]
            if ordering is Ordering.PARTITION:
                homes = {layout.STREAMS[zlib.crc32(fields["subject"].encode()) % 16] for _, fields in entries}
                assert homes <= {key}

    async def test_says_all_there_is_to_say(self, database: Database, server: RedisServer) -> None:
        async with database.transaction() as tx:
            await events.append(tx, renamed("NEW", instrument_id="I1"), stream="a", metadata=METADATA)
            done = await events.append(tx, counted(3), stream="b", metadata=METADATA)
        await catch_up(database)
        async with relaying(database, server.url, ordering=Ordering.GLOBAL):
            await reaches(server, 2)

        (_, first), (second_id, second) = standing(server)[layout.ONE_STREAM]
        assert json.loads(first["data"]) == {"instrument_id": "I1", "old": "OLD", "new": "NEW"}
        assert second_id == "2-0"
        assert second == {
            "event_type": "test.counted", "also": "", "data": '{"number":3}', "position": "2",
            "event_id": str(done.event_id), "stream": "b", "stream_version": "1", "subject": "", "schema_version": "1",
            "occurred_at": "2026-08-18T03:30:00+00:00", "recorded_at": done.recorded_at.isoformat(), "actor": "tests",
            "correlation_id": "c-1",
        }  # fmt: skip

    async def test_follows_as_facts_are_told(self, database: Database, server: RedisServer) -> None:
        async with sequencing(database), relaying(database, server.url):
            await append(database, 300, at_once=1)
            await reaches(server, 300)

        assert copied(server) == await told(database)

    async def test_passes_over_bulk_runs_but_not_over_what_sums_them_up(
        self, database: Database, server: RedisServer
    ) -> None:
        await tell(database, 10)
        async with database.transaction() as tx:
            await events.create_draft(tx, "draft")
            await tx.execute(BULK, (events.BULK_FACTS + 1,))
            await events.append_from(tx, "draft", kinds=[Counted], stream="ingestion-1", metadata=METADATA)
            await events.append(tx, counted(0), stream="ingestion-1", metadata=METADATA)
        await catch_up(database)
        async with relaying(database, server.url):
            await reaches(server, events.BULK_FACTS + 12)

        assert list(copied(server)) and set(copied(server)) == {*range(1, 11), events.BULK_FACTS + 12}

    async def test_begins_with_the_newest_when_there_is_much(self, database: Database, server: RedisServer) -> None:
        await tell(database, 300)
        async with relaying(database, server.url, bounds=SMALL):
            await reaches(server, 300)

        assert set(copied(server)) == set(range(251, 301))
        assert marker(server)["floor"] == "250"


class TestWhoMayWrite:
    async def test_one_that_was_followed_by_another_is_refused(self, database: Database, server: RedisServer) -> None:
        await tell(database, 10)
        async with relaying(database, server.url, owner="zombie"):
            await reaches(server, 10)
        client = redis_streams.connect(server.url)
        zombie = Streams(client, Ordering.PARTITION, owner="zombie")
        async with relaying(database, server.url, owner="present"):
            await until(lambda: marker(server)["owner"] == "present")
            entry = layout.Entry(3, 11, ("event_type", "of the zombie"))

            assert not await zombie.write([Write(10, 11, "11:x", [entry])])
            assert not await zombie.trim(floor=10)
            assert not await zombie.take(before="zombie")
            assert not await zombie.reset(before="zombie", log="x", position=0)
        await redis_streams.disconnect(client)
        assert copied(server) == await told(database)

    async def test_a_second_one_waits_until_the_first_is_gone(self, database: Database, server: RedisServer) -> None:
        async with relaying(database, server.url, owner="second") as second:
            await reaches(server, 0)
            async with relaying(database, server.url, owner="third"):
                await tell(database, 10)
                await reaches(server, 10)
                assert marker(server)["owner"] == "second"
                second.cancel()
                await until(lambda: marker(server)["owner"] == "third")
                await tell(database, 10)
                await reaches(server, 20)

        assert copied(server) == await told(database)

    async def test_the_streams_of_another_registry_are_left_alone(
        self, database: Database, database_urls: DatabaseUrls, server: RedisServer
    ) -> None:
        await tell(database, 10)
        async with relaying(database, server.url):
            await reaches(server, 10)
        with psycopg.connect(database_urls.owner) as owner:
            owner.execute("update instrument_registry.relay set log_id = gen_random_uuid()")
        before = marker(server)
        async with relaying(database, server.url, owner="intruder"):
            await _is(database, "paused")

        assert marker(server) == before
        assert "another registry" in str((await _row(database)).reason)


class TestHowMuchStays:
    async def test_no_more_than_the_cap_without_groups(self, database: Database, server: RedisServer) -> None:
        async with relaying(database, server.url, bounds=SMALL):
            await tell(database, 1000)
            await reaches(server, 1000)

            await until(lambda: 200 <= len(copied(server)) <= 220)

        assert max(copied(server)) == 1000

    async def test_what_the_slowest_group_has_not_acknowledged(self, database: Database, server: RedisServer) -> None:
        async with relaying(database, server.url, bounds=SMALL, ordering=Ordering.GLOBAL):
            await reaches(server, 0)
            server.do("XGROUP", "CREATE", layout.ONE_STREAM, "slow", "0")
            await tell(database, 100)
            await reaches(server, 100)
            server.do("XREADGROUP", "GROUP", "slow", "me", "COUNT", "30", "STREAMS", layout.ONE_STREAM, ">")
            server.do("XACK", layout.ONE_STREAM, "slow", *(f"{n}-0" for n in range(1, 31) if n != 21))
            await tell(database, 30)
            await reaches(server, 130)
            await until(lambda: min(copied(server)) == 21)
            await until(lambda: _gauge("instrument_registry_redis_group_lag", group="slow") == 100)
            await until(lambda: _gauge("instrument_registry_redis_group_pending", group="slow") == 1)

    async def test_a_group_beyond_the_cap_is_told_so_by_redis(self, database: Database, server: RedisServer) -> None:
        async with relaying(database, server.url, bounds=SMALL, ordering=Ordering.GLOBAL):
            await reaches(server, 0)
            for group, start in (("dead", 0), ("holding", 0), ("ahead", 400)):
                server.do("XGROUP", "CREATE", layout.ONE_STREAM, group, f"{start}-0")
            await tell(database, 100)
            await reaches(server, 100)
            server.do("XREADGROUP", "GROUP", "holding", "me", "STREAMS", layout.ONE_STREAM, ">")
            await tell(database, 300)
            await reaches(server, 400)

            await until(lambda: [group["name"] for group in _groups(server)] == ["ahead"])
            assert 200 <= len(copied(server)) <= 220
            assert int(marker(server)["floor"]) == min(copied(server)) - 1

    async def test_nothing_more_while_redis_is_out_of_memory(self, database: Database, server: RedisServer) -> None:
        async with relaying(database, server.url):
            await tell(database, 100)
            await reaches(server, 100)
            server.do("CONFIG", "SET", "maxmemory", "1")
            with structlog.testing.capture_logs() as logs:
                await tell(database, 100)
                await _is(database, "paused")
                assert "memory" in str((await _row(database)).reason)
                assert _gauge("instrument_registry_relay_paused") == 1
                server.do("CONFIG", "SET", "maxmemory", "0")
                await reaches(server, 200)
                await _is(database, "relaying")

        assert _gauge("instrument_registry_relay_paused") == 0
        assert copied(server) == await told(database, after=100)
        assert len([line for line in logs if str(line["event"]).startswith("relay.")]) <= 4

    async def test_a_relay_that_starts_without_memory_makes_room_first(
        self, database: Database, server: RedisServer
    ) -> None:
        await tell(database, 100)
        async with relaying(database, server.url, ordering=Ordering.GLOBAL):
            await reaches(server, 100)
        server.do("CONFIG", "SET", "maxmemory", "1")
        await tell(database, 10)
        async with relaying(database, server.url, ordering=Ordering.GLOBAL, owner="next"):
            await until(lambda: not copied(server))
            server.do("CONFIG", "SET", "maxmemory", "0")
            await reaches(server, 110)

        assert set(copied(server)) == set(range(101, 111))


class TestNumbers:
    async def test_at_rest_equal_what_redis_and_the_database_say(self, database: Database, server: RedisServer) -> None:
        async with relaying(database, server.url, ordering=Ordering.GLOBAL):
            await tell(database, 60)
            await reaches(server, 60)
            server.do("XGROUP", "CREATE", layout.ONE_STREAM, "prices", "10-0")
            server.do("XREADGROUP", "GROUP", "prices", "me", "COUNT", "20", "STREAMS", layout.ONE_STREAM, ">")
            server.do("XACK", layout.ONE_STREAM, "prices", "11-0", "12-0", "13-0")
            await until(lambda: _gauge("instrument_registry_redis_group_pending", group="prices") == 17)

            pending = server.do("XPENDING", layout.ONE_STREAM, "prices")
            (group,) = _groups(server)
            unread = server.do("XRANGE", layout.ONE_STREAM, f"({group['last-delivered-id']}", "+")
            async with database.transaction() as tx:
                head = await events.head_position(tx)
            assert pending["pending"] == group["pending"] == 17
            assert _gauge("instrument_registry_redis_group_lag", group="prices") == len(unread) == 30
            assert group["lag"] in (None, 30)
            await until(lambda: _gauge("instrument_registry_relay_lag_events") == 0)
            assert _gauge("instrument_registry_relay_position") == head == 60
            await until(lambda: _gauge("instrument_registry_relay_entries") == 60)
            assert server.do("XLEN", layout.ONE_STREAM) == 60
            await _is(database, "relaying", position=60)
            server.do("XGROUP", "DESTROY", layout.ONE_STREAM, "prices")
            await until(lambda: _gauge("instrument_registry_redis_group_lag", group="prices") is None)


class TestHealth:
    async def test_says_that_the_relay_waits_and_why(
        self, database: Database, server: RedisServer, tmp_path: Path
    ) -> None:
        wanted = _registry(database, tmp_path, server.url)
        async with relaying(database, server.url):
            await _is(database, "relaying")
            well = await run_check("relay", wanted)
            server.end()
            await _is(database, "unreachable")
            ill = await run_check("relay", wanted)
        without = await run_check("relay", _registry(database, tmp_path, None))

        assert (well.verdict, without.verdict, without.reason) == (Verdict.PASSED, Verdict.PASSED, "not wanted")
        assert ill.verdict is Verdict.FAILED
        assert "unreachable since" in ill.reason


class TestTheWorker:
    async def test_is_finished_at_once_where_no_redis_is_named(self, database: Database, tmp_path: Path) -> None:
        await relay_to_redis(_registry(database, tmp_path, None))
        assert (await _row(database)).state == "stopped"

    @pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1", "redis://127.0.0.1/0?socket_timeout=often"])
    async def test_says_when_the_address_is_none(self, database: Database, tmp_path: Path, url: str) -> None:
        with pytest.raises(BrokerUrlRefused):
            await relay_to_redis(_registry(database, tmp_path, url))


def _registry(database: Database, folder: Path, url: str | None) -> Registry:
    settings = Settings(data_dir=folder, demo=False, event_broker_url=url)
    return Registry(
        settings=settings,
        database=database,
        clock=now,
        catalogue=LiveCatalogue(database, now),
        configuration=LiveConfiguration(database, Sources()),
    )


def _gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def _groups(server: RedisServer) -> list[dict[str, object]]:
    with server.client() as client:
        return client.xinfo_groups(layout.ONE_STREAM)


async def _row(database: Database) -> relay_storage.RelayRow:
    async with database.transaction() as tx:
        return await relay_storage.get(tx)


async def _is(database: Database, state: str, *, position: int | None = None) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while (row := await _row(database)).state != state or position not in (None, row.position):
            await asyncio.sleep(0.02)
