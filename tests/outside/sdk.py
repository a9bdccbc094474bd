"""Has a broker's own program say what it would send: `python sdk.py BROKER FOLDER URL < calls`; run by `sdks.py`.

The program is as it is published. It is told another address for its socket, and nothing it does leaves this machine:
what it would ask over HTTP is answered here, and connecting anywhere but to the loopback fails. Calls are lines of
JSON: name, then arguments; each is answered by a line once it has been made.
"""

import functools
import importlib.util
import json
import logging
import socket
import sys
import threading
import time
import types
from pathlib import Path

BROKER, FOLDER, URL = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
WITHIN_SECONDS = 20.0


def only_here() -> None:
    """Let nobody connect to another machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise PermissionError(f"{address} is not on this machine")
        connect(self, address)

    socket.socket.connect = guarded


def module(name: str, path: str) -> types.ModuleType:
    """One file of a package, without what the package does when it is imported."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def until(ready: object) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(BROKER)
        time.sleep(0.01)


def opened() -> object:
    """A plain socket of the library that three of them use."""
    import websocket

    there = websocket.WebSocketApp(URL)
    threading.Thread(target=there.run_forever, daemon=True).start()
    until(lambda: there.sock is not None and there.sock.connected)
    return there


def kite() -> object:
    from kiteconnect import KiteTicker

    ticker = KiteTicker("key", "token", root=URL)
    ticker.connect(threaded=True)
    until(ticker.is_connected)
    return ticker


def upstox() -> object:
    for name in ("upstox_client", "upstox_client.feeder"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(FOLDER / name.replace(".", "/"))]
    from upstox_client.feeder.market_data_feeder_v3 import MarketDataFeederV3

    feeder = MarketDataFeederV3()
    feeder.ws = opened()
    return feeder


def angel() -> object:
    kind = module("smart_socket", "SmartApi/smartWebSocketV2.py").SmartWebSocketV2
    kind.ROOT_URI, kind.on_open = URL, lambda *_: None
    feed = kind("token", "key", "client", "feed")
    threading.Thread(target=feed.connect, daemon=True).start()
    until(lambda: feed.wsapp is not None and feed.wsapp.sock is not None and feed.wsapp.sock.connected)
    return feed


def dhan() -> object:
    kind = module("dhan_feed", "dhanhq/marketfeed.py").MarketFeed
    kind.market_feed_wss = URL
    context = types.SimpleNamespace(get_client_id=lambda: "client", get_access_token=lambda: "token")
    feed = kind(context, [])
    started = threading.Event()
    feed.on_connect = lambda _: started.set()
    feed.start()
    until(started.is_set)
    return feed


def fyers() -> object:
    from fyers_apiv3.FyersWebsocket import data_ws

    class Answer:
        def __init__(self, said: object) -> None:
            self._said = said

        def raise_for_status(self) -> None:
            """It is a good one."""

        def json(self) -> object:
            return self._said

    tokens = json.loads(sys.stdin.readline())
    asked = types.SimpleNamespace(
        post=lambda **_: Answer({"s": "ok", "validSymbol": _wanted(tokens, _["json"]), "invalidSymbol": []}),
        get=lambda *_, **__: Answer({}),
    )
    data_ws.requests = asked
    data_ws.print = lambda *_: None
    token = ".".join(["e30", "eyJleHAiOjQxMDI0NDQ4MDAsImhzbV9rZXkiOiJrZXkifQ", "x"])  # ends in 2100, its key is `key`
    feed = data_ws.FyersDataSocket(access_token=token, reconnect=False)
    feed._FyersDataSocket__url = URL
    feed.connect()
    return feed


def _wanted(tokens: dict, asked: dict) -> dict:
    return {symbol: tokens[symbol] for symbol in asked["symbols"]}


def main() -> None:
    only_here()
    sys.path.insert(0, str(FOLDER))
    logging.disable(logging.CRITICAL)
    feed = {"kite": kite, "upstox": upstox, "angel": angel, "dhan": dhan, "fyers": fyers}[BROKER]()
    print("ready", flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        if BROKER == "dhan":  # its instruments are pairs
            arguments = [[tuple(one) for one in arguments[0]]]
        call = functools.partial(getattr(feed, name), *arguments)
        if BROKER == "kite":  # everything of it belongs to one thread
            from twisted.internet import reactor, threads

            threads.blockingCallFromThread(reactor, call)
        else:
            call()
        print("said", flush=True)


main()
