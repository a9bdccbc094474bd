"""Frames: what brokers' own programs send for the same, in a safe order, no more than a frame may hold."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from instrument_registry.subscriptions.frames import CODECS, Act, Frame, Operation, ordered
from instrument_registry.subscriptions.frames.fyers import NoFyersToken
from instrument_registry.subscriptions.planner import Mode

EQUITY = {"kite": "NSE", "upstox": "NSE_EQ", "angel": "nse_cm", "dhan": "NSE_EQ", "fyers": "NSE_CM", "binance": "SPOT"}
OPTIONS = {
    "kite": "NFO",
    "upstox": "NSE_FO",
    "angel": "nse_fo",
    "dhan": "NSE_FNO",
    "fyers": "NSE_FO",
    "binance": "SPOT",
}


def added(token: str, segment: str, mode: Mode) -> Operation:
    return Operation(act=Act.ADD, token=token, segment=segment, mode=mode)


def removed(token: str, segment: str, mode: Mode) -> Operation:
    return Operation(act=Act.REMOVE, token=token, segment=segment, mode=mode, before=mode)


def changed(token: str, segment: str, mode: Mode, *, before: Mode) -> Operation:
    return Operation(act=Act.MODE, token=token, segment=segment, mode=mode, before=before)


def sent(broker: str, operations: Sequence[Operation], items_max: int = 3000) -> list[Frame]:
    return list(CODECS[broker](ordered(operations), items_max))


def spoken(broker: str, operations: Sequence[Operation]) -> list[dict]:
    """Frames as JSON, without the names that programs choose as they like."""
    frames = [json.loads(frame.payload) for frame in sent(broker, operations)]
    return [{name: value for name, value in one.items() if name not in ("guid", "correlationID")} for one in frames]


class Heard:
    """In the place of a socket: keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def sendMessage(self, message: bytes) -> None:  # noqa: N802
        self.messages.append(message)


class TestKite:
    def test_frames_are_those_of_its_own_ticker_byte_for_byte(self) -> None:
        ticker, heard = KiteTicker("key", "token"), Heard()
        ticker.ws = heard
        ticker.unsubscribe([408065])
        ticker.subscribe([738561, 884737])
        ticker.set_mode(ticker.MODE_FULL, [884737])
        ours = sent(
            "kite",
            [
                added("884737", "NSE", Mode.FULL), added("738561", "NSE", Mode.QUOTE),
                removed("408065", "NSE", Mode.LTP),
            ],
        )  # fmt: skip

        assert [one.payload for one in ours] == heard.messages

    def test_another_mode_is_one_frame(self) -> None:
        assert len(sent("kite", [changed("738561", "NSE", Mode.FULL, before=Mode.LTP)])) == 1


class TestTheOthers:
    """As the packages upstox-python-sdk 2.30, smartapi-python 1.5.5 and dhanhq 2.3 were heard to say it."""

    def test_upstox(self) -> None:
        ours = spoken("upstox", [added("INE002A01018", "NSE_EQ", Mode.LTP), added("47005", "NSE_FO", Mode.LTP)])
        more = spoken("upstox", [changed("47005", "NSE_FO", Mode.FULL, before=Mode.LTP)])
        gone = spoken("upstox", [removed("INE002A01018", "NSE_EQ", Mode.LTP)])

        keys = ["NSE_EQ|INE002A01018", "NSE_FO|47005"]
        assert ours == [{"method": "sub", "data": {"instrumentKeys": keys, "mode": "ltpc"}}]
        assert more == [{"method": "change_mode", "data": {"instrumentKeys": keys[1:], "mode": "full"}}]
        assert gone == [{"method": "unsub", "data": {"instrumentKeys": keys[:1]}}]
        assert all(frame.binary for frame in sent("upstox", [added("1", "NSE_EQ", Mode.LTP)]))

    def test_upstox_has_no_quote_apart_from_full(self) -> None:
        assert spoken("upstox", [changed("47005", "NSE_FO", Mode.FULL, before=Mode.QUOTE)]) == []

    def test_angel(self) -> None:
        ours = spoken("angel", [added("2885", "nse_cm", Mode.LTP), added("47005", "nse_fo", Mode.LTP)])
        gone = spoken("angel", [removed("2885", "nse_cm", Mode.LTP)])

        both = [{"exchangeType": 1, "tokens": ["2885"]}, {"exchangeType": 2, "tokens": ["47005"]}]
        assert ours == [{"action": 1, "params": {"mode": 1, "tokenList": both}}]
        assert gone == [{"action": 0, "params": {"mode": 1, "tokenList": both[:1]}}]

    def test_dhan_leaves_the_old_mode_for_another(self) -> None:
        ours = spoken("dhan", [added("2885", "NSE_EQ", Mode.LTP), added("47005", "NSE_FNO", Mode.LTP)])
        more = spoken("dhan", [changed("2885", "NSE_EQ", Mode.FULL, before=Mode.LTP)])

        one, two = (
            {"ExchangeSegment": "NSE_EQ", "SecurityId": "2885"},
            {"ExchangeSegment": "NSE_FNO", "SecurityId": "47005"},
        )
        assert ours == [{"RequestCode": 15, "InstrumentCount": 2, "InstrumentList": [one, two]}]
        assert [frame["RequestCode"] for frame in more] == [16, 21]

    def test_dhan_takes_a_hundred_a_frame(self) -> None:
        frames = sent("dhan", [added(str(token), "NSE_EQ", Mode.QUOTE) for token in range(5001)])

        assert len(frames) == 51
        assert max(frame.instruments for frame in frames) == 100


class TestFyers:
    def test_subscribes_prices_and_depth_apart(self) -> None:
        new = sent(
            "fyers", [added("101000000090001", "NSE_CM", Mode.FULL), added("101126082590002", "NSE_FO", Mode.LTP)]
        )
        more = sent("fyers", [changed("101126082590002", "NSE_FO", Mode.FULL, before=Mode.QUOTE)])
        gone = sent("fyers", [removed("101000000090001", "NSE_CM", Mode.FULL)])
        none = sent("fyers", [changed("101126082590002", "NSE_FO", Mode.QUOTE, before=Mode.LTP)])

        names = b"\x0fsf|nse_cm|90001\x0fsf|nse_fo|90002"
        body = b"\x04\x02\x01\x00\x22\x00\x02" + names + b"\x02\x00\x01\x0b"
        assert new[0].payload == len(body).to_bytes(2, "big") + body
        assert [b"dp|nse_cm|90001" in one.payload for one in new] == [False, True]
        assert [(one.payload[2], b"dp|nse_fo|90002" in one.payload) for one in more] == [(4, True)]
        assert [one.payload[2] for one in gone] == [5, 5]
        assert none == []
        assert all(one.binary for one in new)

    def test_has_no_name_for_what_is_no_token_of_its_own(self) -> None:
        with pytest.raises(NoFyersToken):
            sent("fyers", [added("2885", "NSE_CM", Mode.LTP)])


class TestBinance:
    def test_subscribes_streams(self) -> None:
        (frame,) = sent("binance", [added("BTCUSDT", "SPOT", Mode.LTP), added("ETHUSDT", "SPOT", Mode.LTP)])

        assert json.loads(frame.payload) | {"id": 0} == {
            "method": "SUBSCRIBE", "params": ["btcusdt@trade", "ethusdt@trade"], "id": 0,
        }  # fmt: skip


class TestASafeOrder:
    def test_frees_before_it_takes(self) -> None:
        acts = [
            changed("1", "NSE", Mode.FULL, before=Mode.LTP), added("2", "NSE", Mode.LTP),
            changed("3", "NSE", Mode.LTP, before=Mode.FULL), removed("4", "NSE", Mode.LTP),
        ]  # fmt: skip

        assert [one.token for one in ordered(acts)] == ["4", "3", "2", "1"]


OPERATIONS = st.lists(
    st.builds(
        lambda act, token, option, mode, before: (act, str(token), option, mode, before),
        st.sampled_from(Act), st.integers(1, 10**6), st.booleans(), st.sampled_from(Mode), st.sampled_from(Mode),
    ),
    max_size=60,
    unique_by=lambda one: one[1],
)  # fmt: skip


@pytest.mark.parametrize("broker", sorted(CODECS))
@settings(max_examples=30, deadline=None)
@given(OPERATIONS, st.integers(1, 20))
def test_no_frame_holds_more_than_it_may_and_the_same_operations_make_the_same_frames(
    broker: str, drawn: list[tuple[Act, str, bool, Mode, Mode]], items_max: int
) -> None:
    operations = [
        Operation(
            act=act, token=f"1010000000{token}" if broker == "fyers" else token,
            segment=(OPTIONS if option else EQUITY)[broker], mode=mode,
            before=None if act is Act.ADD else before,
        )
        for act, token, option, mode, before in drawn
        if act is not Act.MODE or mode is not before
    ]  # fmt: skip
    frames = sent(broker, operations, items_max)

    assert all(frame.instruments <= items_max for frame in frames)
    assert frames == sent(broker, operations[::-1], items_max)
