"""API keys in PostgreSQL, as the service's role may touch them."""

import asyncio
import stat
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from frame import NOON
from instrument_registry import events
from instrument_registry.access import service
from instrument_registry.access.events import ApiKeyCreated, ApiKeyRevoked
from instrument_registry.access.model import KeyAlreadyRevoked, KeyNotFound, KeyRejected, Scope, presented
from instrument_registry.database import Database, Transaction
from instrument_registry.events import Fact, Metadata, schemas
from instrument_registry.http.auth import key_ring

OPS = Metadata(actor="ops", correlation_id="test")


async def make(tx: Transaction, scope: Scope = Scope.READER, *, name: str = "loader") -> tuple[str, str]:
    """A key in the database: its id and its text."""
    key, text = await service.create_key(tx, name=name, scope=scope, metadata=OPS, at=NOON)
    return key.id, text


class TestKeys:
    async def test_a_new_key_is_in_force(self, transaction: Transaction) -> None:
        key_id, text = await make(transaction, Scope.OPERATOR)

        sealed = (await service.keys_to_recognise(transaction, at=NOON))[key_id]

        assert sealed.opens(presented(text).secret)
        assert sealed.key.scope is Scope.OPERATOR
        assert sealed.key.created_at == NOON

    async def test_the_secret_is_nowhere_in_the_table(self, transaction: Transaction) -> None:
        _, text = await make(transaction)

        row = await (await transaction.execute("select api_keys::text from api_keys")).fetchone()

        assert row is not None
        assert presented(text).secret not in row[0]

    async def test_a_revoked_key_is_listed_and_opens_nothing(self, transaction: Transaction) -> None:
        key_id, _ = await make(transaction)

        await service.revoke_key(transaction, key_id, metadata=OPS, at=NOON)

        assert await service.keys_to_recognise(transaction, at=NOON) == {}
        (listed,) = await service.list_keys(transaction)
        assert (listed.revoked_at, listed.revoked_by) == (NOON, "ops")
        with pytest.raises(KeyAlreadyRevoked):
            await service.revoke_key(transaction, key_id, metadata=OPS, at=NOON)

    async def test_an_unknown_key_cannot_be_revoked(self, transaction: Transaction) -> None:
        with pytest.raises(KeyNotFound):
            await service.revoke_key(transaction, "a" * 16, metadata=OPS, at=NOON)

    async def test_use_is_kept_to_the_minute_and_never_goes_back(self, transaction: Transaction) -> None:
        key_id, _ = await make(transaction)

        await service.record_use(transaction, [key_id], at=NOON + timedelta(seconds=59))
        await service.record_use(transaction, [key_id], at=NOON - timedelta(hours=1))

        (listed,) = await service.list_keys(transaction)
        assert listed.last_used_at == NOON

    @pytest.mark.parametrize(
        "statement",
        [
            "delete from api_keys",
            "update api_keys set scope = 'admin'",
            "update api_keys set digest = decode(repeat('00', 32), 'hex')",
            "truncate api_keys",
        ],
    )
    async def test_the_service_may_not_change_what_a_key_is(self, database: Database, statement: str) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with database.transaction() as tx:
                await tx.execute(statement.encode())


class TestFacts:
    async def test_each_change_tells_one_fact_in_its_transaction(self, transaction: Transaction) -> None:
        key_id, text = await make(transaction, Scope.ADMIN)
        await service.revoke_key(transaction, key_id, metadata=OPS, at=NOON)

        told = await events.read_about(transaction, key_id)

        assert [(fact.type, fact.stream, fact.metadata.actor) for fact in told] == [
            ("api_key.created", f"api_key:{key_id}", "ops"),
            ("api_key.revoked", f"api_key:{key_id}", "ops"),
        ]
        assert presented(text).secret not in "".join(fact.data for fact in told)

    @pytest.mark.parametrize("kind", [ApiKeyCreated, ApiKeyRevoked])
    def test_their_schemas_are_published(self, kind: type[Fact]) -> None:
        file = Path(__file__).parents[2] / "schemas" / "events" / schemas.file_name(kind)

        assert file.read_text(encoding="utf-8") == schemas.published(kind)


class TestOperatorKey:
    async def test_it_is_made_once_and_only_its_owner_may_read_it(
        self, transaction: Transaction, tmp_path: Path
    ) -> None:
        path = tmp_path / "data" / "operator.key"

        made = [await service.ensure_operator_key(transaction, path, at=NOON) for _ in range(3)]

        assert made == [True, False, False]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        sealed = (await service.keys_to_recognise(transaction, at=NOON))[presented(path.read_text().strip()).id]
        assert sealed.key.scope is Scope.OPERATOR
        assert [entry.name for entry in path.parent.iterdir()] == ["operator.key"]

    @pytest.mark.parametrize("held", ["", "nonsense", "\xff", "irk_" + "a" * 16 + "_" + "b" * 43, "x" * 5000])
    async def test_a_file_that_opens_nothing_is_replaced(
        self, transaction: Transaction, tmp_path: Path, held: str
    ) -> None:
        path = tmp_path / "operator.key"
        path.write_bytes(held.encode("latin-1"))
        path.chmod(0o644)

        made = await service.ensure_operator_key(transaction, path, at=NOON)

        assert made
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        presented(path.read_text().strip())

    async def test_a_revoked_or_weaker_key_is_replaced(self, transaction: Transaction, tmp_path: Path) -> None:
        path = tmp_path / "operator.key"
        key_id, text = await make(transaction, Scope.OPERATOR)
        path.write_text(text)
        assert not await service.ensure_operator_key(transaction, path, at=NOON)

        await service.revoke_key(transaction, key_id, metadata=OPS, at=NOON)
        assert await service.ensure_operator_key(transaction, path, at=NOON)

        _, weaker = await make(transaction, Scope.READER)
        path.write_text(weaker)
        assert await service.ensure_operator_key(transaction, path, at=NOON)


class TestRing:
    async def test_a_key_works_at_once_and_stops_within_two_seconds_of_its_revocation(self, database: Database) -> None:
        ring = key_ring(database, lambda: NOON)
        async with database.transaction() as tx:
            key_id, text = await make(tx)
        assert (await ring.recognise(text)).id == key_id

        async with database.transaction() as tx:
            await service.revoke_key(tx, key_id, metadata=OPS, at=NOON)
        await asyncio.sleep(1.6)

        with pytest.raises(KeyRejected):
            await ring.recognise(text)
        await ring.close()
        async with database.transaction() as tx:
            (listed,) = await service.list_keys(tx)
        assert listed.last_used_at == NOON
