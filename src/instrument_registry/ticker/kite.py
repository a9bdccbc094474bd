"""One connection to Kite, in a process of its own: drives the unmodified `KiteTicker`.

    python -m instrument_registry.ticker.kite

reads a `Start`, then an `Order` a line, from standard input, and writes what it has `Said` a line. It ends with its
input.
`KiteTicker` knows what it is subscribed to and asks for it again by itself whenever its socket is back.
"""

import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from kiteconnect import KiteTicker

from instrument_registry import clock
from instrument_registry.ticker.protocol import Order, Said, Start, Token, digest_of

BEAT_SECONDS = 1.0
RECONNECTS_MAX, RECONNECT_SECONDS_MAX = 300, 5
BEGINS_AS = "quote"  # whoever is subscribed
METHODS = {"subscribe": "subscribe", "unsubscribe": "unsubscribe"}


class Connection:
    """What is to be carried, and the ticker that carries it once its socket has been open."""

    def __init__(self, ticker: "KiteTicker") -> None:
        self.ticker = ticker
        self.segments: dict[int, str] = {}
        self.waiting: list[Order] = []
        self.wanted: dict[Token, str] = {}
        self.opened = False  # it has been open
        self.live = False  # it is, as far as was told: `is_connected` says yes of a socket that was refused anew
        self.ticks: dict[str, tuple[float, float]] = {}

    def order(self, order: Order) -> None:
        """Take an order; one that comes before the socket was ever open is carried out then."""
        if order.act == "snapshot":
            self.wanted, self.waiting = {}, []
        for segment, token, mode in order.items:
            if order.act == "remove":
                self.wanted.pop((segment, token), None)
            else:
                self.wanted[segment, token] = mode
                self.segments[int(token)] = segment
        if self.opened:
            self._carry_out(order)
        else:
            self.waiting.append(order)
        say(Said(number=order.number, digest=digest_of(self.carried())))

    def open(self) -> None:
        """The socket is open, for the first time or again."""
        self.opened = self.live = True
        while self.waiting:
            self._carry_out(self.waiting.pop(0))

    def carried(self) -> dict[Token, str]:
        """What the ticker is subscribed to; before its socket was ever open, what it will be."""
        if not self.opened:
            return self.wanted
        return {
            (self.segments.get(number, ""), str(number)): mode for number, mode in self.ticker.subscribed_tokens.items()
        }

    def heard(self, ticks: list[dict[str, Any]]) -> None:
        """Prices came."""
        at = clock.now().timestamp()
        for tick in ticks:
            self.ticks[str(tick["instrument_token"])] = (at, tick["last_price"])

    def _carry_out(self, order: Order) -> None:
        if order.act == "snapshot" and self.ticker.subscribed_tokens:
            self._become({int(token): mode for _, token, mode in order.items}, most=_most(order))
            return
        for text in order.frames:
            frame = json.loads(text)
            if frame["a"] == "mode":
                self.ticker.set_mode(*frame["v"])
            else:
                getattr(self.ticker, METHODS[frame["a"]])(frame["v"])

    def _become(self, wanted: dict[int, str], *, most: int) -> None:
        """Leave what is not in a snapshot, join what is: what is right already is left alone."""
        there = dict(self.ticker.subscribed_tokens)
        for piece in _cut([one for one in there if one not in wanted], most):
            self.ticker.unsubscribe(piece)
        new = [one for one in wanted if one not in there]
        for piece in _cut(new, most):
            self.ticker.subscribe(piece)
        for mode in ("ltp", "quote", "full"):
            other = [one for one in wanted if wanted[one] == mode and there.get(one, BEGINS_AS) != mode]
            for piece in _cut(other, most):
                self.ticker.set_mode(mode, piece)


def say(said: Said) -> None:
    """One line to whoever started this process."""
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Hold one connection until the input ends."""
    from kiteconnect import KiteTicker
    from twisted.internet import reactor as one_reactor
    from twisted.internet import task

    reactor: Any = one_reactor
    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=Start)
    ticker = KiteTicker(
        start.api_key, start.access_token, root=start.feed, reconnect_max_tries=RECONNECTS_MAX,
        reconnect_max_delay=RECONNECT_SECONDS_MAX,
    )  # fmt: skip
    held = Connection(ticker)

    def beat() -> None:
        ticks, held.ticks = held.ticks, {}
        say(Said(open=held.live and ticker.is_connected(), ticks=ticks))

    def listen() -> None:
        for line in sys.stdin.buffer:
            reactor.callFromThread(held.order, msgspec.json.decode(line, type=Order))
        reactor.callFromThread(reactor.stop)

    def opened(_: object) -> None:
        held.open()
        beat()

    def closed(_: object, code: object, reason: object) -> None:
        held.live = False
        say(Said(open=False, problem=f"{code}: {reason}"))

    ticker.on_open, ticker.on_close = opened, closed
    ticker.on_noreconnect = lambda _: reactor.stop()
    ticker.on_ticks = lambda _, ticks: held.heard(ticks)
    task.LoopingCall(beat).start(BEAT_SECONDS, now=False)
    threading.Thread(target=listen, daemon=True).start()
    ticker.connect()


def _most(order: Order) -> int:
    """How many instruments a message of this broker may name: as many as the longest that the registry made."""
    counts = [len(frame["v"][1] if frame["a"] == "mode" else frame["v"]) for frame in map(json.loads, order.frames)]
    return max(counts, default=1)


def _cut(tokens: list[int], most: int) -> list[list[int]]:
    return [tokens[start : start + most] for start in range(0, len(tokens), most)]


if __name__ == "__main__":
    main()
