"""Profiles made, changed and deleted within their limits; everything that happens is told in the same transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from instrument_registry import events
from instrument_registry.access import service as access
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.demand.wants import DemandSource
from instrument_registry.subscriptions.profiles import conflict_storage, storage
from instrument_registry.subscriptions.profiles.admission import (
    TABLE,
    Admission,
    Asked,
    Beside,
    InstrumentProblem,
    Judged,
    Measure,
    Verdict,
    admit,
)
from instrument_registry.subscriptions.profiles.conflicts import (
    Conflict,
    ConflictKind,
    Found,
    Limit,
    LimitExceeded,
    ProfileRefused,
    found_in,
)
from instrument_registry.subscriptions.profiles.events import (
    ConflictRecorded,
    ProfileChanged,
    ProfileCreated,
    ProfileDeleted,
    Values,
    stream_of,
    stream_of_user,
)
from instrument_registry.subscriptions.profiles.model import (
    TIER_0_FROM,
    BadProfile,
    OwnLimits,
    Profile,
    ProfileChangedSince,
    ProfileNameTaken,
    Terms,
    Wanted,
)
from instrument_registry.subscriptions.rules import service as following
from instrument_registry.subscriptions.rules.model import parsed
from instrument_registry.subscriptions.rules.standing import Owner

NewId = Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A profile as somebody asks for it: all but its instruments, and these as they were looked up."""

    wanted: Wanted
    asked: tuple[Asked, ...]

    @property
    def numbers(self) -> list[int]:
        """The inner ids of what was found."""
        return [one.found.number for one in self.asked if one.found is not None]

    @property
    def whole(self) -> Wanted:
        """It with every instrument that was asked for, whatever becomes of it."""
        judged = (Judged(asked=one, verdict=Verdict.ACCEPT) for one in self.asked)
        return replace(self.wanted, items=tuple(one.item for one in judged))


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A profile as it is now, what became of each instrument, and what stood against some and is kept."""

    profile: Profile
    judged: tuple[Judged, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """By whom, when and on which terms something is written.

    `settles` lets what would have a request refused be left out; `records` keeps then, too, what stood against it.
    """

    terms: Terms
    metadata: Metadata
    at: datetime
    new_id: NewId
    settles: bool = False
    records: bool = True

    @property
    def instead(self) -> Mapping[InstrumentProblem, Verdict]:
        """What becomes of problems whatever the table says."""
        if not self.settles:
            return {}
        refused = [problem for problem, verdicts in TABLE.items() if verdicts[self.terms.strictness] is Verdict.REFUSE]
        return dict.fromkeys(refused, Verdict.DROP)


async def create(tx: Transaction, request: Request, context: Context) -> Done:
    """A new profile of what can be had, and a reference for each of its instruments.

    Raises: ProfileRefused, LimitExceeded, whose conflicts are still to be kept; ProfileNameTaken, BadProfile.
    """
    wanted, terms = request.wanted, context.terms
    wanted.check(at=context.at)
    own = await storage.hold_user(tx, wanted.user_id)
    there = await storage.situation(tx, wanted, request.numbers, at=context.at)
    _see_name_free(wanted, there.namesake)
    _see_room(there.profiles, terms.profiles_of(own), request)
    admission = _admitted(request, own, there.beside, context, profile_id=None, present=0)
    profile = Profile(
        id=context.new_id(), wanted=replace(wanted, items=admission.items), version=1, actor=context.metadata.actor,
        created_at=context.at, changed_at=context.at,
    )  # fmt: skip
    await storage.add(tx, profile, correlation_id=context.metadata.correlation_id)
    await _follow_rules(tx, None, profile, context)
    await _see_tier_0(tx, profile, request, context)
    told = ProfileCreated(
        profile=profile.id, user_id=wanted.user_id, new=told_of(profile.wanted), occurred_at=context.at
    )
    await events.append(tx, told, stream=stream_of(profile.id), metadata=context.metadata)
    return await _done(tx, profile, admission, context)


async def put(tx: Transaction, profile_id: str, request: Request, context: Context, *, version: int | None) -> Done:
    """Let a profile be another one, whole; with `version` only if nobody has changed it since.

    Raises: NoSuchProfile, ProfileChangedSince, and as `create`.
    """
    before, own = await held(tx, profile_id, version=version)
    wanted = replace(request.wanted, user_id=before.wanted.user_id)
    return await _written(tx, before, replace(request, wanted=wanted), own, context, change="replaced")


async def change(
    tx: Transaction,
    profile_id: str,
    changes: Mapping[str, object],
    context: Context,
    *,
    version: int | None,
    asked: tuple[Asked, ...] | None = None,
) -> Done:
    """Let a profile be another one in some fields; its instruments stay as they are unless others are asked for.

    Raises: NoSuchProfile, ProfileChangedSince, and as `create`.
    """
    before, own = await held(tx, profile_id, version=version)
    wanted = replace(before.wanted, **changes)  # type: ignore[arg-type]
    if asked is not None:
        request = Request(wanted=replace(wanted, items=()), asked=asked)
        return await _written(tx, before, request, own, context, change="changed")
    if wanted == before.wanted:
        return Done(profile=before)
    (wanted if "expires_at" in changes else replace(wanted, expires_at=None)).check(at=context.at)
    if wanted.name != before.wanted.name:
        there = await storage.situation(tx, wanted, (), but=profile_id, at=context.at)
        _see_name_free(wanted, there.namesake)
    limit = context.terms.instruments_of(own, wanted.type, of_profile=wanted.instruments_max)
    if wanted.counted > limit and changes.keys() & {"type", "instruments_max", "rules"}:
        raise _over(Limit.INSTRUMENTS, limit, before.wanted.counted, wanted.counted, wanted, profile_id=profile_id)
    after = before.changed(wanted, at=context.at)
    await save(tx, before, after, context, change="changed", request=Request(wanted=wanted, asked=()))
    return Done(profile=after)


async def delete(tx: Transaction, profile_id: str, *, metadata: Metadata, at: datetime, version: int | None) -> None:
    """Want nothing by a profile any more; Raises: NoSuchProfile, ProfileChangedSince."""
    before, _ = await held(tx, profile_id, version=version)
    await drop(tx, before, metadata=metadata, at=at)


async def drop(tx: Transaction, before: Profile, *, metadata: Metadata, at: datetime) -> None:
    """Let a profile that is held be gone."""
    gone = before.changed(before.wanted, at=at)
    if before.wanted.rules:
        await following.release(tx, _source(before), before.id, metadata=metadata, at=at)
    await storage.delete(tx, gone, actor=metadata.actor, correlation_id=metadata.correlation_id)
    told = ProfileDeleted(profile=before.id, user_id=before.wanted.user_id, old=told_of(before.wanted), occurred_at=at)
    await events.append(tx, told, stream=stream_of(before.id), metadata=metadata)


async def save(
    tx: Transaction, before: Profile, after: Profile, context: Context, *, change: str, request: Request
) -> None:
    """Keep a profile that is held as it is now, and tell what is another way; Raises: LimitExceeded."""
    metadata = context.metadata
    await storage.save(tx, after, change=change, actor=metadata.actor, correlation_id=metadata.correlation_id)
    await _follow_rules(tx, before, after, context)
    if before.wanted.tier > 0 or after.wanted.counted > before.wanted.counted or after.wanted.rules:
        await _see_tier_0(tx, after, request, context)
    old, new = told_of(before.wanted), told_of(after.wanted)
    differs = [name for name in new if new[name] != old[name]]
    told = ProfileChanged(
        profile=after.id, user_id=after.wanted.user_id, old={name: old[name] for name in differs},
        new={name: new[name] for name in differs}, occurred_at=context.at,
    )  # fmt: skip
    await events.append(tx, told, stream=stream_of(after.id), metadata=metadata)


async def record(
    tx: Transaction, user_id: str, met: Sequence[Found], context: Context, *, refused: Wanted | None = None
) -> tuple[Conflict, ...]:
    """Keep what stood against a request; of one that was refused, also what it asked for."""
    conflicts = []
    for found in met:
        kept = replace(found, verdict=Verdict.REFUSE) if refused is not None else found
        conflict = Conflict(
            id=context.new_id(), user_id=user_id, found=kept, request=refused, actor=context.metadata.actor,
            at=context.at,
        )  # fmt: skip
        await conflict_storage.add(tx, conflict, correlation_id=context.metadata.correlation_id)
        conflicts.append(conflict)
    if conflicts:
        told = [_told(conflict) for conflict in conflicts]
        await events.append(tx, *told, stream=stream_of_user(user_id), metadata=context.metadata)
    return tuple(conflicts)


def told_of(wanted: Wanted) -> Values:
    """What facts tell of a profile."""
    mode = wanted.mode.name.lower()
    modes = {item.id or item.asked: mode if item.mode is None else item.mode.name.lower() for item in wanted.items}
    return {
        "name": wanted.name, "type": wanted.type.value, "instruments": modes, "rules": list(wanted.rules), "mode": mode,
        "priority": wanted.priority, "copies": wanted.copies, "pinned": wanted.pinned,
        "preferences": wanted.preferences, "instruments_max": wanted.instruments_max,
        "expires_at": None if wanted.expires_at is None else wanted.expires_at.isoformat(),
    }  # fmt: skip


async def held(tx: Transaction, profile_id: str, *, version: int | None = None) -> tuple[Profile, OwnLimits]:
    """A profile whose user is held, and with that every profile of the user.

    Raises: NoSuchProfile, ProfileChangedSince.
    """
    own = await storage.hold_user(tx, (await storage.find(tx, profile_id)).wanted.user_id)
    found = await storage.find(tx, profile_id, held=True)
    if version is not None and version != found.version:
        detail = f"It is at version {found.version} by now, not {version}"
        raise ProfileChangedSince(detail, profile=profile_id, actual_version=found.version)
    return found, own


async def _written(
    tx: Transaction, before: Profile, request: Request, own: OwnLimits, context: Context, *, change: str
) -> Done:
    request.wanted.check(at=context.at)
    there = await storage.situation(tx, request.wanted, request.numbers, but=before.id, at=context.at)
    _see_name_free(request.wanted, there.namesake)
    present = before.wanted.counted
    admission = _admitted(request, own, there.beside, context, profile_id=before.id, present=present)
    after = before.changed(replace(request.wanted, items=admission.items), at=context.at)
    await save(tx, before, after, context, change=change, request=request)
    return await _done(tx, after, admission, context)


def _admitted(
    request: Request,
    own: OwnLimits,
    beside: Mapping[int, Beside],
    context: Context,
    *,
    profile_id: str | None,
    present: int,
) -> Admission:
    wanted = request.wanted
    limit = context.terms.instruments_of(own, wanted.type, of_profile=wanted.instruments_max)
    measure = Measure(
        type=wanted.type, strictness=context.terms.strictness, limit=limit, rules=len(wanted.rules), mode=wanted.mode,
        at=context.at, instead=context.instead,
    )  # fmt: skip
    admission = admit(request.asked, beside, measure)
    if len(wanted.rules) > limit:
        raise _over(Limit.INSTRUMENTS, limit, present, len(wanted.rules) + len(request.asked), request.whole,
                    profile_id=profile_id)  # fmt: skip
    if admission.refused:
        raise _refusal(admission, request, context, profile_id=profile_id, present=present)
    if not (admission.items or wanted.rules or context.settles):
        if not request.asked:
            raise BadProfile("A profile names at least one instrument or rule", field="instruments")
        raise _refusal(admission, request, context, profile_id=profile_id, present=present)
    return admission


async def _done(tx: Transaction, profile: Profile, admission: Admission, context: Context) -> Done:
    wanted = profile.wanted
    met = () if not context.records else found_in(
        admission, mode=wanted.mode, profile_id=profile.id, present=0, rules=len(wanted.rules)
    )  # fmt: skip
    conflicts = await record(tx, wanted.user_id, met, context)
    return Done(profile=profile, judged=admission.judged, conflicts=conflicts)


async def _follow_rules(tx: Transaction, before: Profile | None, after: Profile, context: Context) -> None:
    """Let a profile's rules, as they are now, bring what they bring; the rules themselves are resolved elsewhere."""
    wanted, metadata, at = after.wanted, context.metadata, context.at
    if before is not None and before.wanted.rules and (not wanted.rules or wanted.type is not before.wanted.type):
        await following.release(tx, _source(before), before.id, metadata=metadata, at=at)
    if wanted.rules:
        owner = Owner(
            source=_source(after), owner=after.id, user_id=wanted.user_id, mode=wanted.mode, priority=wanted.priority,
            copies=wanted.copies, pinned=wanted.pinned, expires_at=wanted.expires_at,
        )  # fmt: skip
        rules = parsed([msgspec.json.decode(rule) for rule in wanted.rules])
        await following.replace(tx, owner, rules, metadata=metadata, at=at)


def _source(profile: Profile) -> DemandSource:
    return DemandSource(profile.wanted.type.value)


def _see_name_free(wanted: Wanted, namesake: str | None) -> None:
    if namesake is not None:
        detail = f"{wanted.user_id} has the profile {namesake} of this name; choose another name, or change that one"
        raise ProfileNameTaken(detail, field="name", value=wanted.name, profile=namesake)


def _see_room(present: int, limit: int, request: Request) -> None:
    if present >= limit:
        raise _over(Limit.PROFILES, limit, present, 1, request.whole)


async def _see_tier_0(tx: Transaction, profile: Profile, request: Request, context: Context) -> None:
    """See that the key that made a profile wants no more in tier 0 than it may, this profile included.

    A rotated key is the same one: else each rotation would bring another share.
    """
    if profile.wanted.tier > 0:
        return
    actors = await access.same_holder(tx, profile.actor)
    await storage.hold_key(tx, actors[0])
    limit = context.terms.tier_0_per_key
    wanted, asked = await storage.tier_0_of(tx, profile, actors=actors, least=TIER_0_FROM)
    if wanted > limit:
        whole = request.whole if request.asked else profile.wanted
        changed = None if profile.version == 1 else profile.id
        raise _over(Limit.TIER_0, limit, wanted - asked, asked, whole, profile_id=changed)


OF = {
    Limit.INSTRUMENTS: "instruments in one profile",
    Limit.PROFILES: "profiles of one user",
    Limit.TIER_0: "instruments in tier 0 (priority 75 and above) by the key that made the profile",
}


def _over(
    limit: Limit, most: int, present: int, asked: int, wanted: Wanted, *, profile_id: str | None = None
) -> LimitExceeded:
    facts = {"limit": most, "present": present, "asked": asked}
    met = [Found(kind=ConflictKind.LIMIT_EXCEEDED, verdict=Verdict.REFUSE, items=(), profile_id=profile_id, limit=limit,
                 facts=facts)]  # fmt: skip
    detail = f"{most} {OF[limit]} may be, {present} are, {asked} are asked for"
    return LimitExceeded(detail, met=met, wanted=wanted, of=limit.value, limit=most, present=present, asked=asked)


def _refusal(
    admission: Admission, request: Request, context: Context, *, profile_id: str | None, present: int
) -> ProfileRefused | LimitExceeded:
    rules, mode = len(request.wanted.rules), request.wanted.mode
    met = found_in(admission, mode=mode, profile_id=profile_id, present=present, rules=rules)
    strictness, judged, whole = context.terms.strictness.value, admission.judged, request.whole
    if any(one.verdict is Verdict.REFUSE for one in admission.having(InstrumentProblem.OVER_LIMIT)):
        asked = len(admission.judged) + rules
        detail = f"{admission.limit} {OF[Limit.INSTRUMENTS]} may be, {present} are, {asked} are asked for"
        return LimitExceeded(
            detail, met=met, wanted=whole, judged=judged, of=Limit.INSTRUMENTS.value, strictness=strictness,
            limit=admission.limit, present=present, asked=asked,
        )  # fmt: skip
    wrong = [one for one in admission.judged if one.verdict is not Verdict.ACCEPT]
    first = f"{wrong[0].asked.text[:100]}: {wrong[0].problem}" if wrong else "nothing was named"
    detail = f"{len(wrong)} of {len(admission.judged)} instruments cannot be had ({first})"
    return ProfileRefused(detail, met=met, wanted=whole, judged=judged, strictness=strictness)


def _told(conflict: Conflict) -> ConflictRecorded:
    found = conflict.found
    return ConflictRecorded(
        conflict=conflict.id, user_id=conflict.user_id, kind=found.kind.value,
        verdict=conflict_storage.VERDICTS[found.verdict], profile=found.profile_id, other=found.other_id,
        instruments=[item.id or item.asked for item in found.items], facts=dict(found.facts), occurred_at=conflict.at,
    )  # fmt: skip
