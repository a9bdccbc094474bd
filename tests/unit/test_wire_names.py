"""Which accounts can carry an instrument: those whose socket has a name for it."""

from datetime import date, datetime

import numpy as np

from facts import AT
from instrument_registry.catalog.wire import WireRow, WireToken
from instrument_registry.subscriptions.capacity import AccountStanding, FrameLimits, Standing, venue
from instrument_registry.subscriptions.demand.model import Demand
from instrument_registry.subscriptions.planner import Mode
from instrument_registry.subscriptions.plans.model import Excluded
from instrument_registry.subscriptions.plans.question import Question, compose


def account(broker: str) -> AccountStanding:
    known = venue(broker)
    frame: FrameLimits = known.frame
    return AccountStanding(
        name=broker, broker=broker, tokens=known.tokens or broker, version=1, account=known.account(broker),
        frame=frame, segments=None, segment_modes={}, health=(None,) * known.connection_count,
    )  # fmt: skip


def row(number: int, key: str, **tokens: tuple[str, str]) -> WireRow:
    expiry: date | None = None
    return WireRow(
        id=number, ulid=f"{number:026}", key=key, venue=key.partition(":")[0], root=None, expiry=expiry, listed=True,
        streamable=True, suspended=False, tokens={broker: WireToken(*one) for broker, one in tokens.items()},
    )  # fmt: skip


def asked(*rows: WireRow, brokers: tuple[str, ...], at: datetime = AT) -> Question:
    ids = np.array([one.id for one in rows])
    ones = np.ones(len(rows), dtype=np.int64)
    demand = Demand(
        ids=ids, mode=np.full(len(rows), int(Mode.LTP)), tier=ones, order=ids, wanted_by=ones, copies=ones,
        pinned=np.zeros(len(rows), dtype=np.bool_), digest="",
    )  # fmt: skip
    standing = Standing(version=1, at=at, accounts=tuple(account(one) for one in brokers))
    known = {one.id: one for one in rows}
    return compose(demand, known, standing, live=None, lingering={}, at=at, options="")


def test_fyers_carries_a_share_and_not_the_index_beside_it() -> None:
    share = row(1, "NSE:TEALEAF", fyers=("NSE_CM", "101000000090001"), zerodha=("NSE", "23040257"))
    index = row(2, "NSE:NIFTY;IDX", fyers=("NSE_CM", "101000000026000"), zerodha=("NSE", "256265"))
    both = asked(share, index, brokers=("fyers", "kite"))
    alone = asked(share, index, brokers=("fyers",))

    assert both.problem.groups[both.problem.group].tolist() == [[True, True], [False, True]]
    assert alone.problem.ids.tolist() == [1]
    assert alone.excluded == {Excluded.NOWHERE: (2,)}
