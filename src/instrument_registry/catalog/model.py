"""Nouns of the catalogue and the rules that need no I/O."""

from enum import StrEnum


class Kind(StrEnum):
    """What an instrument is; the CFI code is computed from it."""

    EQUITY = "equity"
    PREFERENCE = "preference_share"
    ETF = "etf"
    REIT = "reit"
    INVIT = "invit"
    MUTUAL_FUND = "mutual_fund"
    BOND = "bond"
    GSEC = "gsec"
    TBILL = "tbill"
    SDL = "sdl"
    SGB = "sgb"
    WARRANT = "warrant"
    RIGHTS = "rights"
    INDEX = "index"
    SPOT_CURRENCY = "spot_currency"
    SPOT_COMMODITY = "spot_commodity"
    FUTURE = "future"
    OPTION = "option"
    CRYPTO_SPOT = "crypto_spot"
    CRYPTO_PERPETUAL = "crypto_perpetual"
    CRYPTO_FUTURE = "crypto_future"


class AssetClass(StrEnum):
    """What a future or option is written on."""

    EQUITY = "equity"
    INDEX = "index"
    CURRENCY = "currency"
    COMMODITY = "commodity"
    RATE = "rate"
    CRYPTO = "crypto"


class Status(StrEnum):
    """Where an instrument is in its life, as of a date."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    DELISTED = "delisted"
    REMOVED = "removed"
    CLOSED_EARLY = "closed_early"


DERIVATIVES = frozenset({Kind.FUTURE, Kind.OPTION, Kind.CRYPTO_FUTURE})

# Venue -> (MIC of ISO 10383, exchange, segment). Broker codes such as NFO are segments, never MICs.
VENUES: dict[str, tuple[str | None, str, str]] = {
    "NSE": ("XNSE", "NSE", "CM"),
    "NFO": ("XNSE", "NSE", "FO"),
    "CDS": ("XNSE", "NSE", "CD"),
    "NCO": ("XNSE", "NSE", "CO"),
    "BSE": ("XBOM", "BSE", "CM"),
    "BFO": ("XBOM", "BSE", "FO"),
    "BCD": ("XBOM", "BSE", "CD"),
    "MCX": ("XIMC", "MCX", "CO"),
    "NCDEX": ("XNCD", "NCDEX", "CO"),
    "NSEIX": ("INSE", "NSEIX", "FO"),
    "GLOBAL": (None, "GLOBAL", "INDEX"),
    "BYBIT": (None, "BYBIT", "CRYPTO"),
}

# Series among which a listing moves without becoming another one (trade-for-trade and the like); they are an
# attribute, every other series is part of the key.
NSE_SERIES_FAMILIES: dict[str, str] = {
    "EQ": "EQ", "BE": "EQ", "BZ": "EQ", "BL": "EQ", "T0": "EQ", "SM": "EQ", "ST": "EQ", "SZ": "EQ",
}  # fmt: skip
