"""Limits of profiles under concurrency: a thousand writes by fifty users who are all at their limits."""

import asyncio
import itertools
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from conftest import DatabaseUrls
from frame import NOON
from instrument_registry.catalog.model import Status
from instrument_registry.catalog.ulid import ulids
from instrument_registry.database import Database, Transaction
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.profiles import service, storage
from instrument_registry.subscriptions.profiles.admission import Asked, Found
from instrument_registry.subscriptions.profiles.conflicts import LimitExceeded
from instrument_registry.subscriptions.profiles.model import (
    Item,
    Profile,
    ProfileType,
    Strictness,
    Terms,
    Wanted,
)
from instrument_registry.subscriptions.profiles.service import Context, Done, Request

USERS, WRITES, PROFILES_EACH, INSTRUMENTS_EACH, TIER_0 = 50, 1_000, 5, 2, 60
CONNECTIONS = 24
METADATA = Metadata(actor="api_key:tests", correlation_id="c-1")
TERMS = Terms(
    strictness=Strictness.LENIENT, profiles=PROFILES_EACH, instruments=dict.fromkeys(ProfileType, INSTRUMENTS_EACH),
    tier_0_per_key=TIER_0,
)  # fmt: skip
Create = Callable[[Transaction, Request, Context], Awaitable[Done]]


@pytest_asyncio.fixture
async def crowd(database_urls: DatabaseUrls) -> AsyncIterator[Database]:
    """A database at which a thousand can wait."""
    opened = await Database(
        database_urls.service, application="test", pool_size=CONNECTIONS, wait_timeout_seconds=60
    ).open()
    yield opened
    await opened.close()


def context() -> Context:
    return Context(terms=TERMS, metadata=METADATA, at=NOON, new_id=lambda: ulids(1, at=NOON, chance=os.urandom(10))[0])


def request(user: str, number: int, *, priority: int = 50) -> Request:
    """A profile of two instruments that no other one names."""
    names = [
        Asked(
            text=f"NSE:K{one}",
            found=Found(number=one, id=f"id-{one}", key=f"NSE:K{one}", status=Status.ACTIVE, streamable=True,
                        has_token=True),
        )
        for one in range(number * INSTRUMENTS_EACH, (number + 1) * INSTRUMENTS_EACH)
    ]  # fmt: skip
    wanted = Wanted(user_id=user, name=f"n{number}", type=ProfileType.LIVE_FEED, items=(), priority=priority)
    return Request(wanted=wanted, asked=tuple(names))


async def naive(tx: Transaction, asked: Request, made_by: Context) -> Done:
    """What everybody writes first: count, then insert."""
    there = await storage.situation(tx, asked.wanted, asked.numbers, at=NOON)
    if there.profiles >= made_by.terms.profiles:
        raise LimitExceeded("over", met=(), wanted=asked.whole)
    items: tuple[Item, ...] = asked.whole.items
    profile = Profile(
        id=made_by.new_id(), wanted=replace(asked.wanted, items=items), version=1, actor=METADATA.actor,
        created_at=NOON, changed_at=NOON,
    )  # fmt: skip
    await storage.add(tx, profile, correlation_id="c-1")
    return Done(profile=profile)


async def storm(crowd: Database, create: Create, *, priority: int = 50) -> tuple[set[str], int]:
    """A thousand profiles at once; which were made, and how many were refused."""

    async def one(number: int) -> str | None:
        asked = request(f"user-{number % USERS}", number, priority=priority)
        try:
            async with crowd.transaction() as tx:
                return (await create(tx, asked, context())).profile.id
        except LimitExceeded:
            return None

    numbers = list(range(WRITES))
    random.Random(7).shuffle(numbers)
    made = await asyncio.gather(*map(one, numbers))
    return {one for one in made if one is not None}, sum(one is None for one in made)


async def kept(crowd: Database) -> tuple[Counter[str], Counter[str]]:
    """How many profiles each user has, and how many instruments each profile wants."""
    async with crowd.transaction(read_only=True) as tx:
        users = await (
            await tx.execute("select user_id from subscription_profiles where deleted_at is null")
        ).fetchall()
        wants = await (await tx.execute("select owner from subscription_wants")).fetchall()
    return Counter(row[0] for row in users), Counter(row[0] for row in wants)


class TestAThousandAtOnce:
    async def test_no_user_has_one_too_many_and_nothing_that_was_made_is_lost(self, crowd: Database) -> None:
        made, refused = await storm(crowd, service.create)
        users, wants = await kept(crowd)

        assert set(users.values()) == {PROFILES_EACH} and len(users) == USERS
        assert (len(made), refused) == (USERS * PROFILES_EACH, WRITES - USERS * PROFILES_EACH)
        assert wants == dict.fromkeys(made, INSTRUMENTS_EACH)

    async def test_who_counts_and_then_inserts_has_some_too_many(self, crowd: Database) -> None:
        await storm(crowd, naive)
        users, _ = await kept(crowd)

        assert max(users.values()) > PROFILES_EACH

    async def test_a_key_never_has_too_much_in_tier_0(self, crowd: Database) -> None:
        made, _ = await storm(crowd, service.create, priority=80)
        _, wants = await kept(crowd)

        assert sum(wants.values()) == TIER_0
        assert len(made) == TIER_0 // INSTRUMENTS_EACH

    async def test_with_changes_and_deletions_between_them_the_books_balance(self, crowd: Database) -> None:
        made, _ = await storm(crowd, service.create)
        doomed, others = sorted(made)[::2], sorted(made)[1::2]
        fresh: set[str] = set()

        async def delete(profile: str) -> None:
            async with crowd.transaction() as tx:
                await service.delete(tx, profile, metadata=METADATA, at=NOON, version=None)

        async def replace_(profile: str, number: int) -> None:
            async with crowd.transaction() as tx:
                user = (await storage.find(tx, profile)).wanted.user_id
                await service.put(tx, profile, request(user, number), context(), version=None)

        async def add(number: int) -> None:
            try:
                async with crowd.transaction() as tx:
                    done = await service.create(tx, request(f"user-{number % USERS}", number), context())
                fresh.add(done.profile.id)
            except LimitExceeded:
                pass

        numbers = itertools.count(WRITES)
        work = [delete(one) for one in doomed]
        work += [replace_(one, next(numbers)) for one in others for _ in range(3)]
        work += [add(next(numbers)) for _ in range(WRITES - len(work))]
        random.Random(8).shuffle(work)
        await asyncio.gather(*work)
        users, wants = await kept(crowd)
        async with crowd.transaction(read_only=True) as tx:
            cursor = await tx.execute(
                """select p.id from subscription_profiles p where p.deleted_at is null and p.version <> (
                     select count(*) from subscription_profile_versions v where v.profile_id = p.id)"""
            )
            uneven = await cursor.fetchall()

        assert max(users.values()) <= PROFILES_EACH
        assert wants == dict.fromkeys((made - set(doomed)) | fresh, INSTRUMENTS_EACH)
        assert uneven == []


@pytest.mark.parametrize("times", [150])
async def test_the_newest_versions_of_a_profile_are_kept(database: Database, times: int) -> None:
    async with database.transaction() as tx:
        profile = (await service.create(tx, request("asha", 1), context())).profile
        for number in range(times):
            await service.change(tx, profile.id, {"priority": number % 70}, context(), version=number + 1)
        found = await storage.versions(tx, profile.id, before=None, limit=1000)

    assert [one.version for one in found] == list(range(times + 1, times + 1 - storage.VERSIONS_KEPT, -1))
