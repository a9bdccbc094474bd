"""Events that are being delivered, kept for a moment: many endpoints want the same one at the same time."""

from collections import OrderedDict
from collections.abc import Iterable

from instrument_registry.database import Transaction
from instrument_registry.events import service as log
from instrument_registry.events.model import Event
from instrument_registry.events.webhooks import messages
from instrument_registry.events.webhooks.messages import Message, Told
from instrument_registry.events.webhooks.model import Delivery, Format

EVENTS_KEPT = 20_000
MESSAGES_KEPT = 5_000


class Reading:
    """The newest events and the messages made of them, within bounds."""

    def __init__(self) -> None:
        self._events: OrderedDict[int, Event] = OrderedDict()
        self._messages: OrderedDict[tuple[int, str, Format], Message] = OrderedDict()

    def keep(self, events: Iterable[Event]) -> None:
        """Remember events that have just been read."""
        for event in events:
            if event.position is not None:
                self._events[event.position] = event
        while len(self._events) > EVENTS_KEPT:
            self._events.popitem(last=False)

    async def events(self, tx: Transaction, positions: Iterable[int]) -> dict[int, Event]:
        """The events at these positions; one that is not among them is not in the log any more."""
        wanted = set(positions)
        found = {position: self._events[position] for position in wanted if position in self._events}
        missing = sorted(wanted - found.keys())
        if missing:
            read = await log.read_at(tx, missing)
            found |= {event.position: event for event in read if event.position is not None}
            self.keep(read)
        return found

    def message(self, delivery: Delivery, event: Event | None, form: Format) -> Message | None:
        """What is sent; None when the event is not in the log any more."""
        if delivery.position is None:
            return messages.message(Told.ping(delivery.event_id, delivery.created_at), form)
        if event is None:
            return None
        key = delivery.position, delivery.type, form
        made = self._messages.get(key)
        if made is None:
            made = self._messages[key] = messages.message(Told.of(event, delivery.type), form)
            if len(self._messages) > MESSAGES_KEPT:
                self._messages.popitem(last=False)
        return made
