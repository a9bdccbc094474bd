"""Appending: versions, ids, rights and bulk runs."""

import asyncio
import json
from uuid import UUID

import psycopg
import pytest

from conftest import DatabaseUrls
from facts import AT, METADATA, Counted, Renamed, catch_up, counted, renamed
from instrument_registry import events
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Invalid
from instrument_registry.events import EventIdTaken, EventNotFound, FactRefused, WrongVersion

ONE_ID = UUID("01990000-0000-7000-8000-0000000abcde")
MANY_IDS = UUID("01990000-0000-7000-8000-000000100000")
DRAFT_THREE = """
    insert into draft (type, data) select 'test.counted', json_build_object('number', n) from generate_series(1, 3) n
"""


class TestVersions:
    async def test_grow_by_one_for_each_fact_of_a_stream(self, transaction: Transaction) -> None:
        first = await events.append(transaction, counted(1), stream="a", metadata=METADATA)
        more = await events.append(transaction, counted(2), counted(3), stream="a", metadata=METADATA)
        other = await events.append(transaction, counted(4), stream="b", metadata=METADATA)

        assert (first.first_version, first.version) == (1, 1)
        assert (more.first_version, more.version) == (2, 3)
        assert other.version == 1
        assert await events.head_version(transaction, "a") == 3
        assert await events.head_version(transaction, "nobody") == 0
        told = await events.read_stream(transaction, "a")
        assert [(event.stream_version, event.data) for event in told] == [
            (1, '{"number":1}'),
            (2, '{"number":2}'),
            (3, '{"number":3}'),
        ]

    @pytest.mark.parametrize(("written", "expected"), [(0, 1), (2, 0), (2, 1), (2, 3)])
    async def test_another_than_expected_is_a_conflict_with_the_actual_one(
        self, transaction: Transaction, written: int, expected: int
    ) -> None:
        for number in range(written):
            await events.append(transaction, counted(number), stream="a", metadata=METADATA)

        with pytest.raises(WrongVersion) as refused:
            await events.append(transaction, counted(9), stream="a", metadata=METADATA, expected_version=expected)

        assert refused.value.facts["actual_version"] == written
        assert len(await events.read_stream(transaction, "a")) == written
        assert await _count(transaction, "pending") == written

    async def test_as_expected_is_written(self, transaction: Transaction) -> None:
        await events.append(transaction, counted(1), stream="a", metadata=METADATA, expected_version=0)
        second = await events.append(transaction, counted(2), stream="a", metadata=METADATA, expected_version=1)

        assert second.version == 2

    async def test_of_two_writers_who_expect_the_same_one_wins(self, database: Database) -> None:
        async def write(number: int) -> str:
            try:
                async with database.transaction() as tx:
                    await events.append(tx, counted(number), stream="a", metadata=METADATA, expected_version=0)
                    await asyncio.sleep(0.02)
            except WrongVersion as error:
                assert error.facts["actual_version"] == 1
                return "refused"
            return "written"

        assert sorted(await asyncio.gather(*map(write, range(6)))) == ["refused"] * 5 + ["written"]


class TestTheSameEventId:
    async def test_again_gives_the_same_answer_and_writes_nothing(self, database: Database) -> None:
        async with database.transaction() as tx:
            first = await events.append(
                tx, renamed(), stream="a", metadata=METADATA, expected_version=0, event_id=ONE_ID
            )
        async with database.transaction() as tx:
            again = await events.append(
                tx, renamed(), stream="a", metadata=METADATA, expected_version=0, event_id=ONE_ID
            )
            told = await events.read_stream(tx, "a")

        assert again == first
        assert [event.event_id for event in told] == [ONE_ID]

    async def test_at_the_same_time_is_written_once(self, database: Database) -> None:
        async def write(_: int) -> events.Append:
            async with database.transaction() as tx:
                done = await events.append(tx, counted(1), counted(2), stream="a", metadata=METADATA, event_id=MANY_IDS)
                await asyncio.sleep(0.02)
                return done

        answers = await asyncio.gather(*map(write, range(6)))

        assert all(answer == answers[0] for answer in answers)
        async with database.transaction() as tx:
            assert len(await events.read_stream(tx, "a")) == 2

    async def test_is_remembered_when_its_partition_is_gone(
        self, database: Database, database_urls: DatabaseUrls
    ) -> None:
        async with database.transaction() as tx:
            first = await events.append(tx, counted(1), stream="a", metadata=METADATA, event_id=ONE_ID)
        with psycopg.connect(database_urls.owner) as owner:
            months = "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass"
            for (name,) in owner.execute(months, ("instrument_registry.events",)).fetchall():
                owner.execute(f"drop table {name}")

        async with database.transaction() as tx:
            assert await events.append(tx, counted(1), stream="a", metadata=METADATA, event_id=ONE_ID) == first
            with pytest.raises(EventNotFound):
                await events.find(tx, ONE_ID)

    @pytest.mark.parametrize(("stream", "facts"), [("b", 1), ("a", 2)])
    async def test_for_something_else_is_refused(self, transaction: Transaction, stream: str, facts: int) -> None:
        await events.append(transaction, counted(1), stream="a", metadata=METADATA, event_id=MANY_IDS)

        with pytest.raises(EventIdTaken):
            told = [counted(number) for number in range(facts)]
            await events.append(transaction, *told, stream=stream, metadata=METADATA, event_id=MANY_IDS)

    async def test_names_each_fact_of_an_append(self, transaction: Transaction) -> None:
        done = await events.append(transaction, counted(7), counted(8), stream="a", metadata=METADATA)
        told = await events.read_stream(transaction, "a")

        assert done.event_id.version == 7
        assert len({event.event_id for event in told}) == 2
        for event in told:
            assert await events.find(transaction, event.event_id) == event
        with pytest.raises(EventNotFound):
            await events.find(transaction, UUID(int=done.event_id.int + 2))

    async def test_of_several_facts_must_leave_room_for_them(self, transaction: Transaction) -> None:
        with pytest.raises(Invalid):
            await events.append(transaction, counted(1), counted(2), stream="a", metadata=METADATA, event_id=ONE_ID)


class TestWhatIsStored:
    async def test_is_the_exact_text_with_its_envelope(self, transaction: Transaction) -> None:
        metadata = events.Metadata(actor="key-1", correlation_id="c", causation_id=ONE_ID, source="upstox")
        await events.append(transaction, renamed("M&M “x”"), stream="a", metadata=metadata)
        (event,) = await events.read_stream(transaction, "a")

        assert event.data == '{"instrument_id":"I1","old":"OLD","new":"M&M “x”"}'
        assert (event.type, event.schema_version, event.subject) == ("test.renamed", 1, "I1")
        assert (event.metadata, event.occurred_at, event.position) == (metadata, AT, None)

    async def test_is_checked_against_its_schema(self, transaction: Transaction) -> None:
        with pytest.raises(FactRefused, match=r"test\.counted"):
            await events.append(transaction, counted("seven"), stream="a", metadata=METADATA)  # type: ignore[arg-type]

    async def test_can_be_read_by_what_it_is_about(self, transaction: Transaction) -> None:
        for number in range(5):
            stream = f"s{number}"
            await events.append(transaction, renamed(str(number)), counted(0), stream=stream, metadata=METADATA)
        await events.append(transaction, renamed(instrument_id="I2"), stream="s", metadata=METADATA)

        about = await events.read_about(transaction, "I1")

        assert [json.loads(event.data)["new"] for event in about] == ["0", "1", "2", "3", "4"]
        assert [event.type for event in about] == ["test.renamed"] * 5

    async def test_is_out_of_reach_for_the_service_afterwards(self, database: Database) -> None:
        async with database.transaction() as tx:
            await events.append(tx, counted(1), stream="a", metadata=METADATA)
        await catch_up(database)
        for table in ("events", "appends", "positions", "stream_heads"):
            for statement in (f"delete from {table}", f"truncate {table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    async with database.transaction() as tx:
                        await tx.execute(statement)
        for change in (
            "events set data = ''",
            "appends set actor = ''",
            "positions set number = 0",
            "pending set facts = 1",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with database.transaction() as tx:
                    await tx.execute(f"update {change}")


class TestBulk:
    async def test_appends_a_draft_in_the_order_of_its_rows(self, database: Database) -> None:
        async with database.transaction() as tx:
            await events.create_draft(tx, "draft")
            await tx.execute(
                """
                insert into draft (subject, type, data)
                select 'I' || n, 'test.renamed',
                       json_build_object('instrument_id', 'I' || n, 'old', 'a', 'new', n::text)
                  from generate_series(1, 6000) n
                """
            )
            done = await events.append_from(tx, "draft", kinds=[Renamed], stream="run", metadata=METADATA)
            one = await events.append(tx, counted(6000), stream="run", metadata=METADATA, expected_version=6000)
        await catch_up(database)

        assert done is not None
        assert (done.facts, done.first_version, done.version, one.version) == (6000, 1, 6000, 6001)
        async with database.transaction() as tx:
            whole = await events.read(tx, after=0, limit=10_000)
            brief = await events.read(tx, after=0, limit=10, bulk=False)
            middle = await events.read(tx, after=2_999, limit=3)
            versions = await events.read_stream(tx, "run", after_version=5_998, limit=2)
            (one_of_them,) = await events.read_about(tx, "I777")
            assert await events.find(tx, one_of_them.event_id) == one_of_them
            assert await events.head_position(tx) == 6001
        assert [event.position for event in whole.events] == list(range(1, 6002))
        assert [event.subject for event in whole.events[:6000]] == [f"I{n}" for n in range(1, 6001)]
        assert len({event.event_id for event in whole.events}) == 6001
        assert (brief.position, brief.events) == (6000, [])
        assert [event.subject for event in middle.events] == ["I3000", "I3001", "I3002"]
        assert [event.stream_version for event in versions] == [5_999, 6_000]
        assert one_of_them.position == 777

    async def test_again_under_its_id_writes_nothing(self, database: Database) -> None:
        answers = []
        for _ in range(2):
            async with database.transaction() as tx:
                await events.create_draft(tx, "draft")
                await tx.execute(DRAFT_THREE)
                answers.append(
                    await events.append_from(
                        tx,
                        "draft",
                        kinds=[Counted],
                        stream="r",
                        metadata=METADATA,
                        expected_version=0,
                        event_id=MANY_IDS,
                    )
                )

        assert answers[0] == answers[1]
        async with database.transaction() as tx:
            assert await events.head_version(tx, "r") == 3

    async def test_at_another_version_is_a_conflict(self, transaction: Transaction) -> None:
        await events.append(transaction, counted(0), stream="r", metadata=METADATA)
        await events.create_draft(transaction, "draft")
        await transaction.execute(DRAFT_THREE)

        with pytest.raises(WrongVersion):
            await events.append_from(
                transaction, "draft", kinds=[Counted], stream="r", metadata=METADATA, expected_version=0
            )
        assert await _count(transaction, "events") == 1

    async def test_of_nothing_is_nothing(self, transaction: Transaction) -> None:
        await events.create_draft(transaction, "draft")

        assert await events.append_from(transaction, "draft", kinds=[Renamed], stream="r", metadata=METADATA) is None
        assert await events.head_version(transaction, "r") == 0

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            ("test.unheard", "{}"),
            ("test.counted", '{"number":"1"}'),
            ("test.counted", '{"number":1'),
            ("test.counted", "{}"),
        ],
    )
    async def test_of_what_has_no_schema_or_breaks_it_is_refused(
        self, transaction: Transaction, kind: str, data: str
    ) -> None:
        await events.create_draft(transaction, "draft")
        await transaction.execute("insert into draft (type, data) values (%s, %s)", (kind, data))

        with pytest.raises(FactRefused):
            await events.append_from(transaction, "draft", kinds=[Counted], stream="r", metadata=METADATA)


class TestMonths:
    async def test_are_there_three_ahead_and_made_when_missing(self, transaction: Transaction) -> None:
        assert await events.months_ahead(transaction) >= 3
        made = await events.ensure_months(transaction, months_ahead=5)
        again = await events.ensure_months(transaction, months_ahead=5)

        assert (made, again) == (2, 0)
        assert await events.months_ahead(transaction) == 5

    async def test_are_made_while_somebody_writes_and_somebody_reads(self, database: Database) -> None:
        async with database.transaction() as writing, database.transaction() as reading:
            await events.append(writing, counted(1), stream="a", metadata=METADATA)
            await events.read_stream(reading, "a")
            async with database.transaction(statement_timeout_seconds=2) as tx:
                await events.ensure_months(tx, months_ahead=4)

    async def test_without_one_nothing_is_written(self, database_urls: DatabaseUrls) -> None:
        with psycopg.connect(database_urls.owner) as owner, pytest.raises(psycopg.errors.CheckViolation):
            owner.execute(
                """
                insert into instrument_registry.events (number, type, schema_version, data, occurred_at, recorded_at)
                values (1, 't', 1, '{}', now(), now() + interval '1 year')
                """
            )


async def _count(tx: Transaction, table: str) -> int:
    row = await (await tx.execute(f"select count(*) from {table}")).fetchone()
    assert row is not None
    return int(row[0])
