"""The CFI code of ISO 10962, computed from what an instrument is; X stands for an attribute nobody told us."""

from instrument_registry.catalog.model import AssetClass, Kind

CASH: dict[Kind, str] = {
    Kind.EQUITY: "ESXXXX",
    Kind.PREFERENCE: "EPXXXX",
    Kind.ETF: "CEXXXX",
    Kind.REIT: "CBXXXX",
    Kind.INVIT: "CBXXXX",
    Kind.MUTUAL_FUND: "CIXXXX",
    Kind.BOND: "DBXXXX",
    Kind.GSEC: "DBXTXX",
    Kind.TBILL: "DYXTXX",
    Kind.SDL: "DBXTXX",
    Kind.SGB: "DBXTXX",
    Kind.WARRANT: "RWXXXX",
    Kind.RIGHTS: "RSXXXX",
    Kind.INDEX: "TIXXXX",
    Kind.SPOT_CURRENCY: "IFXXXX",
    Kind.SPOT_COMMODITY: "ITXXXX",
    Kind.CRYPTO_SPOT: "TTXXXX",
    Kind.CRYPTO_PERPETUAL: "FFMXXX",
    Kind.CRYPTO_FUTURE: "FFMXXX",
}

FUTURES: dict[AssetClass, str] = {
    AssetClass.EQUITY: "FFSXXX",
    AssetClass.INDEX: "FFIXXX",
    AssetClass.CURRENCY: "FFCXXX",
    AssetClass.RATE: "FFNXXX",
    AssetClass.COMMODITY: "FCXXXX",
    AssetClass.CRYPTO: "FFMXXX",
}
OPTION_UNDERLYING: dict[AssetClass, str] = {
    AssetClass.EQUITY: "S",
    AssetClass.INDEX: "I",
    AssetClass.CURRENCY: "C",
    AssetClass.RATE: "N",
    AssetClass.COMMODITY: "T",
    AssetClass.CRYPTO: "M",
}


def cfi_of(kind: Kind, *, asset_class: AssetClass | None = None, option_type: str | None = None) -> str:
    """The CFI code of an instrument; a contract needs its asset class, an option its side (C or P) as well."""
    if kind in CASH:
        return CASH[kind]
    if kind is Kind.OPTION:
        side = option_type if option_type in ("C", "P") else "M"
        return f"O{side}X{OPTION_UNDERLYING[asset_class] if asset_class else 'X'}XX"
    return FUTURES[asset_class] if asset_class else "FXXXXX"
