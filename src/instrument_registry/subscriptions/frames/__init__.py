"""Frames of brokers' sockets: one file a broker, one row here."""

from instrument_registry.subscriptions.frames import angel, binance, dhan, fyers, kite, upstox
from instrument_registry.subscriptions.frames.model import Act, Codec, Frame, Operation, ordered

CODECS: dict[str, Codec] = {
    "angel": angel.frames,
    "binance": binance.frames,
    "dhan": dhan.frames,
    "fyers": fyers.frames,
    "kite": kite.frames,
    "upstox": upstox.frames,
}

__all__ = ["CODECS", "Act", "Codec", "Frame", "Operation", "ordered"]
