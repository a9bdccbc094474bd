"""Conflicts settled: by a strategy, within the same limits, told like any other change."""

from collections.abc import Sequence
from dataclasses import replace

from instrument_registry import events
from instrument_registry.database import Transaction
from instrument_registry.subscriptions.profiles import conflict_storage, service, storage
from instrument_registry.subscriptions.profiles.admission import Asked, InstrumentProblem, Measure, Verdict, admit
from instrument_registry.subscriptions.profiles.conflicts import (
    Conflict,
    ConflictKind,
    ConflictStrategy,
    Limit,
    promise,
    settle,
)
from instrument_registry.subscriptions.profiles.events import ConflictResolved, stream_of_user
from instrument_registry.subscriptions.profiles.model import (
    BELOW_TIER_0,
    ConflictSettled,
    Item,
    OwnLimits,
    Profile,
    Strictness,
)
from instrument_registry.subscriptions.profiles.service import Context, Request

PROFILES_LISTED = 10_000


async def resolve(
    tx: Transaction, conflict: Conflict, strategy: ConflictStrategy, asked: Sequence[Asked], context: Context
) -> tuple[Conflict, Profile | None]:
    """Settle a conflict; the profile it was about, as it is now, if it is there.

    `asked` is what the conflict's request names, else what it is about, as that was looked up now.
    Raises: NoSuchConflict, ConflictSettled, LimitExceeded, ProfileNameTaken, NoSuchProfile.
    """
    own = await storage.hold_user(tx, conflict.user_id)
    conflict = await conflict_storage.find(tx, conflict.id, held=True)
    if conflict.strategy is not None:
        detail = f"{conflict.resolved_by} settled it by {conflict.strategy}: {conflict.outcome}"
        raise ConflictSettled(detail, conflict=conflict.id, strategy=conflict.strategy.value)
    # What is left out of a request that was refused for another reason was never recorded.
    records = conflict.request is not None and conflict.found.limit in OF_REQUESTS
    context = replace(context, settles=True, records=records)
    if conflict.request is not None and strategy is ConflictStrategy.FAIL_ON_CONFLICT:
        profile, outcome = None, promise(conflict.found, strategy)
    elif conflict.request is not None and conflict.found.limit in OF_REQUESTS:
        profile, outcome = await OF_REQUESTS[conflict.found.limit](tx, conflict, strategy, asked, own, context)
        await conflict_storage.carried_out(tx, conflict, profile_id=profile.id)
    elif conflict.request is None and not await _is_there(tx, conflict):
        profile, outcome = None, "the profile is gone, and with it what it wanted"
    else:
        profile, outcome = await _about_instruments(tx, conflict, strategy, asked, own, context)
    profile_id = conflict.found.profile_id if profile is None else profile.id
    by, at = context.metadata.actor, context.at
    await conflict_storage.resolved(tx, conflict, strategy, outcome=outcome, profile_id=profile_id, by=by, at=at)
    told = ConflictResolved(
        conflict=conflict.id, user_id=conflict.user_id, kind=conflict.found.kind.value, strategy=strategy.value,
        outcome=outcome, profile=profile_id, occurred_at=at,
    )  # fmt: skip
    await events.append(tx, told, stream=stream_of_user(conflict.user_id), metadata=context.metadata)
    return await conflict_storage.find(tx, conflict.id), profile


async def _about_instruments(
    tx: Transaction,
    conflict: Conflict,
    strategy: ConflictStrategy,
    asked: Sequence[Asked],
    own: OwnLimits,
    context: Context,
) -> tuple[Profile, str]:
    found = conflict.found
    if conflict.request is not None:
        newer = await _carried_out(tx, conflict, asked, own, context)
    else:
        assert found.profile_id is not None
        newer = await storage.find(tx, found.profile_id, held=True)
    older = None
    if found.other_id is not None:
        others = [one for one in await _profiles(tx, conflict) if one.id == found.other_id]
        older = others[0] if others else None
    limit = context.terms.instruments_of(own, newer.wanted.type, of_profile=newer.wanted.instruments_max)
    concerned = (
        found.items if strategy is ConflictStrategy.FAIL_ON_CONFLICT else _to_be_had(conflict, asked, newer, context)
    )
    settled = settle(
        found.kind, strategy, newer=newer.wanted.items, older=older.wanted.items if older else (), concerned=concerned,
        modes=(newer.wanted.mode, (older or newer).wanted.mode), limit=max(0, limit - len(newer.wanted.rules)),
    )  # fmt: skip
    if older is not None:
        await _keep(tx, older, settled.older, context)
    return await _keep(tx, newer, settled.newer, context), promise(found, strategy)


async def _carried_out(
    tx: Transaction, conflict: Conflict, asked: Sequence[Asked], own: OwnLimits, context: Context
) -> Profile:
    """The profile a refused request asked for, without anything that stood against it."""
    assert conflict.request is not None
    wanted = conflict.request
    limit = context.terms.instruments_of(own, wanted.type, of_profile=wanted.instruments_max)
    request = Request(wanted=replace(wanted, items=(), rules=wanted.rules[:limit]), asked=tuple(asked))
    if conflict.found.profile_id is None:
        done = await service.create(tx, request, context)
    else:
        done = await service.put(tx, conflict.found.profile_id, request, context, version=None)
    await conflict_storage.carried_out(tx, conflict, profile_id=done.profile.id)
    return done.profile


def _to_be_had(conflict: Conflict, asked: Sequence[Asked], newer: Profile, context: Context) -> tuple[Item, ...]:
    """Of the instruments a conflict is about those that can be had by now."""
    about = {item.asked for item in conflict.found.items}
    measure = Measure(
        type=newer.wanted.type, strictness=Strictness.MODERATE, limit=len(asked), rules=0, mode=newer.wanted.mode,
        at=context.at, instead={InstrumentProblem.INACTIVE: Verdict.DROP},
    )  # fmt: skip
    return admit([one for one in asked if one.text in about], {}, measure).items


async def _room_for_a_profile(
    tx: Transaction,
    conflict: Conflict,
    strategy: ConflictStrategy,
    asked: Sequence[Asked],
    own: OwnLimits,
    context: Context,
) -> tuple[Profile, str]:
    """The user has as many profiles as may be: the oldest go, or what is asked for goes into the newest of its type."""
    assert conflict.request is not None
    there = await _profiles(tx, conflict)
    kind = conflict.request.type
    alike = [one for one in there if one.wanted.type is kind]
    if strategy is ConflictStrategy.MERGE and alike:
        into = alike[-1]
        limit = context.terms.instruments_of(own, kind, of_profile=into.wanted.instruments_max)
        measure = Measure(
            type=kind, strictness=Strictness.MODERATE, limit=len(asked), rules=0, mode=conflict.request.mode,
            at=context.at, instead={},
        )  # fmt: skip
        mode = conflict.request.mode
        items = tuple(item if item.mode else replace(item, mode=mode) for item in admit(asked, {}, measure).items)
        had = [item for item in into.wanted.items if item.number in {one.number for one in items}]
        merged = settle(
            ConflictKind.MODE_CONFLICT, ConflictStrategy.MERGE, newer=into.wanted.items, older=had, concerned=items,
            modes=(into.wanted.mode, into.wanted.mode), limit=max(0, limit - len(into.wanted.rules)),
        )  # fmt: skip
        room = max(0, limit - len(merged.newer) - len(into.wanted.rules))
        others = [rule for rule in conflict.request.rules if rule not in into.wanted.rules]
        into_rules = (*into.wanted.rules, *others[:room])
        profile = await _keep(tx, into, merged.newer, context, rules=into_rules)
        return profile, promise(conflict.found, strategy)
    most = context.terms.profiles_of(own)
    too_many = max(0, len(there) - most + 1) if strategy is ConflictStrategy.LATEST_WINS and most > 0 else 0
    for one in there[:too_many]:
        await service.drop(tx, one, metadata=context.metadata, at=context.at)
    profile = await _carried_out(tx, conflict, asked, own, context)  # refused again where there is no room still
    return profile, promise(conflict.found, strategy) if too_many else "the profile is made: there is room by now"


async def _below_tier_0(
    tx: Transaction,
    conflict: Conflict,
    strategy: ConflictStrategy,
    asked: Sequence[Asked],
    own: OwnLimits,
    context: Context,
) -> tuple[Profile, str]:
    """The key has as much in tier 0 as may be: what is asked for is carried out in tier 1."""
    assert conflict.request is not None
    lowered = replace(conflict, request=replace(conflict.request, priority=BELOW_TIER_0))
    return await _carried_out(tx, lowered, asked, own, context), promise(conflict.found, strategy)


OF_REQUESTS = {Limit.PROFILES: _room_for_a_profile, Limit.TIER_0: _below_tier_0}


async def _profiles(tx: Transaction, conflict: Conflict) -> list[Profile]:
    """The user's profiles, the oldest first."""
    return await storage.of_user(tx, conflict.user_id, limit=PROFILES_LISTED)


async def _is_there(tx: Transaction, conflict: Conflict) -> bool:
    return any(one.id == conflict.found.profile_id for one in await _profiles(tx, conflict))


async def _keep(
    tx: Transaction, before: Profile, items: tuple[Item, ...], context: Context, *, rules: tuple[str, ...] | None = None
) -> Profile:
    wanted = replace(before.wanted, items=items, rules=before.wanted.rules if rules is None else rules)
    if wanted == before.wanted:
        return before
    after = before.changed(wanted, at=context.at)
    await service.save(tx, before, after, context, change="settled", request=Request(wanted=wanted, asked=()))
    return after
