"""Secrets in the database: bound to their place, rewrapped while others read and write, refused when tampered with."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from conftest import DatabaseUrls
from instrument_registry import clock
from instrument_registry.configuration.secrets import service, wrapping
from instrument_registry.configuration.secrets.model import (
    BadSecret,
    MasterKeyMissing,
    NoSuchSecret,
    SecretOver,
    SecretVersion,
)
from instrument_registry.database import Database
from instrument_registry.events import Metadata
from instrument_registry.sealing import FILE_NAME, KeyFile, MasterKeyUnusable, SealBroken, Sealer, sealer_in
from receivers import endpoint_at

NOON = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)
METADATA = Metadata(actor="tests", correlation_id="c-1")
WITHIN_SECONDS = 60.0


class Vault:
    """Secrets of one database, as one process sees them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder, self.sealer, self.now = database, folder, sealer_in(folder), NOON

    async def put(self, name: str, value: str, **more: object) -> SecretVersion:
        async with self.database.transaction() as tx:
            return await service.put(
                tx, name, value, sealer=self.sealer, reason="test", metadata=METADATA, at=self.now, **more
            )

    async def rotate(self, name: str, **more: object) -> SecretVersion:
        async with self.database.transaction() as tx:
            return await service.rotate(
                tx, name, sealer=self.sealer, reason="test", metadata=METADATA, at=self.now, **more
            )

    async def value(self, name: str, *, sealer: Sealer | None = None, **more: object) -> str:
        async with self.database.transaction() as tx:
            _, value = await service.read(
                tx, name, sealer=sealer or self.sealer, metadata=METADATA, at=self.now, **more
            )
        return value

    async def delete(self, name: str, environment: str = "production") -> None:
        async with self.database.transaction() as tx:
            await service.delete(tx, name, reason="test", metadata=METADATA, at=self.now, environment=environment)

    async def versions(self, name: str) -> list[SecretVersion]:
        async with self.database.transaction(read_only=True) as tx:
            return await service.versions(tx, name, environment="production")

    async def forgotten(self) -> int:
        async with self.database.transaction() as tx:
            return await service.forget_ended(tx, metadata=METADATA, now=self.now)

    async def rewrapped(self, **more: object) -> wrapping.Rewrapped:
        return await wrapping.rewrap(self.database, self.sealer, metadata=METADATA, clock=clock.now, **more)

    async def told(self) -> list[str]:
        async with self.database.transaction(read_only=True) as tx:
            rows = await (await tx.execute("select type || ' ' || data::text from events")).fetchall()
        return [row[0] for row in rows]


@pytest.fixture
def vault(database: Database, tmp_path: Path) -> Vault:
    return Vault(database, tmp_path)


class TestVersions:
    async def test_the_former_one_is_readable_by_its_number_until_the_overlap_is_over(self, vault: Vault) -> None:
        await vault.put("FEED", "first")
        await vault.put("FEED", "second", overlap_seconds=60)
        within = (await vault.value("FEED"), await vault.value("FEED", version=1))
        vault.now += timedelta(seconds=60)

        assert within == ("second", "first")
        assert await vault.value("FEED") == "second"
        with pytest.raises(SecretOver):
            await vault.value("FEED", version=1)

    async def test_one_whose_time_is_over_leaves_no_value_behind(self, vault: Vault) -> None:
        await vault.put("FEED", "first")
        await vault.put("FEED", "second", overlap_seconds=60)
        early = await vault.forgotten()
        vault.now += timedelta(seconds=61)
        late = await vault.forgotten()

        assert (early, late, await vault.forgotten()) == (0, 1, 0)
        assert [(one.version, one.key_id is None) for one in await vault.versions("FEED")] == [(2, False), (1, True)]

    async def test_no_overlap_ends_the_former_one_at_once(self, vault: Vault) -> None:
        await vault.put("FEED", "first")
        await vault.put("FEED", "second", overlap_seconds=0)

        with pytest.raises(SecretOver):
            await vault.value("FEED", version=1)
        assert (await vault.versions("FEED"))[1].key_id is None

    async def test_numbers_are_never_used_again(self, vault: Vault) -> None:
        await vault.put("FEED", "first")
        await vault.delete("FEED")
        made = await vault.put("FEED", "second")

        assert made.version == 2
        assert [one.ended_reason for one in await vault.versions("FEED")] == [None, "test"]

    async def test_a_rotated_one_has_a_value_nobody_chose(self, vault: Vault) -> None:
        await vault.put("FEED", "first")
        await vault.rotate("FEED")
        await vault.rotate("FEED", value="mine")

        assert len(await vault.value("FEED", version=2)) == 43
        assert await vault.value("FEED") == "mine"
        with pytest.raises(NoSuchSecret):
            await vault.rotate("OTHER")

    async def test_two_who_set_at_once_make_two_versions(self, vault: Vault) -> None:
        made = await asyncio.gather(*(vault.put("FEED", f"value {number}") for number in range(8)))

        assert sorted(one.version for one in made) == list(range(1, 9))
        assert sum(one.ends_at is None for one in await vault.versions("FEED")) == 1

    async def test_environments_are_apart(self, vault: Vault) -> None:
        await vault.put("FEED", "real")
        await vault.put("FEED", "played", environment="staging")

        assert (await vault.value("FEED"), await vault.value("FEED", environment="staging")) == ("real", "played")
        with pytest.raises(NoSuchSecret, match="production, staging"):
            await vault.value("FEED", environment="test")

    async def test_each_change_and_each_read_is_told_without_a_value(self, vault: Vault) -> None:
        await vault.put("FEED", "sesame-1")
        await vault.value("FEED")
        await vault.rotate("FEED", value="sesame-2")
        await vault.delete("FEED")
        told = await vault.told()

        assert sorted(one.split()[0] for one in told) == ["secret.deleted", "secret.read", "secret.set", "secret.set"]
        assert not [one for one in told if "sesame" in one]

    @pytest.mark.parametrize("value", ["", "x" * 65_537, "é" * 32_769])
    async def test_a_value_is_bounded_and_not_repeated_in_the_refusal(self, vault: Vault, value: str) -> None:
        with pytest.raises(BadSecret) as refused:
            await vault.put("FEED", value)
        assert "xxx" not in str(refused.value)
        assert "value" not in refused.value.facts


TAMPER = {
    "another name": """update secret_versions set sealed = (select sealed from secret_versions where name = 'OTHER')
                        where name = 'FEED' and version = 2""",
    "another version": """update secret_versions set sealed = (select sealed from secret_versions
                           where name = 'FEED' and version = 1 and environment = 'production')
                           where name = 'FEED' and version = 2""",
    "another environment": """update secret_versions set sealed = (select sealed from secret_versions
                               where name = 'FEED' and environment = 'staging')
                               where name = 'FEED' and version = 2""",
    "its environment changed": """delete from secret_versions where name = 'FEED' and environment = 'production';
                                  update secret_versions set environment = 'production' where name = 'FEED'""",
    "cut short": """update secret_versions set sealed = substring(sealed for length(sealed) - 1)
                     where name = 'FEED' and version = 2""",
    "a flipped bit": """update secret_versions
                           set sealed = set_byte(sealed, length(sealed) - 1, get_byte(sealed, length(sealed) - 1) # 1)
                         where name = 'FEED' and version = 2""",
    "the data key of another": """update secret_versions
                           set sealed = (select substring(sealed for 65) from secret_versions where name = 'OTHER')
                                        || substring(sealed from 66) where name = 'FEED' and version = 2""",
}


class TestAChangedRow:
    @pytest.mark.parametrize("how", TAMPER)
    async def test_is_refused_and_says_so(self, vault: Vault, database_urls: DatabaseUrls, how: str) -> None:
        await vault.put("FEED", "first")
        await vault.put("FEED", "second")
        await vault.put("OTHER", "third")
        await vault.put("FEED", "fourth", environment="staging")
        async with await psycopg.AsyncConnection.connect(database_urls.owner, autocommit=True) as owner:
            await owner.execute("set search_path = instrument_registry")
            await owner.execute(TAMPER[how].encode())

        with pytest.raises(SealBroken, match="FEED version"):
            await vault.value("FEED")

    async def test_of_a_webhook_does_not_open_as_a_secret_nor_for_another_endpoint(
        self, vault: Vault, database_urls: DatabaseUrls
    ) -> None:
        for path in ("one", "two"):
            await endpoint_at(vault.database, vault.folder, f"https://registry.example/{path}")
        await vault.put("FEED", "first")
        async with await psycopg.AsyncConnection.connect(database_urls.owner, autocommit=True) as owner:
            await owner.execute("set search_path = instrument_registry")
            await owner.execute("update secret_versions set sealed = (select sealed from webhook_secrets limit 1)")
            await owner.execute(
                """update webhook_secrets w set sealed = o.sealed from webhook_secrets o where o.id <> w.id"""
            )
        KeyFile(vault.folder / FILE_NAME).add()
        done = await vault.rewrapped()

        with pytest.raises(SealBroken):
            await vault.value("FEED")
        assert (done.rewrapped, len(done.damaged), done.left) == (0, 3, 0)


class TestMasterKeys:
    async def test_say_what_each_still_wraps(self, vault: Vault) -> None:
        await vault.put("FEED", "first")
        await endpoint_at(vault.database, vault.folder, "https://registry.example/one")
        KeyFile(vault.folder / FILE_NAME).add()
        await vault.put("FEED", "second", overlap_seconds=60)
        async with vault.database.transaction(read_only=True) as tx:
            before = await wrapping.keys(tx, vault.sealer, at=NOON)
        done = await vault.rewrapped()
        async with vault.database.transaction(read_only=True) as tx:
            after = await wrapping.keys(tx, vault.sealer, at=NOON)

        assert [(one.newest, one.held, one.secrets, one.webhook_secrets) for one in before] == [
            (True, True, 1, 0), (False, True, 1, 1),
        ]  # fmt: skip
        assert (done.rewrapped, done.left, done.damaged) == (2, 0, ())
        assert [one.wraps for one in after] == [3, 0]

    async def test_one_that_is_not_here_refuses_its_values_and_the_start_naming_its_id(
        self, vault: Vault, tmp_path: Path
    ) -> None:
        made = await vault.put("FEED", "first")
        stranger = sealer_in(tmp_path / "elsewhere")
        stranger.keys.newest()

        with pytest.raises(MasterKeyUnusable, match=str(made.key_id)):
            await vault.value("FEED", sealer=stranger)
        async with vault.database.transaction(read_only=True) as tx:
            with pytest.raises(MasterKeyMissing, match=str(made.key_id)):
                await wrapping.require_keys(tx, stranger, at=NOON)
            await wrapping.require_keys(tx, stranger, at=NOON, given_up=[str(made.key_id)])
            await wrapping.require_keys(tx, vault.sealer, at=NOON)

    async def test_a_wrapping_of_before_opens_nothing_once_its_key_is_taken_out(
        self, vault: Vault, database_urls: DatabaseUrls
    ) -> None:
        made = await vault.put("FEED", "first")
        async with await psycopg.AsyncConnection.connect(database_urls.owner, autocommit=True) as owner:
            await owner.execute("set search_path = instrument_registry")
            (former,) = await (await owner.execute("select sealed from secret_versions")).fetchone()
            file = KeyFile(vault.folder / FILE_NAME)
            file.add()
            await vault.rewrapped()
            file.remove(bytes.fromhex(str(made.key_id)))
            readable = await vault.value("FEED", sealer=sealer_in(vault.folder))
            await owner.execute("update secret_versions set sealed = %s", (former,))

        assert readable == "first"
        with pytest.raises(MasterKeyUnusable, match=str(made.key_id)):
            await vault.value("FEED", sealer=sealer_in(vault.folder))

    async def test_rewrapping_is_bounded_goes_on_where_it_was_and_does_nothing_twice(self, vault: Vault) -> None:
        many = 2 * wrapping.BATCH + 50
        async with vault.database.transaction() as tx:
            for number in range(many):
                await service.put(
                    tx, f"FEED_{number}", "value", sealer=vault.sealer, reason="test", metadata=METADATA, at=NOON
                )
        KeyFile(vault.folder / FILE_NAME).add()
        done = [await vault.rewrapped(at_most=1), await vault.rewrapped(), await vault.rewrapped()]

        left = many - wrapping.BATCH
        assert [(one.rewrapped, one.left) for one in done] == [(wrapping.BATCH, left), (left, 0), (0, 0)]
        assert await vault.value(f"FEED_{many - 1}") == "value"

    async def test_rotating_and_rewrapping_under_load_fails_no_read_and_no_write(
        self, vault: Vault, database_urls: DatabaseUrls
    ) -> None:
        other_pool = await Database(database_urls.service, application="test 2", pool_size=8).open()
        other = Vault(other_pool, vault.folder)  # as another process: its own pool, its own memory of the keys
        names = [f"FEED_{number}" for number in range(20)]
        for name in names:
            await vault.put(name, f"{name} 0")
        done = asyncio.Event()
        reads, writes = 0, 0

        async def read(one: Vault, offset: int) -> None:
            nonlocal reads
            while not done.is_set():
                name = names[(reads + offset) % len(names)]
                assert (await one.value(name)).startswith(f"{name} ")
                reads += 1

        async def write(one: Vault) -> None:
            nonlocal writes
            while not done.is_set():
                name = names[writes % len(names)]
                await one.put(name, f"{name} {writes}", overlap_seconds=0)
                writes += 1

        async def rotate() -> None:
            file = KeyFile(vault.folder / FILE_NAME)
            try:
                for turn in range(6):
                    former = vault.sealer.keys.held()
                    newest = file.add()
                    rewrapping = vault if turn % 2 else other
                    while (await rewrapping.rewrapped()).left:
                        pass
                    if turn >= 2:
                        for key in former:
                            async with vault.database.transaction(read_only=True) as tx:
                                uses = {one.key_id: one.wraps for one in await wrapping.keys(tx, vault.sealer, at=NOON)}
                            if not uses.get(key.hex()):
                                file.remove(key)
                    assert newest in vault.sealer.keys.held()
                    before = reads
                    while reads < before + 20:
                        await asyncio.sleep(0.005)
            finally:
                done.set()

        async with asyncio.timeout(WITHIN_SECONDS), asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(read(vault, number))
                group.create_task(read(other, number + 7))
            group.create_task(write(vault))
            group.create_task(write(other))
            group.create_task(rotate())
        await other_pool.close()

        assert reads >= 120
        assert writes >= 1
        print(f"{reads} reads, {writes} writes")
