"""Conflicts between a request and what stands: what they are, and what each strategy promises; no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from instrument_registry.errors import Invalid
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.profiles.admission import Admission, InstrumentProblem, Judged, Verdict
from instrument_registry.subscriptions.profiles.model import BELOW_TIER_0, Item, Wanted


class ConflictKind(StrEnum):
    """What stands against a request."""

    LIMIT_EXCEEDED = "limit_exceeded"
    DUPLICATE_SUBSCRIPTION = "duplicate_subscription"  # in another live profile of the user, of the same type
    INVALID_INSTRUMENT = "invalid_instrument"
    MODE_CONFLICT = "mode_conflict"  # a duplicate that is wanted in two modes


class ConflictStrategy(StrEnum):
    """How a conflict is settled."""

    LATEST_WINS = "latest_wins"
    MERGE = "merge"
    FAIL_ON_CONFLICT = "fail_on_conflict"


class Limit(StrEnum):
    """Which limit was exceeded."""

    INSTRUMENTS = "instruments"  # of a profile
    PROFILES = "profiles"  # of a user
    TIER_0 = "tier_0"  # of a key


# What becomes of the instruments a conflict is about; all else of a request that was refused is carried out first,
# except by fail_on_conflict, which leaves it refused.
PROMISES: Mapping[tuple[ConflictKind, ConflictStrategy], str] = {
    (
        ConflictKind.DUPLICATE_SUBSCRIPTION,
        ConflictStrategy.LATEST_WINS,
    ): "the newer profile alone has them, as it asked",
    (ConflictKind.DUPLICATE_SUBSCRIPTION, ConflictStrategy.MERGE): "both profiles have them, in the higher mode",
    (
        ConflictKind.DUPLICATE_SUBSCRIPTION,
        ConflictStrategy.FAIL_ON_CONFLICT,
    ): "the older profile alone has them, as it had",
    (ConflictKind.MODE_CONFLICT, ConflictStrategy.LATEST_WINS): "the newer profile alone has them, in its mode",
    (ConflictKind.MODE_CONFLICT, ConflictStrategy.MERGE): "both profiles have them, in the higher mode",
    (ConflictKind.MODE_CONFLICT, ConflictStrategy.FAIL_ON_CONFLICT): "the older profile alone has them, in its mode",
    (ConflictKind.LIMIT_EXCEEDED, ConflictStrategy.LATEST_WINS): "they come in, and as many that were there longest go",
    (ConflictKind.LIMIT_EXCEEDED, ConflictStrategy.MERGE): "they come in as far as there is room, and nothing goes",
    (ConflictKind.LIMIT_EXCEEDED, ConflictStrategy.FAIL_ON_CONFLICT): "they stay out, and nothing goes",
    (
        ConflictKind.INVALID_INSTRUMENT,
        ConflictStrategy.LATEST_WINS,
    ): "those that can be had by now come in, the others stay out",
    (
        ConflictKind.INVALID_INSTRUMENT,
        ConflictStrategy.MERGE,
    ): "those that can be had by now come in, the others stay out",
    (ConflictKind.INVALID_INSTRUMENT, ConflictStrategy.FAIL_ON_CONFLICT): "they stay out",
}
# The same where a limit stands against a request as a whole.
PROMISES_OF_REQUESTS: Mapping[tuple[Limit, ConflictStrategy], str] = {
    (Limit.PROFILES, ConflictStrategy.LATEST_WINS): "the profile is made, and the user's oldest one goes",
    (Limit.PROFILES, ConflictStrategy.MERGE): (
        "its instruments come into the user's newest profile of the type, in the higher mode, as far as there is room"
    ),
    (Limit.PROFILES, ConflictStrategy.FAIL_ON_CONFLICT): "the request stays refused, and nothing goes",
    (Limit.TIER_0, ConflictStrategy.LATEST_WINS): f"it is carried out with the priority {BELOW_TIER_0}, in tier 1",
    (Limit.TIER_0, ConflictStrategy.MERGE): f"it is carried out with the priority {BELOW_TIER_0}, in tier 1",
    (Limit.TIER_0, ConflictStrategy.FAIL_ON_CONFLICT): "the request stays refused, and nothing goes",
}
PROBLEMS: Mapping[ConflictKind, tuple[InstrumentProblem, ...]] = {
    ConflictKind.LIMIT_EXCEEDED: (InstrumentProblem.OVER_LIMIT,),
    ConflictKind.DUPLICATE_SUBSCRIPTION: (InstrumentProblem.DUPLICATE,),
    ConflictKind.MODE_CONFLICT: (InstrumentProblem.DUPLICATE,),
    ConflictKind.INVALID_INSTRUMENT: (
        InstrumentProblem.UNKNOWN, InstrumentProblem.UNRESOLVED_TOKEN, InstrumentProblem.INACTIVE,
        InstrumentProblem.EXPIRED, InstrumentProblem.REPEATED,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A conflict as a request meets it; it is kept with who asked and when."""

    kind: ConflictKind
    verdict: Verdict
    items: tuple[Item, ...]
    profile_id: str | None = None
    other_id: str | None = None
    limit: Limit | None = None
    facts: Mapping[str, int] = field(default_factory=dict)


class RequestRefused(Invalid):
    """A request of which nothing was taken; what stood against it is kept as conflicts."""

    def __init__(
        self, detail: str, *, met: Sequence[Found], wanted: Wanted, judged: Sequence[Judged] = (), **facts: object
    ) -> None:
        super().__init__(detail, **facts)
        self.met, self.wanted, self.judged = tuple(met), wanted, tuple(judged)


class ProfileRefused(RequestRefused):
    """See for each instrument why; send those that can be had, or settle the conflict that is named."""

    title = "The profile is refused because of its instruments"


class LimitExceeded(RequestRefused):
    """Ask for less, give something up, or have an operator raise the limit."""

    title = "The limit is exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A conflict as it is kept."""

    id: str
    user_id: str
    found: Found
    request: Wanted | None  # of one that was refused: what it asked for
    actor: str
    at: datetime
    strategy: ConflictStrategy | None = None
    outcome: str | None = None
    resolved_by: str | None = None
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the two profiles hold once a conflict is settled."""

    newer: tuple[Item, ...]
    older: tuple[Item, ...]


def promise(found: Found, strategy: ConflictStrategy) -> str:
    """What becomes of what a conflict is about by a strategy."""
    if found.limit is not None and (found.limit, strategy) in PROMISES_OF_REQUESTS:
        return PROMISES_OF_REQUESTS[found.limit, strategy]
    return PROMISES[found.kind, strategy]


def found_in(admission: Admission, *, mode: Mode, profile_id: str | None, present: int, rules: int) -> list[Found]:
    """The conflicts of a request with what stands, one for each kind and other profile; `mode` is the profile's."""
    conflicts = []
    invalid = [one for one in admission.judged if _stands_against(one, ConflictKind.INVALID_INSTRUMENT)]
    if invalid:
        conflicts.append(_found(ConflictKind.INVALID_INSTRUMENT, invalid, profile_id))
    by_other: dict[tuple[ConflictKind, str], list[Judged]] = {}
    for one in admission.judged:
        if one.beside is not None:
            wanted = mode if one.asked.mode is None else one.asked.mode
            kind = ConflictKind.DUPLICATE_SUBSCRIPTION if wanted is one.beside.mode else ConflictKind.MODE_CONFLICT
            by_other.setdefault((kind, one.beside.profile_id), []).append(one)
    conflicts += [_found(kind, judged, profile_id, other) for (kind, other), judged in by_other.items()]
    over = admission.having(InstrumentProblem.OVER_LIMIT)
    if over:
        facts = {"limit": admission.limit, "present": present, "asked": len(admission.judged) + rules}
        made = _found(ConflictKind.LIMIT_EXCEEDED, over, profile_id)
        conflicts.append(
            Found(
                kind=made.kind, verdict=made.verdict, items=made.items, profile_id=profile_id,
                limit=Limit.INSTRUMENTS, facts=facts,
            )
        )  # fmt: skip
    return conflicts


def settle(
    kind: ConflictKind,
    strategy: ConflictStrategy,
    *,
    newer: Sequence[Item],
    older: Sequence[Item],
    concerned: Sequence[Item],
    modes: tuple[Mode, Mode],
    limit: int,
) -> Settled:
    """What two profiles hold once a conflict about some instruments is settled as `PROMISES` says.

    `newer` and `older` are what they hold now, what came first in front; `modes` are those of the profiles, which an
    item without one has; `concerned` can be had. `older` is empty where no other profile is involved.
    """
    names = {item.number for item in concerned if item.number is not None}
    texts = {item.asked for item in concerned}  # what was unknown has no number
    rest = [item for item in newer if item.number not in names and not (item.number is None and item.asked in texts)]
    if kind in (ConflictKind.DUPLICATE_SUBSCRIPTION, ConflictKind.MODE_CONFLICT):
        had: dict[int | None, Item] = {item.number: item for item in older if item.number in names}
        others = [item for item in older if item.number not in names]
        if strategy is ConflictStrategy.FAIL_ON_CONFLICT:
            return Settled(newer=tuple(rest), older=tuple(older))
        if strategy is ConflictStrategy.LATEST_WINS:
            return Settled(newer=tuple(_within([*rest, *concerned], limit)), older=tuple(others))
        highest = {item.number: max(_mode(item, modes[0]), _mode(had.get(item.number), modes[1])) for item in concerned}
        both = [_as(item, highest[item.number]) for item in concerned]
        kept = [_as(item, highest[item.number]) if item.number in names else item for item in older]
        return Settled(newer=tuple([*rest, *both][:limit]), older=tuple(kept))
    if strategy is ConflictStrategy.FAIL_ON_CONFLICT:
        return Settled(newer=tuple(rest), older=tuple(older))
    if kind is ConflictKind.LIMIT_EXCEEDED and strategy is ConflictStrategy.LATEST_WINS:
        return Settled(newer=tuple(_within([*rest, *concerned], limit)), older=tuple(older))
    return Settled(newer=tuple([*rest, *concerned][:limit]), older=tuple(older))


def _within(items: list[Item], limit: int) -> list[Item]:
    """The last ones: what was there longest goes."""
    return items[max(0, len(items) - limit) :]


def _mode(item: Item | None, otherwise: Mode) -> Mode:
    return otherwise if item is None or item.mode is None else item.mode


def _as(item: Item, mode: Mode) -> Item:
    return replace(item, mode=mode)


def _stands_against(one: Judged, kind: ConflictKind) -> bool:
    """Whether something is wrong with it that is not merely noted: a polled one is as it should be."""
    return one.problem in PROBLEMS[kind] and (
        one.verdict is not Verdict.ACCEPT or one.problem is InstrumentProblem.UNKNOWN
    )


def _found(kind: ConflictKind, judged: Sequence[Judged], profile_id: str | None, other_id: str | None = None) -> Found:
    verdicts = {one.verdict for one in judged}
    worst = next(one for one in (Verdict.REFUSE, Verdict.DROP, Verdict.ACCEPT) if one in verdicts)
    return Found(
        kind=kind, verdict=worst, items=tuple(one.item for one in judged), profile_id=profile_id, other_id=other_id
    )
