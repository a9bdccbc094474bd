"""What a supposed plan would do to what is live, in numbers and by name."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from instrument_registry.subscriptions.planner.model import NOWHERE
from instrument_registry.subscriptions.plans import summary, telling
from instrument_registry.subscriptions.plans.planning import Supposed

DROPPED_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A supposed plan: what it comes to, how many steps of which kind by account, and who would be dropped."""

    summary: dict[str, Any]
    steps: dict[str, dict[str, int]]
    dropped: list[dict[str, Any]]
    dropped_count: int


def told(found: Supposed) -> Told:
    """What would become of what is live."""
    content = found.content
    places = np.flatnonzero((content.at == NOWHERE) & ~content.lingers).tolist()
    return Told(
        summary=summary.summed(found.asked, found.plan),
        steps={} if found.before is None else telling.difference(found.before, content)["accounts"],
        dropped=telling.dropped(content, places[:DROPPED_MAX]),
        dropped_count=len(places),
    )
