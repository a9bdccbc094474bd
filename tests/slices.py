# ruff: noqa: E501
"""Slices of real dumps: a few underlyings of a file, small enough to ingest in half a second."""

import re
from dataclasses import replace
from datetime import date
from functools import cache

import msgspec

import dumps
from catalogues import Load
from instrument_registry.catalog.brokers.frame import Dump

MOST_ROWS = 500

# (broker, path, market date, has a header, what a row must hold to be in the slice)
_IGL = r"\bIGL(?!\w*TEX)|IGL\d\d"
_DIVIDEND = r"\bHINDPETRO"
_ALUMINIUM = r"\bNATIONALUM"
_DEMERGER = r"\bTATAMOTORS"
_CASH = r"\b(?:ELECTCAST|VISASTEEL|VISACHROME|INFIBEAM|CCAVENUE|KEL|VISDEM|TATAINVEST|GOKULAGRO|QUICKHEAL|RELIANCE|LTIM|LTM|CHOLAFIN|MOTHERSON|M&M|AMIRCHAND|AEROPLANE|MIRCELECTR|ONIDA|VIJIFIN|AUSL)\b"
CHAINS: dict[str, list[tuple[str, str, str, bool, str]]] = {
    "a bonus, trimmed chains and two exchanges": [
        ("shoonya", "shoonya/shoonya_2024-12-03_NFO.txt.gz", "2024-12-03", True, _IGL),
        ("shoonya", "shoonya/shoonya_2024-12-06_NFO.txt.gz", "2024-12-06", True, _IGL),
        ("aliceblue", "aliceblue/alice_2025-02-03_NFO.csv.gz", "2025-02-03", True, _IGL),
        ("aliceblue", "aliceblue/alice_2025-02-04_NFO.csv.gz", "2025-02-04", True, _IGL),
        ("nuvama", "nuvama/nuvama_2025-02-12_instruments.csv.gz", "2025-02-12", True, _IGL),
        ("nuvama", "nuvama/nuvama_2025-02-14_instruments.csv.gz", "2025-02-14", True, _IGL),
    ],
    "a dividend overnight, freed names listed again": [
        ("aliceblue", "aliceblue/alice_2025-02-03_NFO.csv.gz", "2025-02-03", True, _ALUMINIUM),
        ("aliceblue", "aliceblue/alice_2025-02-04_NFO.csv.gz", "2025-02-04", True, _ALUMINIUM),
        ("nuvama", "nuvama/nuvama_2025-02-12_instruments.csv.gz", "2025-02-12", True, _ALUMINIUM),
        ("nuvama", "nuvama/nuvama_2025-02-14_instruments.csv.gz", "2025-02-14", True, _ALUMINIUM),
    ],
    "a dividend between two brokers": [
        ("zerodha", "zerodha/kite_2026-08-10_NFO.csv.gz", "2026-08-10", True, _DIVIDEND),
        ("zerodha", "zerodha/kite_2026-08-17_NFO.csv.gz", "2026-08-17", True, _DIVIDEND),
        ("upstox", "upstox/upstox_2026-08-18_complete.json.gz", "2026-08-18", True, _DIVIDEND),
        ("upstox", "upstox/upstox_2026-08-20_NSE.json.gz", "2026-08-20", True, _DIVIDEND),
        ("upstox", "upstox/upstox_2026-08-21_NSE.json.gz", "2026-08-21", True, _DIVIDEND),
    ],
    "a demerger": [
        ("fyers", "fyers/fyers_2025-10-13_BSE_FO.csv.gz", "2025-10-13", False, _DEMERGER),
        ("fyers", "fyers/fyers_2025-10-14_BSE_FO.csv.gz", "2025-10-14", False, _DEMERGER),
    ],
    "shares that move, split and are renamed": [
        ("aliceblue", "aliceblue/alice_2025-07-17_NSE.csv.gz", "2025-07-17", True, _CASH),
        ("zerodha", "zerodha/kite_2025-07-22_NSE_reduced.csv.gz", "2025-07-22", True, _CASH),
        ("zerodha", "zerodha/kite_2025-07-23_NSE_reduced.csv.gz", "2025-07-23", True, _CASH),
        ("dhan", "dhan/dhan_2025-08-09_compact_cash.csv.gz", "2025-08-09", True, _CASH),
        ("fyers", "fyers/fyers_2025-10-13_NSE_CM.csv.gz", "2025-10-13", False, _CASH),
        ("fyers", "fyers/fyers_2025-10-14_NSE_CM.csv.gz", "2025-10-14", False, _CASH),
        ("nse", "nse_bse_official/nse_2026-05-17_EQUITY_L.csv.gz", "2026-05-17", True, _CASH),
        ("nse", "nse_bse_official/nse_2026-07-10_EQUITY_L.csv.gz", "2026-07-10", True, _CASH),
        ("zerodha", "zerodha/kite_2026-07-12_NSE.csv.gz", "2026-07-12", True, _CASH),
        ("zerodha", "zerodha/kite_2026-08-05_NSE.csv.gz", "2026-08-05", True, _CASH),
        ("shoonya", "shoonya/shoonya_2026-08-18_NSE.txt.gz", "2026-08-18", True, _CASH),
    ],
}


@cache
def chain(name: str) -> tuple[Load, ...]:
    """The slices of one story, in the order of their days."""
    return tuple(_slice(*one) for one in CHAINS[name])


def kept(load: Load, keep: list[bool]) -> Load:
    """A load with some of its rows: the pattern says which, over and over."""
    (dump,) = load.dumps
    if dump.content.startswith(b"["):
        rows = msgspec.json.decode(dump.content)
        content = msgspec.json.encode([row for place, row in enumerate(rows) if keep[place % len(keep)]])
    else:
        head, lines = _lines(dump)
        content = b"".join(head + [line for place, line in enumerate(lines) if keep[place % len(keep)]])
    return replace(load, dumps=(replace(dump, content=content),))


def cut(load: Load, share: float) -> Load:
    """A load whose file was cut off somewhere."""
    (dump,) = load.dumps
    return replace(load, dumps=(replace(dump, content=dump.content[: int(len(dump.content) * share)]),))


def _slice(broker: str, path: str, day: str, header: bool, pattern: str) -> Load:
    whole = dumps.dump(path)
    if whole.content.startswith(b"["):
        rows = [
            row
            for row in msgspec.json.decode(whole.content)
            if row["segment"] in ("NSE_FO", "NSE_EQ") and re.search(pattern, row["trading_symbol"])
        ]
        content = msgspec.json.encode(rows[:MOST_ROWS])
    else:
        lines = whole.content.splitlines(keepends=True)
        wanted = re.compile(pattern.encode())
        content = b"".join(lines[:header] + [line for line in lines[header:] if wanted.search(line)][:MOST_ROWS])
    dump = Dump(name=whole.name, content=content)
    return Load(broker=broker, day=date.fromisoformat(day), dumps=(dump,), allow_older=True)


def _lines(dump: Dump) -> tuple[list[bytes], list[bytes]]:
    lines = dump.content.splitlines(keepends=True)
    header = not dump.name.startswith("fyers")
    return lines[:header], lines[header:]
