"""Limits of the feeds we know, as found in November 2026; whoever has an account may say better."""

import difflib
from datetime import date

from instrument_registry.subscriptions.capacity.model import (
    Carries,
    Certainty,
    Figure,
    FrameLimits,
    UnknownVenue,
    Venue,
)
from instrument_registry.subscriptions.planner.model import Mode

FOUND = date(2026, 11, 1)
LTP, QUOTE, FULL = Mode.LTP, Mode.QUOTE, Mode.FULL


def _stated(value: int, source: str) -> Figure:
    return Figure(value=value, source=source, as_of=FOUND)


def _reported(value: int, source: str) -> Figure:
    return Figure(value=value, source=source, as_of=FOUND, certainty=Certainty.REPORTED)


def _nobody_says(where: str) -> Figure:
    return Figure(value=None, source=where, as_of=FOUND, certainty=Certainty.UNKNOWN)


def _any(total: Figure) -> tuple[Carries, ...]:
    return (Carries(name="any", total=total),)


def _unsaid(broker: str, *, tokens: str = "", notes: str = "") -> Venue:
    """A feed of which no number is known."""
    silence = _nobody_says("no official number found")
    return Venue(
        broker=broker, tokens=tokens, connections=silence, carries=_any(silence), frame=FrameLimits(items=silence),
        notes=notes,
    )  # fmt: skip


KITE = "kite.trade forum 4340, 7069, 13821"
UPSTOX = "upstox.com developer pages, market data feed v3"
ANGEL = "smartapi.angelbroking.com forum 4391"
DHAN = "dhanhq.co docs v2, live market feed"
FYERS = "support.fyers.in, 29 August 2025"
FYERS_COUNTS = "fyers-apiv3 3.2 counts prices and depth of a symbol apart"
AGAIN = "it subscribes everything of a connection again in one message a mode"
XTS = "developers.symphonyfintech.in, market data"
BINANCE = "developers.binance.com, spot websocket streams"
BYBIT = "bybit-exchange.github.io docs v5, websocket connect"
DERIBIT = "docs.deribit.com, connection management"
ALPACA = "alpaca.markets docs, streaming market data"
COINBASE = "docs.cdp.coinbase.com, exchange websocket rate limits"
IBKR = "ibkr.info node 3292"

VENUES: dict[str, Venue] = {
    one.broker: one
    for one in (
        Venue(
            broker="kite", tokens="zerodha", connections=_stated(3, KITE), key_connections=_stated(3, KITE),
            carries=_any(_stated(3000, KITE)), counts_duplicates=True,
            frame=FrameLimits(items=_reported(3000, f"kiteconnect 5.2: {AGAIN}")),
            notes="A token twice counts twice and streams once; tokens that are none are ignored in silence. "
            "A fourth connection of a key is refused with HTTP 429.",
        ),
        Venue(
            broker="upstox", connections=_stated(2, UPSTOX),
            carries=(
                Carries(name="ltp alone", total=_stated(5000, UPSTOX), modes={LTP: _stated(5000, UPSTOX)}),
                Carries(
                    name="full alone", total=_stated(2000, UPSTOX),
                    modes={QUOTE: _stated(2000, UPSTOX), FULL: _stated(2000, UPSTOX)},
                ),
                Carries(
                    name="mixed", total=_stated(3500, UPSTOX),
                    modes={LTP: _stated(2000, UPSTOX), QUOTE: _stated(1500, UPSTOX), FULL: _stated(1500, UPSTOX)},
                ),
            ),
            frame=FrameLimits(items=_reported(5000, f"upstox-python-sdk 2.30: {AGAIN}")),
            notes="Whether the limits are of a socket or of a user is not said; they are taken as of a socket. "
            "Upstox Plus has five connections.",
        ),
        Venue(
            broker="angel", connections=_stated(3, ANGEL), carries=_any(_stated(1000, ANGEL)),
            frame=FrameLimits(items=_reported(1000, f"smartapi-python 1.5.5: {AGAIN}")),
            notes="Whether a token in two modes counts twice is not said.",
        ),
        Venue(
            broker="dhan", connections=_reported(5, DHAN), carries=_any(_stated(5000, DHAN)),
            frame=FrameLimits(items=_stated(100, DHAN)),
        ),
        Venue(
            broker="fyers", connections=_nobody_says(FYERS),
            carries=(
                Carries(
                    name="prices alone", total=_stated(5000, FYERS),
                    modes={LTP: _stated(5000, FYERS), QUOTE: _stated(5000, FYERS)},
                ),
                Carries(name="with depth", total=_reported(2500, FYERS_COUNTS)),
            ),
            key_total=_stated(5000, FYERS), frame=FrameLimits(items=_reported(1500, "fyers-apiv3 3.2")),
            notes="Unique symbols of a key; those above are refused. What is live cannot be asked for. Indices "
            "go under names that only its own table has: they cannot be had.",
        ),
        _unsaid("shoonya"),
        _unsaid("aliceblue"),
        Venue(
            broker="xts", connections=_stated(1, XTS), key_connections=_stated(1, XTS),
            carries=_any(_nobody_says(XTS)), frame=FrameLimits(items=_reported(50, XTS)),
            notes="One session of a key; each broker that runs it sets its own cap. It is subscribed to over HTTP.",
        ),
        Venue(
            broker="binance", connections=_nobody_says(BINANCE), carries=_any(_stated(1024, BINANCE)),
            frame=FrameLimits(
                items=_reported(200, BINANCE), messages_per_second=_stated(5, BINANCE),
                spacing=_reported(300, "nautilus_trader: a bucket of five a second lets nine land in one"),
            ),
            life_hours=_stated(24, BINANCE),
            notes="Pings and pongs count among the five messages; 300 attempts to connect in five minutes.",
        ),
        Venue(
            broker="bybit", connections=_nobody_says(BYBIT), carries=_any(_nobody_says(BYBIT)),
            frame=FrameLimits(items=_reported(10, BYBIT), bytes=_reported(21_000, BYBIT)),
            notes="500 attempts to connect in five minutes; ten topics a message for spot, as others say.",
        ),
        Venue(
            broker="deribit", connections=_stated(32, DERIBIT), key_connections=_stated(16, DERIBIT),
            carries=_any(_nobody_says(DERIBIT)),
            frame=FrameLimits(items=_nobody_says(DERIBIT), messages_per_second=_reported(3, DERIBIT)),
            notes="32 connections of an address, requests over HTTP among them; 16 sessions of a key.",
        ),
        Venue(
            broker="alpaca", connections=_stated(1, ALPACA), carries=_any(_stated(30, ALPACA)),
            frame=FrameLimits(items=_nobody_says(ALPACA)),
            notes="As of the free plan; one connection of an endpoint in every plan.",
        ),
        Venue(
            broker="coinbase", connections=_nobody_says(COINBASE), carries=_any(_nobody_says(COINBASE)),
            frame=FrameLimits(items=_nobody_says(COINBASE), messages_per_second=_stated(100, COINBASE)),
            notes="Eight attempts to connect and a hundred messages a second of an address.",
        ),
        Venue(
            broker="ibkr", connections=_stated(1, IBKR), carries=_any(_stated(100, IBKR)),
            account_total=_stated(100, IBKR),
            frame=FrameLimits(items=_stated(1, IBKR), messages_per_second=_stated(50, "tws-api")),
            notes="Lines are of the account and shared with its owner's screen: hold some back. A booster is a "
            "hundred more.",
        ),
    )
}  # fmt: skip
# The house of a feed is not always called as the feed is.
ALSO_CALLED = {one.tokens: one.broker for one in VENUES.values() if one.tokens}


def venue(broker: str) -> Venue:
    """The limits of a broker; Raises: UnknownVenue."""
    name = broker.strip().lower()
    found = VENUES.get(ALSO_CALLED.get(name, name))
    if found is not None:
        return found
    near = difflib.get_close_matches(name, [*VENUES, *ALSO_CALLED], n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(VENUES))}"
    raise UnknownVenue(f"There is no built-in profile of {broker[:100]!r}. {remedy}", field="broker", remedy=remedy)
