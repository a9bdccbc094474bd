"""What a cash row is: told by the broker, the exchange's series or group, the ISIN, and last by its words."""

import polars as pl

from instrument_registry.catalog.model import DERIVATIVES, NSE_SERIES_FAMILIES, AssetClass, Kind

NSE_SERIES_KINDS: dict[str, Kind] = {
    "SG": Kind.SDL,
    "GS": Kind.GSEC,
    "TB": Kind.TBILL,
    "GB": Kind.SGB,
    "MF": Kind.MUTUAL_FUND,
    "SF": Kind.MUTUAL_FUND,
    "IV": Kind.INVIT,
    "RR": Kind.REIT,
    "RE": Kind.RIGHTS,
}
NSE_SERIES_PATTERNS: dict[str, Kind] = {
    r"^(?:[NYZ][0-9A-Z]|[AB][A-Z]|[DM][0-9])$": Kind.BOND,
    r"^W[0-9]$": Kind.WARRANT,
    r"^P[0-9]$": Kind.PREFERENCE,
}
BSE_GROUP_KINDS: dict[str, Kind] = {"E": Kind.ETF, "R": Kind.RIGHTS, "W": Kind.WARRANT}

# Of a company's Indian ISIN (INE) the eighth and ninth characters tell the kind of security; INF is a fund, IN0 the
# central government (X, Y and Z in the ninth place are its bills), IN1 to IN4 the states, IN9 a partly paid share.
COMPANY_SECURITIES: dict[str, Kind] = {
    "01": Kind.EQUITY,
    "03": Kind.PREFERENCE,
    "04": Kind.PREFERENCE,
    "13": Kind.WARRANT,
    "20": Kind.RIGHTS,
    "23": Kind.INVIT,
    "25": Kind.REIT,
}
FUND_SYMBOL = r"ETF\d*$|BEES$"
FUND_WORDS = r"(?i)\bETF\b|\bEXCHANGE TRADED\b|AMC ?- ?[A-Z]"
REAL_ESTATE = r"(?i)\bREIT\b|REAL ESTATE|PROPERTY SHARE|PROPSHARE"
GOLD_BOND = r"(?i)^SGB|GOLD ?BOND"
BILL = r"^\d{2,3}(?:D?TB|T)\d"
STATE_LOAN = r"(?i)SDL"

VENUE_CLASSES: dict[str, AssetClass] = {
    "NFO": AssetClass.EQUITY,
    "BFO": AssetClass.EQUITY,
    "CDS": AssetClass.CURRENCY,
    "BCD": AssetClass.CURRENCY,
    "MCX": AssetClass.COMMODITY,
    "NCO": AssetClass.COMMODITY,
    "NCDEX": AssetClass.COMMODITY,
    "NSEIX": AssetClass.INDEX,
}
RATE_UNDERLYING = r"^\d{2,4}GS\d{4}|^\d{2,3}DTB|MIBOR"
INDEX_UNDERLYING = r"NIFTY|^SENSEX|^BANKEX$|^FOC(?:IT|MID)$|^MCX\w+(?:DEX|AGRI|METAL|ENERGY)$"


def contract_class() -> pl.Expr:
    """What a contract is written on where the broker does not say: told by venue and root; null for a cash row."""
    root, rate = pl.col("root"), AssetClass.RATE.value
    return pl.when(pl.col("kind").is_in(sorted(DERIVATIVES))).then(
        pl.when(pl.col("venue").is_in(["CDS", "BCD"]) & root.str.contains(RATE_UNDERLYING))
        .then(pl.lit(rate))
        .when(root.str.contains(INDEX_UNDERLYING) & ~root.str.contains("TEST"))
        .then(pl.lit(AssetClass.INDEX.value))
        .otherwise(pl.col("venue").replace_strict(VENUE_CLASSES, default=None, return_dtype=pl.String))
    )


def cash_kind(hint: pl.Expr | None = None) -> pl.Expr:
    """The kind of each cash row, from venue, series, isin, symbol and name; equity where nothing says otherwise.

    `hint` is the broker's own type where it can be trusted, else null.
    """
    words = pl.concat_str("root", "name", separator=" ", ignore_nulls=True)
    nse, bse = pl.col("venue") == "NSE", pl.col("venue") == "BSE"
    series, isin = pl.col("series"), pl.col("isin").str.to_uppercase()
    shares = nse & series.is_in(list(NSE_SERIES_FAMILIES))
    traded_fund = pl.col("root").str.contains(FUND_SYMBOL) | words.str.contains(FUND_WORDS)
    fund = pl.when(bse & (series == "F") & ~traded_fund)
    fund_kind = fund.then(pl.lit(Kind.MUTUAL_FUND.value)).otherwise(pl.lit(Kind.ETF.value))
    return pl.coalesce(
        *([hint] if hint is not None else []),
        pl.when(shares & (series == "EQ") & pl.col("root").str.ends_with("INAV")).then(pl.lit(Kind.INDEX.value)),
        pl.when(nse & ~shares).then(_by_series(series)),
        pl.when(bse).then(series.replace_strict(BSE_GROUP_KINDS, default=None, return_dtype=pl.String)),
        pl.when(isin.str.starts_with("INF")).then(fund_kind),
        _by_isin(isin, words),
        pl.when(pl.col("root").str.ends_with("-RE")).then(pl.lit(Kind.RIGHTS.value)),
        pl.when(bse & (series == "IF")).then(
            pl.when(words.str.contains(REAL_ESTATE)).then(pl.lit(Kind.REIT.value)).otherwise(pl.lit(Kind.INVIT.value))
        ),
        pl.when(bse & (series == "G")).then(_government(words)),
        pl.when(traded_fund).then(fund_kind),
        pl.when(bse & (series == "F")).then(pl.lit(Kind.BOND.value)),
        pl.lit(Kind.EQUITY.value),
    )


def bse_debt_group(code: pl.Expr) -> pl.Expr:
    """F or G of a debt security at BSE by its scrip code, for publishers that do not print the group; else null.

    Measured on three brokers' dumps: 80 and 81 begin the codes of government securities, 70 to 73 and 91 to 97 those of
    other debt, and no share has such a code. Closed-ended funds, which are in group F too, have codes like shares.
    """
    return (
        pl.when(code.str.contains(r"^8[01]\d{4}$"))
        .then(pl.lit("G"))
        .when(code.str.contains(r"^(?:7[0-3]|9[1-7])\d{4}$"))
        .then(pl.lit("F"))
    )


def _by_series(series: pl.Expr) -> pl.Expr:
    patterns = [
        pl.when(series.str.contains(pattern)).then(pl.lit(kind.value)) for pattern, kind in NSE_SERIES_PATTERNS.items()
    ]
    return pl.coalesce(series.replace_strict(NSE_SERIES_KINDS, default=None, return_dtype=pl.String), *patterns)


def _by_isin(isin: pl.Expr, words: pl.Expr) -> pl.Expr:
    company = isin.str.extract(r"^INE.{4}(\w\w)", 1)
    return pl.coalesce(
        company.replace_strict(COMPANY_SECURITIES, default=None, return_dtype=pl.String),
        pl.when(company.is_not_null()).then(pl.lit(Kind.BOND.value)),
        pl.when(isin.str.contains(r"^IN0\d{5}[XYZ]")).then(pl.lit(Kind.TBILL.value)),
        pl.when(isin.str.contains(r"^IN[1-4]")).then(pl.lit(Kind.SDL.value)),
        pl.when(isin.str.contains(r"^IN[0Y]")).then(_government(words)),
        pl.when(isin.str.starts_with("IN9")).then(pl.lit(Kind.EQUITY.value)),
    )


def _government(words: pl.Expr) -> pl.Expr:
    return (
        pl.when(words.str.contains(GOLD_BOND))
        .then(pl.lit(Kind.SGB.value))
        .when(words.str.contains(BILL))
        .then(pl.lit(Kind.TBILL.value))
        .when(words.str.contains(STATE_LOAN))
        .then(pl.lit(Kind.SDL.value))
        .otherwise(pl.lit(Kind.GSEC.value))
    )
