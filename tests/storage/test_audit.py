"""The audit in a real database: written with every append, sealed in order, signed, and every change of it noticed."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import msgspec
import psycopg
import pytest
import pytest_asyncio
import rfc8785
from aiohttp import web

from conftest import DatabaseUrls
from facts import METADATA, catch_up, counted, renamed
from instrument_registry import events
from instrument_registry.database import Database, Transaction
from instrument_registry.events import Metadata
from instrument_registry.events.audit import inspection, merkle, service, witness
from instrument_registry.events.audit.checkpoints import BadCheckpoint, read_note
from instrument_registry.events.audit.model import NotUnderCheckpoint, RecordNotFound, SizeUnknown, Wanted
from instrument_registry.events.audit.outside import Outside, read_checkpoints
from instrument_registry.events.audit.sealer import AuditBroken, Sealer, prepare, store_tiles
from instrument_registry.events.audit.verification import Tampered, Verdict
from instrument_registry.events.model import External
from instrument_registry.events.webhooks.addresses import guard_of

NOON = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)
CALLER = Metadata(actor="api_key:aaaaaaaaaaaaaaaa", correlation_id="c-7", source="http", address="192.0.2.7")


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


async def tell(database: Database, *facts: events.Fact, stream: str = "s", metadata: Metadata = CALLER) -> None:
    async with database.transaction() as tx:
        await events.append(tx, *facts, stream=stream, metadata=metadata)


async def texts(database: Database) -> list[dict]:
    async with database.transaction(read_only=True) as tx:
        rows = await (await tx.execute("select text from audit_records order by number")).fetchall()
    assert all(rfc8785.dumps(msgspec.json.decode(text)) == text.encode() for (text,) in rows)
    return [msgspec.json.decode(text) for (text,) in rows]


class Log:
    """A database with a sealer that works when it is told to."""

    def __init__(self, database: Database, urls: DatabaseUrls, folder: Path, session: Transaction) -> None:
        self.database, self.urls, self.outside, self.clock = database, urls, Outside(folder), Hand()
        self.session = session
        self.sealer: Sealer | None = None

    async def seal(self) -> int:
        """Give positions and leaves to everything."""
        if self.sealer is None:
            self.sealer = await prepare(self.session, self.outside, clock=self.clock)
        await catch_up(self.database)
        return await self.sealer.seal()

    async def sign(self) -> None:
        """The same, and a checkpoint over it."""
        await self.seal()
        assert self.sealer is not None
        await self.sealer.sign()

    def verify(self) -> Verdict:
        """What `audit verify` does."""
        notes = list(read_checkpoints(self.outside.checkpoints)) if self.outside.checkpoints.exists() else []
        with self.database.blocking_session("verify") as connection:
            return inspection.inspect(connection, keys=self.outside.trusted(), outside=notes, sample_offset=1)


@pytest_asyncio.fixture
async def log(database: Database, database_urls: DatabaseUrls, tmp_path: Path) -> AsyncIterator[Log]:
    async with database.session("sealer") as session:
        yield Log(database, database_urls, tmp_path, session)


class TestARecord:
    async def test_of_one_fact_says_who_what_from_to_why_whence_and_when(self, database: Database) -> None:
        await tell(database, renamed())
        (told,) = await texts(database)

        at = datetime.fromisoformat(told.pop("at"))
        assert abs((datetime.now(UTC) - at).total_seconds()) < 600
        assert int(told.pop("number")) > 0
        assert len(told.pop("data_sha256")) == 64
        assert told == {
            "action": "test.renamed", "actor": "api_key:aaaaaaaaaaaaaaaa", "address": "192.0.2.7",
            "correlation_id": "c-7", "facts": 1, "new": "NEW", "old": "OLD", "reason": None, "subject": "I1",
        }  # fmt: skip

    async def test_of_a_fact_without_old_and_new_shows_all_of_it(self, database: Database) -> None:
        await tell(database, counted(2**60), stream="counting")
        (told,) = await texts(database)

        assert (told["old"], told["new"], told["subject"]) == (None, {"number": str(2**60)}, "counting")

    async def test_of_several_facts_lists_the_first_and_says_how_many(self, database: Database) -> None:
        await tell(database, *(renamed(f"N{number}") for number in range(100)))
        await tell(database, renamed(), counted(1), stream="both")
        many, both = await texts(database)

        assert (many["action"], many["facts"], many["subject"]) == ("test.renamed", 100, "I1")
        assert [one["data"]["new"] for one in many["new"]["facts"]] == [f"N{number}" for number in range(20)]
        assert many["new"]["left_out"] == 80
        assert (both["action"], both["subject"]) == ("several", "both")

    async def test_belongs_to_its_append_and_is_undone_with_it(self, database: Database) -> None:
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await events.append(tx, renamed(), stream="s", metadata=METADATA)
                raise ZeroDivisionError
        with pytest.raises(events.WrongVersion):
            async with database.transaction() as tx:
                await events.append(tx, renamed(), stream="s", metadata=METADATA, expected_version=7)

        assert await texts(database) == []

    async def test_is_written_once_however_often_the_same_event_is_told(self, database: Database) -> None:
        from uuid import uuid4

        event_id = uuid4()
        for _ in range(3):
            async with database.transaction() as tx:
                await events.append(tx, renamed(), stream="s", metadata=METADATA, event_id=event_id)

        assert len(await texts(database)) == 1

    async def test_is_not_written_for_facts_that_are_not_ours(self, database: Database) -> None:
        await tell(database, External(occurred_at=NOON, name="external.said", about=None, text='{"number":1e300}'))

        assert await texts(database) == []

    @pytest.mark.parametrize("text", ["é\u2028\U0001f600", '\x01\x1f"\\/\b', "\ue000\U00010000", "x" * 40_000])
    async def test_is_canonical_whatever_is_told(self, database: Database, text: str) -> None:
        await tell(database, renamed(text, instrument_id=text[:10].replace("\x01", "")))

        assert len(await texts(database)) == 1

    @pytest.mark.parametrize("table", ["records", "leaves", "tiles", "keys", "checkpoints"])
    @pytest.mark.parametrize("statement", ["update {} set {column} = {column}", "delete from {}", "truncate {}"])
    async def test_cannot_be_changed_by_the_service(self, database: Database, table: str, statement: str) -> None:
        columns = {"records": "text", "leaves": "leaf", "tiles": "root", "keys": "verifier", "checkpoints": "note"}

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with database.transaction() as tx:
                await tx.execute(statement.format(f"audit_{table}", column=columns[table]).encode())

    async def test_has_room_for_three_months(self, database: Database) -> None:
        async with database.transaction(read_only=True) as tx:
            assert await service.months_ahead(tx) == 3


class TestSealing:
    async def test_leaves_stand_in_the_order_of_events_and_none_is_skipped(self, log: Log) -> None:
        async with log.database.transaction() as late:
            await events.append(late, renamed("late"), stream="late", metadata=CALLER)
            await tell(log.database, renamed("early"))
            first = await log.seal()
        second = await log.seal()

        async with log.database.transaction(read_only=True) as tx:
            told = [msgspec.json.decode((await service.get(tx, at)).text) for at in (1, 2, 3)]
        assert (first, second) == (2, 3)
        # The sealer's key is registered by a fact of its own.
        assert [one["new"] for one in told[::2]] == ["early", "late"]
        assert told[1]["action"] == "audit.key_registered"

    async def test_goes_on_where_it_was_after_being_cut_off(self, log: Log) -> None:
        for number in range(5):
            await tell(log.database, renamed(str(number)))
        await log.sign()
        log.sealer = None
        await tell(log.database, renamed("more"))
        await log.sign()

        assert log.verify().records == 7
        assert len(list(read_checkpoints(log.outside.checkpoints))) == 2

    async def test_tiles_are_stored_once_they_are_full(self, log: Log) -> None:
        async with log.database.transaction() as tx:
            for number in range(600):
                await events.append(tx, renamed(str(number)), stream="s", metadata=CALLER)
        await log.sign()

        verdict = log.verify()
        assert (verdict.records, verdict.tiles, verdict.covered, verdict.canonicalised) == (601, 2, 601, 7)

    async def test_a_checkpoint_is_due_after_a_minute_or_a_thousand_records(self, log: Log) -> None:
        await tell(log.database, renamed())
        await log.sign()
        await tell(log.database, renamed())
        await log.seal()
        sealer = log.sealer
        assert sealer is not None

        assert not sealer.due()
        log.clock.now += timedelta(seconds=60)
        assert sealer.due()
        await log.sign()
        assert not sealer.due()
        sealer.size += 1_000
        assert sealer.due()

    async def test_one_sealer_asked_for_a_checkpoint_signs_for_everything_there_is(
        self, log: Log, database_urls: DatabaseUrls, tmp_path: Path
    ) -> None:
        from instrument_registry.events import sequencer
        from instrument_registry.events.audit import sealer

        work = [
            asyncio.create_task(sequencer.run(log.database, poll_seconds=0.02)),
            *(asyncio.create_task(sealer.run(log.database, log.outside, clock=log.clock)) for _ in range(2)),
        ]
        await tell(log.database, renamed())
        kept = await service.checkpoint_now(log.database)
        await tell(log.database, renamed())
        more = await service.checkpoint_now(log.database)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

        assert 1 <= kept.size < more.size
        assert log.verify().covered == more.size

    async def test_what_was_signed_and_is_no_more_is_never_signed_over(self, log: Log) -> None:
        for number in range(10):
            await tell(log.database, renamed(str(number)))
        await log.sign()
        log.sealer = None
        with psycopg.connect(log.urls.owner) as owner:
            owner.execute("delete from instrument_registry.audit_leaves where position > 5")
            owner.execute("delete from instrument_registry.audit_checkpoints")
            owner.execute("delete from instrument_registry.audit_records where number > "
                          "(select max(number) from instrument_registry.audit_leaves)")  # fmt: skip

        with pytest.raises(AuditBroken):
            await log.sign()

    async def test_a_checkpoint_that_only_its_file_has_is_kept_after_a_crash(self, log: Log) -> None:
        await tell(log.database, renamed())
        await log.sign()
        with psycopg.connect(log.urls.owner) as owner:
            owner.execute("delete from instrument_registry.audit_checkpoints")
        log.sealer = None
        await log.sign()

        assert (log.verify().checkpoints, log.verify().outside) == (2, 1)

    async def test_the_file_of_another_log_is_not_signed_on(self, log: Log) -> None:
        await tell(log.database, renamed())
        await log.sign()
        with psycopg.connect(log.urls.owner) as owner:
            for table in ("checkpoints", "keys", "leaves", "tiles", "records"):
                owner.execute(f"delete from instrument_registry.audit_{table}".encode())
        log.sealer = None
        await tell(log.database, renamed())

        with pytest.raises(AuditBroken, match="is of instrument-registry/"):
            await log.sign()

    async def test_a_witness_is_sent_each_new_checkpoint_until_it_takes_it(self, log: Log) -> None:
        await tell(log.database, renamed())
        await log.sign()
        heard: list[str] = []

        async def take(request: web.Request) -> web.Response:
            heard.append(await request.text())
            return web.Response(status=500 if len(heard) == 1 else 204)

        app = web.Application()
        app.router.add_post("/checkpoints", take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        guard = guard_of([ip_network("127.0.0.0/8")])
        url = f"http://127.0.0.1:{port}/checkpoints"
        sending = asyncio.create_task(
            witness.run(log.database, url, guard=guard, clock=log.clock, poll_seconds=0.02, again_seconds=0.02)
        )
        async with asyncio.timeout(20):
            while len(heard) < 2:
                await asyncio.sleep(0.01)
            await tell(log.database, renamed())
            await log.sign()
            while len(heard) < 3:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await runner.cleanup()

        assert heard[0] == heard[1] != heard[2]
        assert [note.text for note in read_checkpoints(log.outside.checkpoints)] == heard[1:]


class TestFinding:
    async def test_by_actor_subject_action_time_and_correlation_id_the_newest_first(self, log: Log) -> None:
        other = Metadata(actor="somebody", correlation_id="c-8")
        await tell(log.database, renamed("a"))
        await tell(log.database, renamed("b", instrument_id="I2"), metadata=other)
        await tell(log.database, counted(3))
        await log.seal()

        async def found(wanted: Wanted, **more: int) -> list[str]:
            async with log.database.transaction(read_only=True) as tx:
                return [msgspec.json.decode(one.text)["action"] for one in await service.search(tx, wanted, **more)]

        assert await found(Wanted(actor=CALLER.actor)) == ["test.counted", "test.renamed"]
        assert await found(Wanted(subject="I2", actor="somebody", correlation_id="c-8")) == ["test.renamed"]
        assert await found(Wanted(action="test.counted")) == ["test.counted"]
        assert await found(Wanted(actor=CALLER.actor), limit=1) == ["test.counted"]
        assert await found(Wanted(until=NOON - timedelta(days=10_000))) == []
        assert len(await found(Wanted(since=datetime.now(UTC) - timedelta(hours=1)))) == 4

    async def test_what_is_not_sealed_yet_has_no_position(self, log: Log) -> None:
        await tell(log.database, renamed())

        async with log.database.transaction(read_only=True) as tx:
            (one,) = await service.search(tx, Wanted())
            with pytest.raises(RecordNotFound):
                await service.get(tx, 1)
            assert one.position is None


class TestProofs:
    @pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
    async def test_lead_from_a_leaf_to_the_root_that_was_signed(self, log: Log, size: int) -> None:
        async with log.database.transaction() as tx:
            for number in range(size - 1):
                await events.append(tx, renamed(str(number)), stream="s", metadata=CALLER)
        await log.sign()
        assert log.sealer is not None

        rng = random.Random(size)
        async with log.database.transaction(read_only=True) as tx:
            for position in {1, log.sealer.size, *(rng.randint(1, log.sealer.size) for _ in range(5))}:
                proof = await service.prove(tx, position)
                text = (await service.get(tx, position)).text
                assert proof.leaf == merkle.leaf_hash(text.encode())
                found = merkle.root_from_inclusion(proof.leaf, position - 1, proof.checkpoint.size, proof.path)
                assert found == proof.checkpoint.root == read_note(proof.checkpoint.note).checkpoint.root

    async def test_of_an_older_tree_lead_to_the_newer(self, log: Log) -> None:
        for _ in range(3):
            async with log.database.transaction() as tx:
                for number in range(170):
                    await events.append(tx, renamed(str(number)), stream="s", metadata=CALLER)
            await log.sign()

        async with log.database.transaction(read_only=True) as tx:
            kept = await service.checkpoints(tx)
            for older in kept:
                told = await service.compare(tx, older.size, kept[0].size)
                assert told.roots == (older.root, kept[0].root)
                assert merkle.consistent(told.first, told.second, told.roots, told.path)

    async def test_of_what_nobody_signed_for_are_refused(self, log: Log) -> None:
        await tell(log.database, renamed())
        await log.seal()
        async with log.database.transaction(read_only=True) as tx:
            with pytest.raises(NotUnderCheckpoint):
                await service.prove(tx, 1)
            with pytest.raises(RecordNotFound):
                await service.prove(tx, 99)
        await log.sign()
        await tell(log.database, renamed())
        await log.seal()
        async with log.database.transaction(read_only=True) as tx:
            with pytest.raises(NotUnderCheckpoint):
                await service.prove(tx, 3)
            for first, second in ((0, 1), (2, 1), (1, 3)):
                with pytest.raises(SizeUnknown):
                    await service.compare(tx, first, second)
            with pytest.raises(SizeUnknown):
                await service.prove(tx, 1, size=99)


CHANGES = {
    "text": "update audit_records set text = replace(text, 'NEW', 'OWN') where number = (NUMBER 7)",
    "actor": "update audit_records set actor = 'nobody' where number = (NUMBER 7)",
    "action": "update audit_records set action = 'nothing' where number = (NUMBER 7)",
    "subject": "update audit_records set subject = 'nothing' where number = (NUMBER 7)",
    "correlation": "update audit_records set correlation_id = 'x' where number = (NUMBER 7)",
    "time": "update audit_records set at = at + interval '1 microsecond' where number = (NUMBER 7)",
    "times": """with l as (update audit_leaves set at = at + interval '1 second' where position = 7 returning number)
                update audit_records set at = at + interval '1 second' where number = (select number from l)""",
    "record deleted": "delete from audit_records where number = (NUMBER 7)",
    "leaf deleted": "delete from audit_leaves where position = 7",
    "leaf": "update audit_leaves set leaf = sha256('x') where position = 7",
    "text and leaf": """update audit_records set text = replace(text, 'NEW', 'OWN') where number = (NUMBER 7);
                update audit_leaves l set leaf = sha256('\\x00'::bytea || convert_to(r.text, 'UTF8'))
                  from audit_records r where r.number = l.number""",
    "numbers swapped": """update audit_leaves set number = -number where position in (7, 8);
                update audit_leaves l set number = -o.number, at = o.at, leaf = o.leaf from audit_leaves o
                 where l.position in (7, 8) and o.position = 15 - l.position""",
    "inserted": """insert into audit_records select number + 1, at, action, actor, subject, correlation_id, text
                from audit_records where number = (NUMBER 7)""",
    "inserted with its leaf": """update audit_leaves set position = -position where false;
                insert into audit_records select number + 1, at, action, actor, subject, correlation_id,
                       replace(text, number::text, (number + 1)::text)
                  from audit_records where number = (NUMBER 7);
                update audit_leaves set position = position + 1000 where position > 7;
                update audit_leaves set position = position - 999 where position > 1000;
                insert into audit_leaves select 8, r.number, r.at, sha256('\\x00'::bytea || convert_to(r.text, 'UTF8'))
                  from audit_records r where r.number = (select number + 1 from audit_leaves where position = 7)""",
    "tail cut": """delete from audit_records where number >= (NUMBER 290);
                delete from audit_leaves where position >= 290""",
    "tail cut with its checkpoint": """delete from audit_records where number >= (NUMBER 290);
                delete from audit_leaves where position >= 290; delete from audit_checkpoints where size >= 290""",
    "everything deleted": """delete from audit_records; delete from audit_leaves; delete from audit_tiles;
                delete from audit_checkpoints""",
    "tile": "update audit_tiles set hashes = overlay(hashes placing sha256('x') from 33)",
    "tile's root": "update audit_tiles set root = sha256('x')",
    "tile deleted": "delete from audit_tiles",
    "tile added": "insert into audit_tiles select 0, 1, root, hashes from audit_tiles",
    "checkpoint's root": "update audit_checkpoints set root = sha256('x')",
    "checkpoint's time": "update audit_checkpoints set at = at + interval '1 day'",
    "checkpoint's size": "update audit_checkpoints set size = size + 1",
    "checkpoint's note": "update audit_checkpoints set note = replace(note, '2026', '2025')",
}  # fmt: skip


class TestTampering:
    @pytest_asyncio.fixture
    async def signed(self, log: Log) -> Log:
        async with log.database.transaction() as tx:
            for _ in range(299):
                await events.append(tx, renamed(), stream="s", metadata=CALLER)
        await log.sign()
        return log

    async def test_none_is_found_where_there_is_none(self, signed: Log) -> None:
        await tell(signed.database, renamed())  # and something that nobody has signed for yet
        before = signed.verify()
        await signed.seal()
        after = signed.verify()

        assert (before.records, before.covered, after.records, after.covered) == (300, 300, 301, 300)
        assert (after.checkpoints, after.outside) == (2, 1)

    async def test_in_sql_by_the_owner_is_found(self, signed: Log) -> None:
        tables = ("checkpoints", "tiles", "leaves", "records")
        found: dict[str, str] = {}
        with psycopg.connect(signed.urls.owner, autocommit=True) as owner:
            owner.execute("set search_path = instrument_registry")
            for table in tables:
                owner.execute(f"create table kept_{table} as select * from audit_{table}".encode())
            for name, change in CHANGES.items():
                change = re.sub(r"NUMBER (\d+)", r"select number from audit_leaves where position = \1", change)
                with owner.transaction():
                    changed = [owner.execute(one.encode()).rowcount for one in change.split(";")]
                assert any(changed), name
                try:
                    signed.verify()
                except Tampered as error:
                    found[name] = str(error)
                with owner.transaction():
                    for table in tables:
                        owner.execute(f"delete from audit_{table}".encode())
                        owner.execute(f"insert into audit_{table} select * from kept_{table}".encode())
            signed.verify()

        words = ("7", "8", "290", "300", "Tile", "tiles", "Record 1 ", "Checkpoint")
        assert sorted(found) == sorted(CHANGES)
        assert [told for told in found.values() if not any(word in told for word in words)] == []

    async def test_by_whoever_has_another_key_is_found(self, signed: Log, tmp_path: Path) -> None:
        forger = tmp_path / "forger"
        forger.mkdir()
        with psycopg.connect(signed.urls.owner) as owner:
            owner.execute("set search_path = instrument_registry")
            owner.execute("delete from audit_checkpoints")
            owner.execute("""update audit_records set text = replace(text, 'NEW', 'OWN')""")
            owner.execute("""update audit_leaves l set leaf = sha256('\\x00'::bytea || convert_to(r.text, 'UTF8'))
                               from audit_records r where r.number = l.number""")
            owner.execute("delete from audit_tiles")
        honest, signed.outside, signed.sealer = signed.outside, Outside(forger), None
        async with signed.session.transaction():
            await store_tiles(signed.session, 300)
        await signed.sign()
        forged = signed.verify()  # by the forger's own key everything is in order
        signed.outside = honest

        assert forged.covered == 301
        with pytest.raises((Tampered, BadCheckpoint), match="not trusted"):
            signed.verify()
