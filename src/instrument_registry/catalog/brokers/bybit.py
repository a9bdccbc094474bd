"""Bybit v5 instruments: linear, inverse and spot, as the exchange answers or as an object keyed by symbol."""

from datetime import UTC, date, datetime
from typing import Literal

import msgspec
import polars as pl

from instrument_registry.catalog.brokers.frame import (
    REJECT_SCHEMA,
    ROW_SCHEMA,
    Broker,
    Dump,
    Parsed,
    Source,
    Unreadable,
)
from instrument_registry.catalog.brokers.tables import check_json_size, text_of
from instrument_registry.catalog.keys import InvalidKey, Key, format_key, minimal_decimal
from instrument_registry.catalog.model import AssetClass, Kind

TEXT_CHARACTERS = 100
DECIMAL_CHARACTERS = 18  # a whole number as long fits every column
PAGE_SIZES = (500, 1000)  # the default and the greatest `limit` of the exchange
Category = Literal["linear", "inverse", "spot"]


class PriceFilter(msgspec.Struct, rename="camel"):
    tick_size: str


class LotSizeFilter(msgspec.Struct, rename="camel"):
    qty_step: str | None = None
    base_precision: str | None = None  # spot


class Instrument(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_coin: str
    quote_coin: str
    price_filter: PriceFilter
    lot_size_filter: LotSizeFilter
    contract_type: str | None = None  # absent for spot
    settle_coin: str | None = None
    delivery_time: str = "0"
    display_name: str | None = None


class Result(msgspec.Struct, rename="camel"):
    list: tuple[msgspec.Raw, ...]
    category: str = "linear"
    next_page_cursor: str | None = None


class Answer(msgspec.Struct, rename="camel"):
    ret_code: int
    result: Result | None = None
    ret_msg: str = ""


KINDS: dict[str | None, tuple[Kind, Category]] = {
    "LinearPerpetual": (Kind.CRYPTO_PERPETUAL, "linear"),
    "LinearFutures": (Kind.CRYPTO_FUTURE, "linear"),
    "InversePerpetual": (Kind.CRYPTO_PERPETUAL, "inverse"),
    "InverseFutures": (Kind.CRYPTO_FUTURE, "inverse"),
    None: (Kind.CRYPTO_SPOT, "spot"),
}


def parse(dump: Dump) -> Parsed:
    """Read one complete list of instruments.

    Raises:
        Unreadable: not such a list, or one page of several.
    """
    content = text_of(dump)
    check_json_size(content, name=dump.name)
    elements = _elements(content)
    rows: list[dict[str, object]] = []
    rejects: list[dict[str, object]] = []
    seen: set[bytes] = set()
    for line, element in enumerate(elements, start=1):
        if bytes(element) in seen:
            continue
        seen.add(bytes(element))
        try:
            rows.append(_row(msgspec.json.decode(element, type=Instrument), line=line))
        except _BadValueError as error:
            rejects.append(_reject(line, error.field, error.value, str(error)))
        except InvalidKey as error:
            rejects.append(_reject(line, "symbol", bytes(element).decode(errors="replace"), str(error)))
        except msgspec.DecodeError as error:
            rejects.append(_reject(line, "element", bytes(element).decode(errors="replace"), f"No instrument: {error}"))
    if not rows:
        raise Unreadable("Not one element of this JSON is an instrument of Bybit", elements=len(elements))
    return Parsed(
        dialect="bybit-v5",
        rows=pl.DataFrame(rows, schema=ROW_SCHEMA),
        rejects=pl.DataFrame(rejects, schema=REJECT_SCHEMA),
        read=len(elements),
        duplicates=len(elements) - len(seen),
    )


class _BadValueError(Exception):
    def __init__(self, field: str, value: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.value = field, value


def _elements(content: bytes) -> tuple[msgspec.Raw, ...]:
    try:
        top = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        elements = _answered(content) if "retCode" in top else tuple(top.values())
    except (msgspec.DecodeError, RecursionError) as error:  # a cut file, an HTML page, another shape
        raise Unreadable(f"This is not an answer of Bybit's instruments-info: {error}") from error
    if not elements:
        raise Unreadable("The list of instruments is empty")
    if len(elements) in PAGE_SIZES:
        raise Unreadable("This is one page of several: it holds exactly as many rows as a page", rows=len(elements))
    return elements


def _answered(content: bytes) -> tuple[msgspec.Raw, ...]:
    answer = msgspec.json.decode(content, type=Answer)
    if answer.ret_code != 0 or answer.result is None:
        raise Unreadable("Bybit answered with an error", code=answer.ret_code, message=answer.ret_msg)
    if answer.result.category not in ("linear", "inverse", "spot"):
        raise Unreadable("Only linear, inverse and spot instruments are read", category=answer.result.category)
    if answer.result.next_page_cursor:
        raise Unreadable("This is one page of several: it names the cursor of the next", rows=len(answer.result.list))
    return answer.result.list


def _row(instrument: Instrument, *, line: int) -> dict[str, object]:
    if instrument.contract_type not in KINDS:
        raise _BadValueError("contractType", str(instrument.contract_type), "The contract type is not one we know")
    for field, text in (("symbol", instrument.symbol), ("displayName", instrument.display_name or "-")):
        if not text.isprintable() or not 0 < len(text) <= TEXT_CHARACTERS:
            raise _BadValueError(field, text, f"It is no printable text of up to {TEXT_CHARACTERS} characters")
    kind, category = KINDS[instrument.contract_type]
    expiry = _expiry(instrument.delivery_time) if kind == Kind.CRYPTO_FUTURE else None
    settle = None if kind == Kind.CRYPTO_SPOT else instrument.settle_coin
    if kind != Kind.CRYPTO_SPOT and not settle:
        raise _BadValueError("settleCoin", str(settle), "A contract without a settlement coin has no key")
    step = _decimal("qtyStep", instrument.lot_size_filter.qty_step or instrument.lot_size_filter.base_precision or "")
    return {
        "line": line,
        "segment": category,
        "token": instrument.symbol,
        "exchange_token": instrument.symbol,
        "venue": "BYBIT",
        "kind": kind,
        "asset_class": None if kind == Kind.CRYPTO_SPOT else AssetClass.CRYPTO,
        "root": instrument.base_coin,
        "expiry": expiry,
        "key": format_key(
            Key(
                venue="BYBIT",
                name=instrument.base_coin.upper(),
                quote=instrument.quote_coin.upper(),
                settle=settle and settle.upper(),
                marker="PERP" if kind == Kind.CRYPTO_PERPETUAL else None,
                expiry=expiry,
            )
        ),
        "symbol": instrument.symbol,
        "name": instrument.display_name or None,
        "currency": settle or instrument.quote_coin,
        "lot_size": int(step) if "." not in step and step != "0" else None,  # a fraction of a coin is no count of units
        "multiplier": "1" if category == "linear" else None,
        "quote_unit": instrument.base_coin if category != "inverse" else instrument.quote_coin,
        "tick_size": _decimal("tickSize", instrument.price_filter.tick_size),
        "is_test": False,
        "streamable": True,
        "suspended": instrument.status != "Trading",
    }


def _decimal(field: str, text: str) -> str:
    value = minimal_decimal(text)
    if value is None or len(value) > DECIMAL_CHARACTERS:
        raise _BadValueError(field, text, "The value is not a plain decimal of a believable size")
    return value


def _expiry(milliseconds: str) -> date:
    try:
        expiry = datetime.fromtimestamp(int(milliseconds) / 1000, UTC).date()
    except (ValueError, OverflowError, OSError) as error:
        raise _BadValueError(
            "deliveryTime", milliseconds, "The delivery time is not a moment in milliseconds"
        ) from error
    if not 2010 <= expiry.year <= 2100:
        raise _BadValueError("deliveryTime", milliseconds, "The delivery lies in no plausible year")
    return expiry


def _shown(value: str) -> str:
    """A refused value as it can be kept: cut, and a mark for every character that cannot be printed."""
    return "".join(character if character.isprintable() else "\ufffd" for character in value[:200])


def _reject(line: int, field: str, value: str, reason: str) -> dict[str, object]:
    return {"line": line, "field": field, "value": _shown(value), "reason": reason, "dropped": True}


BROKER = Broker(
    id="bybit",
    title="Bybit",
    parse=parse,
    official=True,
    sources=(
        Source(
            url="https://api.bybit.com/v5/market/instruments-info?category=linear&limit=1000",
            name="bybit_linear.json",
            content_types=("application/json",),
        ),
    ),
)
