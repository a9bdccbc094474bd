"""Our frames are what brokers' own programs, as they are published, send for the same: captured on this machine."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from instrument_registry.subscriptions.frames import CODECS, Act, Frame, Operation, fyers, ordered
from instrument_registry.subscriptions.planner import Mode
from outside.sdks import Call, said

GUID = re.compile(rb'"guid": "[0-9a-f-]{36}"')
FYERS_TOKEN_CHARACTERS = len("e30.eyJleHAiOjQxMDI0NDQ4MDAsImhzbV9rZXkiOiJrZXkifQ.x")


def added(token: str, segment: str, mode: Mode) -> Operation:
    return Operation(act=Act.ADD, token=token, segment=segment, mode=mode)


def removed(token: str, segment: str, mode: Mode) -> Operation:
    return Operation(act=Act.REMOVE, token=token, segment=segment, mode=mode, before=mode)


def changed(token: str, segment: str, mode: Mode, *, before: Mode) -> Operation:
    return Operation(act=Act.MODE, token=token, segment=segment, mode=mode, before=before)


def frames(broker: str, *steps: Sequence[Operation]) -> list[Frame]:
    """Our frames for some steps, one after the other."""
    return [frame for step in steps for frame in CODECS[broker](ordered(step), 3000)]


def sent(some: Sequence[Frame]) -> list[tuple[bool, bytes]]:
    return [(one.binary, one.payload) for one in some]


async def test_kite_byte_for_byte(tmp_path: Path) -> None:
    ours = frames(
        "kite",
        [added("738561", "NSE", Mode.QUOTE), added("884737", "NSE", Mode.FULL), added("408065", "NSE", Mode.LTP)],
        [changed("408065", "NSE", Mode.FULL, before=Mode.LTP), removed("738561", "NSE", Mode.QUOTE)],
    )
    theirs = await said(
        "kite",
        [
            ("subscribe", [408065, 738561, 884737]), ("set_mode", "ltp", [408065]), ("set_mode", "full", [884737]),
            ("unsubscribe", [738561]), ("set_mode", "full", [408065]),
        ],
        count=len(ours), folder=tmp_path,
    )  # fmt: skip

    assert [payload for _, payload in theirs] == [one.payload for one in ours]


async def test_upstox_byte_for_byte_but_for_the_name_of_a_message(tmp_path: Path) -> None:
    ours = frames(
        "upstox",
        [added("INE002A01018", "NSE_EQ", Mode.LTP), added("47005", "NSE_FO", Mode.LTP)],
        [changed("47005", "NSE_FO", Mode.FULL, before=Mode.LTP)],
        [removed("INE002A01018", "NSE_EQ", Mode.LTP)],
    )
    keys = ["NSE_EQ|INE002A01018", "NSE_FO|47005"]
    theirs = await said(
        "upstox",
        [("subscribe", keys, "ltpc"), ("change_mode", keys[1:], "full"), ("unsubscribe", keys[:1])],
        count=len(ours), folder=tmp_path,
    )  # fmt: skip

    assert all(GUID.search(payload) for _, payload in theirs)
    assert [(binary, GUID.sub(b"", one)) for binary, one in theirs] == [
        (binary, GUID.sub(b"", one)) for binary, one in sent(ours)
    ]


async def test_angel_byte_for_byte(tmp_path: Path) -> None:
    ours = frames(
        "angel",
        [added("2885", "nse_cm", Mode.LTP), added("47005", "nse_fo", Mode.LTP), added("1594", "nse_cm", Mode.FULL)],
        [changed("2885", "nse_cm", Mode.QUOTE, before=Mode.LTP)],
    )
    calls: list[Call] = []
    for frame in ours:
        asked = json.loads(frame.payload)
        name = "subscribe" if asked["action"] else "unsubscribe"
        calls.append((name, asked["correlationID"], asked["params"]["mode"], asked["params"]["tokenList"]))
    theirs = await said("angel", calls, count=len(ours), folder=tmp_path)
    both = [{"exchangeType": 1, "tokens": ["2885"]}, {"exchangeType": 2, "tokens": ["47005"]}]

    assert theirs == sent(ours)
    assert [call[0] for call in calls] == ["subscribe", "subscribe", "unsubscribe", "subscribe"]
    assert calls[0][2:] == (1, both)
    assert calls[1][2:] == (3, [{"exchangeType": 1, "tokens": ["1594"]}])


async def test_dhan_as_json(tmp_path: Path) -> None:
    """Its program brings instruments into an order of its own, which is another each time."""
    many = [added(str(token), "NSE_EQ", Mode.QUOTE) for token in range(1, 151)]
    ours = frames(
        "dhan", many, [changed("2885", "NSE_FNO", Mode.FULL, before=Mode.LTP)], [removed("7", "BSE_EQ", Mode.FULL)]
    )
    theirs = await said(
        "dhan",
        [
            ("subscribe_symbols", [(1, one.token, 17) for one in many]), ("unsubscribe_symbols", [(2, "2885", 15)]),
            ("subscribe_symbols", [(2, "2885", 21)]), ("unsubscribe_symbols", [(4, "7", 21)]),
        ],
        count=len(ours), folder=tmp_path,
    )  # fmt: skip

    def told(messages: Sequence[tuple[bool, bytes]]) -> tuple[list[object], set[str]]:
        read = [(binary, json.loads(payload)) for binary, payload in messages]
        heads = [(binary, list(one), one["RequestCode"], one["InstrumentCount"]) for binary, one in read]
        return heads, {json.dumps(each) for _, one in read for each in one["InstrumentList"]}

    assert [len(json.loads(one.payload)["InstrumentList"]) for one in ours] == [100, 50, 1, 1, 1]
    assert told(theirs) == told(sent(ours))


async def test_fyers_byte_for_byte(tmp_path: Path) -> None:
    """Its own names for symbols are asked for over HTTP: here the tokens of its own file are the answer."""
    one, two = "101000000090001", "101126082590002"
    tokens = {"NSE:TEA-EQ": one, "NSE:NIFTY26AUGFUT": two}
    ours = frames(
        "fyers",
        [added(one, "NSE_CM", Mode.LTP), added(two, "NSE_FO", Mode.QUOTE)],
        [removed(one, "NSE_CM", Mode.LTP)],
        [changed(two, "NSE_FO", Mode.FULL, before=Mode.QUOTE)],
        [changed(two, "NSE_FO", Mode.QUOTE, before=Mode.FULL)],
    )
    tea, future = tokens
    theirs = await said(
        "fyers",
        [
            ("subscribe", [tea, future], "SymbolUpdate"), ("unsubscribe", [tea], "SymbolUpdate"),
            ("subscribe", [future], "DepthUpdate"), ("unsubscribe", [future], "DepthUpdate"),
        ],
        count=len(ours), folder=tmp_path, beside=tokens, kinds=frozenset({4, 5}),
    )  # fmt: skip

    assert theirs == sent([fyers.with_token(each, characters=FYERS_TOKEN_CHARACTERS) for each in ours])
