"""Parameters: all of a change or none of it, each with a reason, undone in one call, pinned by the environment."""

import asyncio
from datetime import timedelta

import pytest

from facts import AT, METADATA
from instrument_registry import events
from instrument_registry.configuration import service
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import (
    BadValue,
    NeedsRestart,
    NoSuchVersion,
    OtherVersion,
    Pinned,
    Snapshot,
    Source,
    Sources,
    UnknownParameter,
)
from instrument_registry.configuration.parameters import (
    CACHE_TTL_SECONDS,
    DLQ_RETENTION_HOURS,
    MAX_RESULTS_PER_PAGE,
    PARAMETERS,
    QUERY_OPTIMIZATION,
    SEARCH_TIMEOUT,
)
from instrument_registry.database import Database
from instrument_registry.errors import Invalid

NOTHING = Sources()


async def put(database: Database, changes: dict[str, str | None], sources: Sources = NOTHING, **more: object) -> int:
    async with database.transaction() as tx:
        made = await service.change(tx, changes, sources, reason="trial", metadata=METADATA, at=AT, **more)
    return made.version


async def now(database: Database, sources: Sources = NOTHING) -> Snapshot:
    async with database.transaction(read_only=True) as tx:
        return await service.read(tx, sources)


class TestAChange:
    async def test_is_in_force_and_told_with_old_new_and_reason(self, database: Database) -> None:
        first = await put(database, {"max_results_per_page": "50", "QUERY_OPTIMIZATION": "off"})
        second = await put(database, {"INSTRUMENT_REGISTRY_MAX_RESULTS_PER_PAGE": "20"})

        there = await now(database)
        assert (there.version, there[MAX_RESULTS_PER_PAGE], there[QUERY_OPTIMIZATION]) == (2, 20, False)
        assert there.settings["SEARCH_TIMEOUT"].source is Source.DEFAULT
        async with database.transaction() as tx:
            told = await events.read_stream(tx, "configuration")
            history = await service.history(tx, name="MAX_RESULTS_PER_PAGE")
        assert [one.version for one in history] == [second, first]
        assert (
            '"old":{"MAX_RESULTS_PER_PAGE":"50"},"new":{"MAX_RESULTS_PER_PAGE":"20"},"reason":"trial"' in told[1].data
        )

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"MAX_RESULTS_PER_PAGE": "101"}, BadValue),
            ({"MAX_RESULTS_PER_PAGE": "many"}, BadValue),
            ({"MAX_RESULTS_PER_PAGE": "nan"}, BadValue),
            ({"SLA_AVAILABILITY_PERCENT": "nan"}, BadValue),
            ({"FILTERING_STRICTNESS": "harsh"}, BadValue),
            ({"MAX_RESULTS_PER_PAG": "10"}, UnknownParameter),
            ({"EVENT_ORDERING_GUARANTEE": "global"}, NeedsRestart),
            ({"SEARCH_TIMEOUT": "100"}, BadValue),  # below SLA_P95_MS
            ({}, Invalid),
        ],
        ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
    )
    async def test_that_cannot_be_changes_nothing_of_its_request(
        self, database: Database, changes: dict[str, str | None], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            await put(database, {"CACHE_TTL_SECONDS": "7", **changes} if changes else {})

        there = await now(database)
        assert (there.version, there[CACHE_TTL_SECONDS]) == (0, 300)

    async def test_to_a_misspelt_name_is_refused_with_the_nearest(self, database: Database) -> None:
        with pytest.raises(UnknownParameter, match="Did you mean SEARCH_TIMEOUT"):
            await put(database, {"SEARCH_TIMEOUTS": "10"})

    async def test_of_two_that_depend_on_each_other_goes_together(self, database: Database) -> None:
        await put(database, {"SEARCH_TIMEOUT": "100", "SLA_P95_MS": "90"})

        assert (await now(database))[SEARCH_TIMEOUT] == 100

    async def test_of_another_version_than_was_read_is_refused(self, database: Database) -> None:
        await put(database, {"CACHE_TTL_SECONDS": "7"}, expected_version=0)
        with pytest.raises(OtherVersion) as refused:
            await put(database, {"CACHE_TTL_SECONDS": "8"}, expected_version=0)

        assert refused.value.facts["version"] == 1

    async def test_by_many_at_once_leaves_one_version_each(self, database: Database) -> None:
        made = await asyncio.gather(*(put(database, {"CACHE_TTL_SECONDS": str(n)}) for n in range(10)))

        assert sorted(made) == list(range(1, 11))

    async def test_taken_back_gives_the_default(self, database: Database) -> None:
        await put(database, {"CACHE_TTL_SECONDS": "7"})
        await put(database, {"CACHE_TTL_SECONDS": None})

        assert (await now(database)).settings["CACHE_TTL_SECONDS"].source is Source.DEFAULT


class TestSources:
    async def test_win_in_their_order(self, database: Database) -> None:
        await put(database, {"CACHE_TTL_SECONDS": "7", "MAX_RESULTS_PER_PAGE": "7"})
        sources = Sources(
            environment={"CACHE_TTL_SECONDS": "5"},
            external={"CACHE_TTL_SECONDS": "9", "MAX_RESULTS_PER_PAGE": "9", "DLQ_RETENTION_HOURS": "9"},
        )
        there = await now(database, sources)

        values = {name: there.settings[name].value for name in ("CACHE_TTL_SECONDS", "MAX_RESULTS_PER_PAGE")}
        assert values == {"CACHE_TTL_SECONDS": 5, "MAX_RESULTS_PER_PAGE": 7}
        assert there[DLQ_RETENTION_HOURS] == 9
        assert there.settings["DLQ_RETENTION_HOURS"].source is Source.EXTERNAL
        assert there[SEARCH_TIMEOUT] == 5000

    async def test_of_the_environment_are_pins(self, database: Database) -> None:
        with pytest.raises(Pinned) as refused:
            await put(database, {"CACHE_TTL_SECONDS": "8"}, Sources(environment={"CACHE_TTL_SECONDS": "5"}))

        assert refused.value.facts["pinned_by"] == "INSTRUMENT_REGISTRY_CACHE_TTL_SECONDS"


class TestGoingBack:
    async def test_to_any_version_is_one_call(self, database: Database) -> None:
        await put(database, {"CACHE_TTL_SECONDS": "7"})
        await put(database, {"CACHE_TTL_SECONDS": "8", "MAX_RESULTS_PER_PAGE": "8"})
        await put(database, {"CACHE_TTL_SECONDS": None, "SEARCH_TIMEOUT": "900"})
        async with database.transaction() as tx:
            made = await service.revert(tx, 1, NOTHING, reason="worse", metadata=METADATA, at=AT)
            again = await service.revert(tx, 1, NOTHING, reason="worse", metadata=METADATA, at=AT)

        there = await now(database)
        assert made is not None and (made.version, made.reverts_to) == (4, 1)
        assert again is None
        assert (there[CACHE_TTL_SECONDS], there[MAX_RESULTS_PER_PAGE], there[SEARCH_TIMEOUT]) == (7, 100, 5000)

    async def test_to_one_that_never_was_is_refused(self, database: Database) -> None:
        async with database.transaction() as tx:
            with pytest.raises(NoSuchVersion):
                await service.revert(tx, 3, NOTHING, reason="r", metadata=METADATA, at=AT)


class TestAScheduledChange:
    async def test_comes_when_its_time_has_come_and_once(self, database: Database) -> None:
        async with database.transaction() as tx:
            change = await service.schedule(
                tx, {"CACHE_TTL_SECONDS": "7"}, NOTHING, due_at=AT + timedelta(hours=1), reason="tonight",
                metadata=METADATA, at=AT,
            )  # fmt: skip
            early = await service.make_due(tx, NOTHING, now=AT + timedelta(minutes=59))
        for at in (AT + timedelta(hours=1), AT + timedelta(hours=2)):
            async with database.transaction() as tx:
                await service.make_due(tx, NOTHING, now=at)

        assert early is None
        there = await now(database)
        assert (there.version, there[CACHE_TTL_SECONDS]) == (1, 7)
        async with database.transaction() as tx:
            assert [(one.id, one.state, one.version) for one in await service.scheduled(tx, waiting=False)] == [
                (change, "done", 1)
            ]

    async def test_that_can_no_longer_be_made_says_why(self, database: Database) -> None:
        async with database.transaction() as tx:
            await service.schedule(
                tx, {"SEARCH_TIMEOUT": "600"}, NOTHING, due_at=AT + timedelta(hours=1), reason="tonight",
                metadata=METADATA, at=AT,
            )  # fmt: skip
        await put(database, {"SLA_P95_MS": "800"})
        async with database.transaction() as tx:
            await service.make_due(tx, NOTHING, now=AT + timedelta(hours=2))
            (ended,) = await service.scheduled(tx, waiting=False)

        assert ended.state == "refused" and ended.problem is not None and "SLA_P95_MS" in ended.problem
        assert (await now(database))[SEARCH_TIMEOUT] == 5000

    async def test_that_was_cancelled_does_not_come(self, database: Database) -> None:
        async with database.transaction() as tx:
            change = await service.schedule(
                tx, {"CACHE_TTL_SECONDS": "7"}, NOTHING, due_at=AT + timedelta(hours=1), reason="tonight",
                metadata=METADATA, at=AT,
            )  # fmt: skip
            await service.cancel(tx, change, reason="not tonight", metadata=METADATA, at=AT)
            assert await service.make_due(tx, NOTHING, now=AT + timedelta(hours=2)) is None

    async def test_in_the_past_is_refused(self, database: Database) -> None:
        async with database.transaction() as tx:
            with pytest.raises(Invalid, match="has passed"):
                await service.schedule(
                    tx, {"CACHE_TTL_SECONDS": "7"}, NOTHING, due_at=AT, reason="r", metadata=METADATA, at=AT
                )


class TestAPreview:
    async def test_says_what_would_differ_and_changes_nothing(self, database: Database) -> None:
        async with database.transaction() as tx:
            found = await service.preview(tx, {"CACHE_TTL_SECONDS": "7", "SEARCH_TIMEOUT": "5000"}, NOTHING)

        assert [tuple(one) for one in found] == [("CACHE_TTL_SECONDS", "300", "7")]
        assert (await now(database)).version == 0


class TestEveryProcess:
    async def test_sees_a_change_within_two_seconds(self, database: Database) -> None:
        workers = [LiveConfiguration(database, NOTHING) for _ in range(3)]
        following = [asyncio.create_task(one.follow()) for one in workers]
        heard = [asyncio.create_task(one.changed()) for one in workers]
        await asyncio.sleep(0)
        await put(database, {"CACHE_TTL_SECONDS": "7"})
        await asyncio.wait_for(asyncio.gather(*heard), 10)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

        assert [one.now[CACHE_TTL_SECONDS] for one in workers] == [7, 7, 7]

    async def test_keeps_what_it_knew_when_it_cannot_understand(self, database: Database) -> None:
        worker = LiveConfiguration(database, NOTHING)
        await put(database, {"CACHE_TTL_SECONDS": "7"})
        await worker.refresh()
        async with database.transaction() as tx:
            await tx.execute("update configuration_values set value = 'soon'")

        with pytest.raises(BadValue):
            await worker.refresh()
        assert worker.now[CACHE_TTL_SECONDS] == 7


class TestEveryParameter:
    @pytest.mark.parametrize("name", PARAMETERS)
    def test_reads_what_it_writes_and_has_a_default_within_its_bounds(self, name: str) -> None:
        parameter = PARAMETERS[name]

        assert parameter.read(parameter.text(parameter.default)) == parameter.default
        assert parameter.why.endswith(".") and parameter.owner
