"""What becomes of instruments that cannot be had as they were asked for: a table, and its application to a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from instrument_registry.catalog.model import Status
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.profiles.model import Item, ProfileType, Standing, Strictness


class InstrumentProblem(StrEnum):
    """What may be wrong with an instrument of a request."""

    UNKNOWN = "unknown"  # nothing is meant by it, or several instruments are
    UNRESOLVED_TOKEN = "unresolved_token"  # noqa: S105 - no broker has a live token for it
    INACTIVE = "inactive"  # suspended, delisted or removed
    EXPIRED = "expired"
    NOT_STREAMABLE = "not_streamable"  # bonds and funds: asked for now and then
    REPEATED = "repeated"  # the request names it twice
    DUPLICATE = "duplicate"  # another live profile of the user has it for the same type
    OVER_LIMIT = "over_limit"


class Verdict(StrEnum):
    """What becomes of it: it is taken, left out, or nothing of the request is taken."""

    ACCEPT = "accept"
    DROP = "drop"
    REFUSE = "refuse"


# A duplicate is taken where nobody is strict: references are counted, and who drops one loses the instrument when the
# other profile goes. A limit always holds: lenient fills up to it, the others take nothing.
TABLE: Mapping[InstrumentProblem, Mapping[Strictness, Verdict]] = {
    problem: dict(zip(Strictness, verdicts, strict=True))
    for problem, verdicts in {
        InstrumentProblem.UNKNOWN: (Verdict.ACCEPT, Verdict.DROP, Verdict.REFUSE),
        InstrumentProblem.UNRESOLVED_TOKEN: (Verdict.ACCEPT, Verdict.DROP, Verdict.REFUSE),
        InstrumentProblem.INACTIVE: (Verdict.ACCEPT, Verdict.ACCEPT, Verdict.REFUSE),
        InstrumentProblem.EXPIRED: (Verdict.DROP, Verdict.DROP, Verdict.REFUSE),
        InstrumentProblem.NOT_STREAMABLE: (Verdict.ACCEPT, Verdict.ACCEPT, Verdict.ACCEPT),
        InstrumentProblem.REPEATED: (Verdict.DROP, Verdict.DROP, Verdict.REFUSE),
        InstrumentProblem.DUPLICATE: (Verdict.ACCEPT, Verdict.ACCEPT, Verdict.REFUSE),
        InstrumentProblem.OVER_LIMIT: (Verdict.DROP, Verdict.REFUSE, Verdict.REFUSE),
    }.items()
}
ENDED = frozenset({Status.EXPIRED, Status.CLOSED_EARLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an identifier means now, as far as admission needs it."""

    number: int
    id: str
    key: str
    status: Status
    streamable: bool
    has_token: bool
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One instrument of a request, and what was found for it: nothing, one, or keys between which one must choose."""

    text: str
    mode: Mode | None = None
    pinned: bool | None = None
    found: Found | None = None
    nearest: tuple[str, ...] = ()
    why: str | None = None  # it means nothing, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Another live profile of the user that has an instrument for the same type."""

    profile_id: str
    mode: Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of one instrument of a request; `problem` is there whenever something was wrong."""

    asked: Asked
    verdict: Verdict
    standing: Standing | None = None  # of one that is taken
    problem: InstrumentProblem | None = None
    why: str | None = None
    beside: Beside | None = None

    @property
    def item(self) -> Item:
        """It as a part of the profile."""
        asked, found = self.asked, self.asked.found
        return Item(
            asked=asked.text, number=found.number if found else None, id=found.id if found else None,
            key=found.key if found else None, standing=self.standing or Standing.ACCEPTED, mode=asked.mode,
            pinned=asked.pinned, ends_at=found.ends_at if found else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A whole request as it was judged."""

    judged: tuple[Judged, ...]
    limit: int

    @property
    def items(self) -> tuple[Item, ...]:
        """What is taken, in the order in which it was asked for."""
        return tuple(one.item for one in self.judged if one.verdict is Verdict.ACCEPT)

    @property
    def refused(self) -> bool:
        """Whether nothing is taken."""
        return any(one.verdict is Verdict.REFUSE for one in self.judged)

    def having(self, *problems: InstrumentProblem) -> list[Judged]:
        """The instruments with one of these problems."""
        return [one for one in self.judged if one.problem in problems]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """By what a request is judged: for which type, how strictly, how many it may have and how many rules it has.

    `instead` is what becomes of some problems whatever the table says: whoever settles a conflict decides it.
    """

    type: ProfileType
    strictness: Strictness
    limit: int
    rules: int
    mode: Mode
    at: datetime
    instead: Mapping[InstrumentProblem, Verdict]


def admit(asked: Sequence[Asked], beside: Mapping[int, Beside], measure: Measure) -> Admission:
    """Judge each instrument of a request by the first thing that is wrong with it and not merely noted.

    `beside` says by inner id which other live profile of the user has it.
    """
    judged: list[Judged] = []
    seen: set[int | str] = set()
    taken = measure.rules
    for one in asked:
        verdict = _judged(one, beside, measure, seen=seen)
        if verdict.verdict is Verdict.ACCEPT and taken >= measure.limit:
            why = f"{measure.limit} instruments are taken already; that is the limit"
            verdict = Judged(
                asked=one,
                problem=InstrumentProblem.OVER_LIMIT,
                verdict=_table(InstrumentProblem.OVER_LIMIT, measure),
                why=why,
            )
        taken += verdict.verdict is Verdict.ACCEPT
        judged.append(verdict)
    return Admission(judged=tuple(judged), limit=measure.limit)


def _judged(asked: Asked, beside: Mapping[int, Beside], measure: Measure, *, seen: set[int | str]) -> Judged:
    kept = Judged(asked=asked, verdict=Verdict.ACCEPT, standing=Standing.ACCEPTED)
    found = asked.found
    name = found.number if found else asked.text.strip().upper()
    if name in seen:
        return _by_table(kept, InstrumentProblem.REPEATED, "It is named before", measure)
    seen.add(name)
    if found is None:
        return replace(
            _by_table(kept, InstrumentProblem.UNKNOWN, asked.why or "Nothing is meant by it", measure),
            standing=Standing.UNRESOLVED,
        )
    for problem, why in _of_itself(found, measure):
        kept = _by_table(kept, problem, why, measure)
        if problem is InstrumentProblem.NOT_STREAMABLE:
            kept = replace(kept, standing=Standing.POLLED)
        if kept.verdict is not Verdict.ACCEPT:
            return kept
    other = beside.get(found.number)
    if other is not None:
        why = f"The profile {other.profile_id} has it already, as {other.mode.name.lower()}"
        second = replace(_by_table(kept, InstrumentProblem.DUPLICATE, why, measure), beside=other)
        # What is noted of itself stays noted; that it is a duplicate is told beside.
        kept = second if kept.problem is None or second.verdict is not Verdict.ACCEPT else replace(kept, beside=other)
    return kept


def _of_itself(found: Found, measure: Measure) -> list[tuple[InstrumentProblem, str]]:
    if measure.type is ProfileType.HISTORICAL:
        return []
    problems = []
    if found.status in ENDED or (found.ends_at is not None and found.ends_at <= measure.at):
        ended = f" at {found.ends_at.isoformat()}" if found.ends_at else ""
        problems.append((InstrumentProblem.EXPIRED, f"{found.key} ended{ended}"))
    elif found.status is not Status.ACTIVE:
        problems.append((InstrumentProblem.INACTIVE, f"{found.key} is {found.status.value}"))
    if not found.streamable:
        problems.append((InstrumentProblem.NOT_STREAMABLE, f"No broker streams {found.key}: it is polled"))
    elif not found.has_token and not problems:
        problems.append((InstrumentProblem.UNRESOLVED_TOKEN, f"No broker has a live token for {found.key}"))
    return problems


def _by_table(kept: Judged, problem: InstrumentProblem, why: str, measure: Measure) -> Judged:
    return replace(kept, problem=problem, why=why, verdict=_table(problem, measure))


def _table(problem: InstrumentProblem, measure: Measure) -> Verdict:
    return measure.instead.get(problem, TABLE[problem][measure.strictness])
