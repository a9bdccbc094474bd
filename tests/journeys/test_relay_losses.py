"""Redis loses what it had, in every way it can: what stands there afterwards is the log again.

The first class shows why the marker is compared with every write: two relays without it, which look right, fail here.
"""

import asyncio
import contextlib
import datetime
import ipaddress
import os
import random
import ssl
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis.asyncio as aioredis
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftest import DatabaseUrls
from instrument_registry import events
from instrument_registry.database import Database
from instrument_registry.events.streams import layout
from instrument_registry.events.streams.layout import Ordering
from redis_servers import RedisServer, binaries, free_port, serving
from relaying import Door, append, copied, marker, reaches, relaying, sequencing, standing, tell, told, until


@pytest.fixture(params=list(binaries()))
def binary(request: pytest.FixtureRequest) -> str:
    """One server's program, then the other's."""
    return binaries()[request.param]


@pytest.fixture
def server(binary: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of one's own."""
    with serving(binary, tmp_path / "redis") as started:
        yield started


class Naive:
    """Looks right: it begins again from the newest id on Redis, and its ids cannot be given twice."""

    def __init__(self, server: RedisServer, *, own_ids: bool) -> None:
        self.client = aioredis.Redis(port=server.port, decode_responses=True)
        self.own_ids, self.position = own_ids, 0

    async def step(self, database: Database, *, limit: int = 20) -> None:
        async with database.transaction(read_only=True) as tx:
            page = await events.read(tx, after=self.position, limit=limit)
        for event in page.events:
            one = layout.entry(event, Ordering.GLOBAL)
            with contextlib.suppress(aioredis.ResponseError):  # it is there already
                fields = dict(zip(one.fields[::2], one.fields[1::2], strict=True))
                given = layout.id_of(one.position) if self.own_ids else "*"
                await self.client.xadd(layout.ONE_STREAM, fields, id=given)
        self.position = page.position

    async def notice_loss(self) -> None:
        if not await self.client.exists(layout.ONE_STREAM):
            self.position = 0


class TestRelaysWithoutAMarker:
    async def test_leave_a_hole_when_all_is_lost_between_two_writes(
        self, database: Database, server: RedisServer
    ) -> None:
        naive = Naive(server, own_ids=True)
        await tell(database, 60)
        await naive.step(database)
        server.do("FLUSHALL")
        await naive.step(database)  # onto an empty stream: what was before can never be added again
        naive.position = 0
        for _ in range(4):
            await naive.notice_loss()
            await naive.step(database)
        await naive.client.aclose()

        assert set(await told(database)) - set(copied(server)) == set(range(1, 21))

    async def test_tell_twice_what_they_told_before_they_were_killed(
        self, database: Database, server: RedisServer
    ) -> None:
        naive = Naive(server, own_ids=False)
        await tell(database, 40)
        await naive.step(database)
        naive.position = 0  # killed before it had noted how far it was
        await naive.step(database)
        await naive.client.aclose()

        told_on = [fields["position"] for _, fields in standing(server)[layout.ONE_STREAM]]
        assert len(told_on) == 40
        assert len(set(told_on)) == 20


class TestALossInFlight:
    async def test_of_everything_three_times_is_made_good(self, database: Database, server: RedisServer) -> None:
        chance = random.Random(7)
        async with sequencing(database), relaying(database, server.url, batch_size=5):
            writing = asyncio.create_task(append(database, 900, at_once=3))
            for _ in range(3):
                await asyncio.sleep(0.1 + chance.random() * 0.2)
                server.do("FLUSHALL")
            await writing
            await reaches(server, 900)

        assert copied(server) == await told(database)

    async def test_by_a_restart_with_nothing_is_made_good(self, database: Database, server: RedisServer) -> None:
        async with sequencing(database), relaying(database, server.url, batch_size=5):
            writing = asyncio.create_task(append(database, 600, at_once=3))
            for _ in range(2):
                await asyncio.sleep(0.2)
                server.end()
                await asyncio.sleep(0.1)
                server.start()
            await writing
            await reaches(server, 600)

        assert copied(server) == await told(database)

    async def test_of_the_newest_by_an_old_file_is_made_good(self, database: Database, server: RedisServer) -> None:
        async with relaying(database, server.url):
            await tell(database, 100)
            await reaches(server, 100)
            server.do("XGROUP", "CREATE", layout.STREAMS[0], "group", "0")
            server.do("SAVE")
            await tell(database, 100)
            await reaches(server, 200)
            server.end()
            server.start()
            await reaches(server, 200)

        assert copied(server) == await told(database)
        assert server.do("XINFO", "GROUPS", layout.STREAMS[0])  # nothing was thrown away

    async def test_to_a_replica_that_lagged_is_made_good(
        self, database: Database, server: RedisServer, binary: str, tmp_path: Path
    ) -> None:
        with serving(binary, tmp_path / "replica") as replica:
            replica.do("REPLICAOF", "127.0.0.1", server.port)
            async with Door(server.port).opened() as door, relaying(database, f"redis://127.0.0.1:{door.port}"):
                await tell(database, 100)
                await reaches(server, 100)
                await reaches(replica, 100)
                replica.do("REPLICAOF", "127.0.0.1", free_port())
                await tell(database, 100)
                await reaches(server, 200)
                replica.do("REPLICAOF", "NO", "ONE")
                door.lead(replica.port)
                await tell(database, 50)
                await reaches(replica, 250)

            assert copied(replica) == await told(database)
            assert len(copied(server)) == 200

    async def test_of_one_stream_or_of_the_marker_is_made_good(self, database: Database, server: RedisServer) -> None:
        async with relaying(database, server.url):
            await tell(database, 100)
            await reaches(server, 100)
            for key in (layout.STREAMS[_home("I1")], layout.MARKER):
                server.do("DEL", key)
                await until(lambda: len(copied(server)) == 100)
                await reaches(server, 100)
            server.do("XADD", layout.STREAMS[3], "999-0", "somebody", "else's")
            await until(lambda: len(copied(server)) == 100 and 999 not in copied(server))
            await tell(database, 10)
            await reaches(server, 110)

        assert copied(server) == await told(database)


class TestAnotherHistory:
    async def test_behind_what_stands_there_begins_anew(
        self, database: Database, server: RedisServer, database_urls: DatabaseUrls
    ) -> None:
        """The database was put back to an earlier day: what it said since is no longer true."""
        await tell(database, 100)
        async with relaying(database, server.url):
            await reaches(server, 100)
        _put_back(database_urls, 60)
        async with relaying(database, server.url, owner="next"):
            await reaches(server, 60)
            await tell(database, 10)
            await reaches(server, 70)

        assert copied(server) == await told(database)

    async def test_that_has_gone_beyond_it_since_begins_anew(
        self, database: Database, server: RedisServer, database_urls: DatabaseUrls
    ) -> None:
        await tell(database, 100)
        async with relaying(database, server.url):
            await reaches(server, 100)
        _put_back(database_urls, 60)
        await tell(database, 80)
        async with relaying(database, server.url, owner="next"):
            await reaches(server, 140)

        assert copied(server) == await told(database)

    async def test_in_another_ordering_begins_anew(self, database: Database, server: RedisServer) -> None:
        await tell(database, 100)
        for owner, ordering in enumerate((Ordering.PARTITION, Ordering.GLOBAL, Ordering.NONE)):
            async with relaying(database, server.url, ordering=ordering, owner=str(owner)):
                await until(lambda chosen=ordering: marker(server).get("layout") == chosen.value)
                await reaches(server, 100)
            assert copied(server) == await told(database)
            assert set(standing(server)) == set(layout.streams(ordering))


class TestARedisThatIsNotThere:
    async def test_is_waited_for_with_no_more_than_a_line_a_second(
        self, database: Database, server: RedisServer
    ) -> None:
        with structlog.testing.capture_logs() as logs:
            async with relaying(database, server.url):
                await tell(database, 10)
                await reaches(server, 10)
                server.end()
                await tell(database, 10)
                await asyncio.sleep(2)
                server.start()
                await reaches(server, 20)

        said = [line["event"] for line in logs if str(line["event"]).startswith("relay.")]
        assert "relay.unreachable" in said
        assert len(said) <= 5
        assert copied(server) == await told(database)


class TestOtherRoads:
    async def test_tls_is_spoken_and_the_certificate_is_checked(
        self, database: Database, server: RedisServer, tmp_path: Path
    ) -> None:
        certificate = _certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, tmp_path / "key.pem")
        await tell(database, 10)
        async with Door(server.port, context).opened() as door:
            async with relaying(database, f"rediss://127.0.0.1:{door.port}/0"):
                await asyncio.sleep(0.5)
                assert marker(server) == {}
            async with relaying(database, f"rediss://127.0.0.1:{door.port}/0?ssl_ca_certs={certificate}"):
                await reaches(server, 10)

        assert copied(server) == await told(database)

    async def test_a_password_is_given(self, database: Database, server: RedisServer) -> None:
        word = os.urandom(8).hex()
        server.do("CONFIG", "SET", "requirepass", word)
        await tell(database, 10)
        async with relaying(database, f"redis://:{word}@127.0.0.1:{server.port}/0"):
            client = aioredis.Redis(port=server.port, password=word, decode_responses=True)
            async with asyncio.timeout(20):
                while await client.hget(layout.MARKER, "position") != "10":
                    await asyncio.sleep(0.02)
            await client.aclose()

    async def test_sentinels_name_the_master_also_after_it_has_died(
        self, database: Database, server: RedisServer, binary: str, tmp_path: Path
    ) -> None:
        with serving(binary, tmp_path / "replica") as replica, _sentinel(binary, tmp_path, server.port) as sentinel:
            replica.do("REPLICAOF", "127.0.0.1", server.port)
            url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/prices/0"
            async with relaying(database, url):
                await tell(database, 50)
                await reaches(server, 50)
                await reaches(replica, 50)
                await until(lambda: len(sentinel.do("SENTINEL", "REPLICAS", "prices")) == 1)
                server.end()
                await tell(database, 50)
                await reaches(replica, 100)

            assert copied(replica) == await told(database)


@contextlib.contextmanager
def _sentinel(binary: str, folder: Path, port: int) -> Iterator[RedisServer]:
    sentinel = RedisServer(binary, folder / "sentinel")
    file = folder / "sentinel" / "sentinel.conf"
    file.write_text(
        f"port {sentinel.port}\nbind 127.0.0.1\ndir {folder / 'sentinel'}\nsentinel monitor prices 127.0.0.1 {port} 1\n"
        "sentinel down-after-milliseconds prices 500\nsentinel failover-timeout prices 3000\n"
    )
    sentinel.process = subprocess.Popen(
        [binary, str(file), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield sentinel
    finally:
        sentinel.end()


def _put_back(urls: DatabaseUrls, position: int) -> None:
    """What an earlier backup would bring: the newest facts were never told."""
    with psycopg.connect(urls.owner) as owner:
        owner.execute("set search_path = instrument_registry")
        owner.execute("create temporary table gone as select number from positions where position > %s", (position,))
        for statement in (
            "delete from events where number in (select number from gone)",
            "delete from positions where number in (select number from gone)",
            "delete from appends where number in (select number from gone)",
            "update stream_heads h set version = (select max(version) from appends a where a.stream = h.stream)",
        ):
            owner.execute(statement)


def _home(subject: str) -> int:
    return zlib.crc32(subject.encode()) % layout.PARTITIONS


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of a test")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path
