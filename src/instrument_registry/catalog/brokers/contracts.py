"""The exchanges' own codes for kinds of contracts, which several brokers pass on unchanged."""

import polars as pl

from instrument_registry.catalog.model import AssetClass, Kind

CONTRACTS: dict[str, tuple[Kind, AssetClass | None]] = {
    "FUTSTK": (Kind.FUTURE, AssetClass.EQUITY),
    "OPTSTK": (Kind.OPTION, AssetClass.EQUITY),
    "FUTIDX": (Kind.FUTURE, AssetClass.INDEX),
    "OPTIDX": (Kind.OPTION, AssetClass.INDEX),
    "FUTIVX": (Kind.FUTURE, AssetClass.INDEX),
    "FUTCUR": (Kind.FUTURE, AssetClass.CURRENCY),
    "OPTCUR": (Kind.OPTION, AssetClass.CURRENCY),
    "FUTIRC": (Kind.FUTURE, AssetClass.RATE),
    "FUTIRT": (Kind.FUTURE, AssetClass.RATE),
    "FUTIRD": (Kind.FUTURE, AssetClass.RATE),
    "OPTIRC": (Kind.OPTION, AssetClass.RATE),
    "OPTIRD": (Kind.OPTION, AssetClass.RATE),
    "FUTCOM": (Kind.FUTURE, AssetClass.COMMODITY),
    "FUTBAS": (Kind.FUTURE, AssetClass.COMMODITY),
    "FUTENR": (Kind.FUTURE, AssetClass.COMMODITY),
    "FUTBLN": (Kind.FUTURE, AssetClass.COMMODITY),
    "OPTFUT": (Kind.OPTION, AssetClass.COMMODITY),
    "OPTCOM": (Kind.OPTION, AssetClass.COMMODITY),
    "OPTBLN": (Kind.OPTION, AssetClass.COMMODITY),
    "SF": (Kind.FUTURE, AssetClass.EQUITY),  # BSE: stock or index, option or future
    "SO": (Kind.OPTION, AssetClass.EQUITY),
    "IF": (Kind.FUTURE, AssetClass.INDEX),
    "IO": (Kind.OPTION, AssetClass.INDEX),
    "INDEX": (Kind.INDEX, None),
    "AMXIDX": (Kind.INDEX, None),
    "UNDCUR": (Kind.SPOT_CURRENCY, None),
    "UNDIRC": (Kind.BOND, None),
    "COMDTY": (Kind.SPOT_COMMODITY, None),
}


def coded_kind(code: pl.Expr) -> pl.Expr:
    """The kind a code stands for; null for a code that is not one of the exchanges'."""
    kinds = {code: kind.value for code, (kind, _) in CONTRACTS.items()}
    return code.replace_strict(kinds, default=None, return_dtype=pl.String)


def coded_class(code: pl.Expr) -> pl.Expr:
    """The asset class a code stands for; null for cash rows and unknown codes."""
    classes = {code: asset.value for code, (_, asset) in CONTRACTS.items() if asset is not None}
    return code.replace_strict(classes, default=None, return_dtype=pl.String)
