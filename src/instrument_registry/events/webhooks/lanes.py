"""What one process knows of each endpoint while it sends: what lies ready, what is under way, how it has been going."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf

from instrument_registry.events.webhooks.messages import Message
from instrument_registry.events.webhooks.model import Delivery, Endpoint, Plan
from instrument_registry.events.webhooks.signing import Key

READY_MAX = 100  # read ahead for one endpoint


@dataclass(slots=True, kw_only=True)
class Lane:
    """One endpoint's own queue: nothing that happens in it slows another one."""

    endpoint: Endpoint
    keys: Sequence[tuple[Key, datetime | None]]  # and when each ends; without one that opens nothing is sent
    ready: deque[tuple[Delivery, Message]] = field(default_factory=deque)
    under_way: int = 0
    failures: int = 0  # since its last success
    shut_until: float = 0.0  # by the loop's clock
    more: bool = True  # may lie in the table

    def signs_with(self, now: datetime) -> list[Key]:
        """The keys in force, the newest first."""
        return [key for key, expires_at in self.keys if expires_at is None or expires_at > now]

    def width(self) -> int:
        """How many requests may be under way: half as many with each failure, all again once one has been taken."""
        return max(1, self.endpoint.wanted.concurrency >> min(self.failures, 5))

    def may_send(self, now: float) -> bool:
        """Whether the next one may go out."""
        return bool(self.ready and self.keys) and self.under_way < self.width() and now >= self.shut_until

    def room(self, now: float) -> int:
        """How many more are worth reading; none until half of what was read has gone."""
        if not self.more or not self.keys or now < self.shut_until:
            return 0
        return self._worth_reading() - len(self.ready) if self.runs_dry() else 0

    def runs_dry(self) -> bool:
        """Whether half of what was read has gone."""
        return len(self.ready) <= self._worth_reading() // 2

    def took(self) -> None:
        """The endpoint has taken something: it is well."""
        self.failures, self.shut_until = 0, 0.0

    def failed(self, plan: Plan, *, now: float, asked_seconds: float | None) -> None:
        """The endpoint has not taken something: the more often, the longer it is left alone."""
        self.failures += 1
        pause = max(plan.pause_seconds(self.failures), asked_seconds or 0.0)
        if pause:
            self.shut_until = max(self.shut_until, now + pause)

    def gone(self) -> None:
        """The endpoint has said that it is no more: nothing goes out until it is resumed, in another lane."""
        self.shut_until = inf

    def _worth_reading(self) -> int:
        return 1 if self.shut_until else READY_MAX
