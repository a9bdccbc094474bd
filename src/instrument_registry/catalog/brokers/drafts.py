"""From an adapter's draft to rows that can be believed: complete, judged, named, and without exact duplicates."""

from collections.abc import Callable, Iterable

import polars as pl

from instrument_registry.catalog.brokers.columns import decimals, index_name, integers
from instrument_registry.catalog.brokers.frame import REJECT_SCHEMA, ROW_SCHEMA, Parsed
from instrument_registry.catalog.brokers.tables import NO_REJECTS, Table
from instrument_registry.catalog.isin import valid_isins
from instrument_registry.catalog.keys import key_expr
from instrument_registry.catalog.model import DERIVATIVES, Kind

FIRST_EXPIRY, LAST_EXPIRY = 1990, 2100
TEST_ROW = r"(?i)(?:NSE|BSE|MCX|NCDEX)TEST"
NO_ISIN = ("", "NA", "N/A", "-", "0", "NULL", "NONE")

# Characters a text may have: no real dump comes near, and an index entry must not outgrow its page.
LONGEST = {
    "token": 100, "exchange_token": 100, "root": 100, "symbol": 200, "name": 500, "quote_unit": 100, "currency": 20,
    "surveillance": 5_000,
}  # fmt: skip
UNPRINTABLE = r"\p{C}"
SERIES = "^[A-Z0-9]{1,10}$"

DATED = pl.col("kind").is_in(sorted(DERIVATIVES))
OPTION = pl.col("kind") == Kind.OPTION
INDEX = pl.col("kind") == Kind.INDEX

UNFIT = -1  # the adapter's own reason
# Why a whole row is set aside: where it shows, the field it is told of, the column shown, and the reason. The first
# that holds counts. Numbers as read stand beside the printed ones, in columns ending in `_read`.
FLAWS: tuple[tuple[pl.Expr, str, str, str], ...] = (
    (pl.col("token").is_null(), "token", "symbol", "There is no token"),
    (pl.col("venue").is_null(), "segment", "segment", "The segment is not known"),
    (pl.col("kind").is_null(), "kind", "symbol", "What it is cannot be told"),
    (pl.col("root").is_null(), "root", "symbol", "It has no name"),
    (
        DATED & (pl.col("expiry").is_null() | ~pl.col("expiry").dt.year().is_between(FIRST_EXPIRY, LAST_EXPIRY)),
        "expiry",
        "expiry_text",
        "A contract needs an expiry that is a day of this age",
    ),
    (OPTION & pl.col("option_type").is_null(), "option_type", "symbol", "An option is a call or a put"),
    (
        OPTION & (pl.col("strike_read").is_null() | (pl.col("strike_read") == "0")),
        "strike",
        "strike",
        "The strike of an option is a number above zero",
    ),
    (
        pl.col("lot_size").is_not_null() & pl.col("lot_read").is_null(),
        "lot_size",
        "lot_size",
        "A lot is a whole number, not below zero",
    ),
    (
        pl.col("tick_size").is_not_null() & pl.col("tick_read").is_null(),
        "tick_size",
        "tick_size",
        "A tick is a number, not below zero",
    ),
    (~pl.col("series").str.contains(SERIES), "series", "series", "A series is a few capital letters and digits"),
    *(
        (
            pl.col(field).str.contains(UNPRINTABLE) | (pl.col(field).str.len_chars() > most),
            field,
            field,
            f"It has more than {most:,} characters or some that cannot be printed",
        )
        for field, most in LONGEST.items()
    ),
)
# Why one value of a row is taken away and the row is kept without it.
BLEMISHES: tuple[tuple[str, str], ...] = (
    ("multiplier", "It is not a number above zero"),
    ("face_value", "It is not a number above zero"),
    ("freeze_qty", "It is not a whole number above zero"),
    ("isin", "It is not an ISIN: shape or check digit is wrong"),
)

Draft = Callable[[pl.DataFrame], pl.DataFrame]


def finish(
    dialect: str, draft: pl.DataFrame, *, read: int, rejects: pl.DataFrame = NO_REJECTS, key: pl.Expr | None = None
) -> Parsed:
    """Turn an adapter's draft into ROW_SCHEMA and set aside what cannot be believed.

    A draft has any of the columns of ROW_SCHEMA, numbers still as the broker's text (of futures and cash the strike is
    ignored, a zero lot or tick is "not told", an index has no lot). Besides: `expiry_text` (shown when `expiry` is
    missing or absurd), `tick_in_paise` (Boolean) and `unfit` (the reason why a row is set aside whatever it says).
    Indices may bear any printed name in `root`; they leave with the canonical one.
    """
    rows, aside = _judged(draft, rejects, key)
    return _parsed(dialect, [rows], [aside], read)


def finish_parts(dialect: str, parts: Iterable[Table], draft: Draft) -> Parsed:
    """`finish` of a large dump, a part at a time: `draft` makes the draft of each."""
    rows, rejects, read = [], [], 0
    for part in parts:
        judged, aside = _judged(draft(part.frame), part.rejects, None)
        rows.append(judged)
        rejects.append(aside)
        read += part.read
    return _parsed(dialect, rows, rejects, read)


def rejected(rows: pl.DataFrame, *, field: str, value: pl.Expr, reason: str, dropped: bool = True) -> pl.DataFrame:
    """Rejects for these rows, which have a `line`."""
    return rows.select(
        pl.col("line"),
        pl.lit(field).alias("field"),
        value.cast(pl.String).str.slice(0, 200).str.replace_all(UNPRINTABLE, "\ufffd").alias("value"),
        pl.lit(reason).alias("reason"),
        pl.lit(dropped).alias("dropped"),
    ).cast(REJECT_SCHEMA)  # type: ignore[arg-type]


def _judged(draft: pl.DataFrame, rejects: pl.DataFrame, key: pl.Expr | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows in ROW_SCHEMA, and the rejects with those found here added."""
    rows = _read(_completed(draft))
    found = [rejects]
    flawed = rows.select(_first_flaw().alias("flaw"))["flaw"]
    for flaw in flawed.drop_nulls().unique().sort():
        bad = rows.filter(flawed == flaw)
        if flaw == UNFIT:
            for (reason,) in bad.select("unfit").unique(maintain_order=True).iter_rows():
                found.append(rejected(bad.filter(unfit=reason), field="row", value=pl.col("symbol"), reason=reason))
        else:
            _, field, value, reason = FLAWS[flaw]
            found.append(rejected(bad, field=field, value=pl.col(value), reason=reason))
    if len(found) > 1:
        rows = rows.filter(flawed.is_null())
    for field, reason in BLEMISHES:
        unread = rows[field].is_not_null() & rows[f"{field}_read"].is_null()
        if unread.any():
            found.append(rejected(rows.filter(unread), field=field, value=pl.col(field), reason=reason, dropped=False))
    return _named(rows, key), pl.concat(found)


def _read(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with their numbers read, their names tidied, and nothing where a placeholder stands for it."""
    isin = rows.select(pl.when(~pl.col("isin").str.to_uppercase().is_in(NO_ISIN)).then("isin")).to_series()
    rows = rows.with_columns(
        isin=isin,
        isin_read=valid_isins(isin),
        root=pl.col("root").str.to_uppercase().str.replace_all(r"\s+", " ").str.strip_chars(),
        symbol=pl.coalesce("symbol", "root"),
        strike_read=decimals(rows["strike"]),
        lot_read=integers(rows["lot_size"]),
        rupees=decimals(rows["tick_size"]),
        hundredths=decimals(rows["tick_size"], divisor=100),
        multiplier_read=decimals(rows["multiplier"]),
        face_value_read=decimals(rows["face_value"]),
        freeze_qty_read=integers(rows["freeze_qty"]),
    )
    return rows.with_columns(tick_read=pl.when("tick_in_paise").then("hundredths").otherwise("rupees"))


def _first_flaw() -> pl.Expr:
    flaws = [pl.when(flawed).then(pl.lit(place)) for place, (flawed, *_) in enumerate(FLAWS)]
    return pl.coalesce(pl.when(pl.col("unfit").is_not_null()).then(pl.lit(UNFIT)), *flaws)


def _named(rows: pl.DataFrame, key: pl.Expr | None) -> pl.DataFrame:
    """The judged rows as they leave: canonical names, keys, and null for zeros and for what their kind has not."""
    rows = rows.with_columns(
        root=_canonical_roots(rows),
        expiry=pl.when(DATED).then("expiry"),
        strike=pl.when(OPTION).then("strike_read"),
        option_type=pl.when(OPTION).then("option_type"),
        series=pl.when(~DATED & ~INDEX).then("series"),
        lot_size=pl.when((pl.col("lot_read") != 0) & ~INDEX).then("lot_read"),
        tick_size=pl.when(pl.col("tick_read") != "0").then("tick_read"),
        multiplier=pl.when(pl.col("multiplier_read") != "0").then("multiplier_read"),
        face_value=pl.when(pl.col("face_value_read") != "0").then("face_value_read"),
        freeze_qty=pl.when(pl.col("freeze_qty_read") != 0).then("freeze_qty_read"),
        isin=pl.col("isin_read"),
        is_test=pl.col("is_test") | pl.concat_str("root", "symbol", separator=" ").str.contains(TEST_ROW),
    )
    rows = rows.with_columns(key=key_expr() if key is None else key)
    return rows.select(pl.col(name).cast(kind) for name, kind in ROW_SCHEMA.items())


def _canonical_roots(rows: pl.DataFrame) -> pl.Expr:
    root = pl.col("root")
    printed = rows.filter(INDEX).select("venue", "root").unique()
    for venue in printed["venue"].unique():
        names = printed.filter(pl.col("venue") == venue)["root"].to_list()
        ours = INDEX & (pl.col("venue") == venue)
        root = pl.when(ours).then(root.replace(names, [index_name(venue, name) for name in names])).otherwise(root)
    return root


def _parsed(dialect: str, rows: list[pl.DataFrame], rejects: list[pl.DataFrame], read: int) -> Parsed:
    listed = pl.concat(rows)
    kept = _without_duplicates(listed)
    return Parsed(
        dialect=dialect,
        rows=kept,
        rejects=pl.concat(rejects).sort("line", maintain_order=True),
        read=read,
        duplicates=listed.height - kept.height,
    )


def _completed(draft: pl.DataFrame) -> pl.DataFrame:
    """The draft with every column there is: text for what is still to be judged."""
    defaults: dict[str, pl.Expr] = {
        name: pl.lit(None, dtype=pl.String if kind in (pl.Int64(), pl.String()) else kind)
        for name, kind in ROW_SCHEMA.items()
    }
    defaults |= {
        "currency": pl.lit("INR"),
        "is_test": pl.lit(value=False),
        "streamable": pl.lit(value=True),
        "suspended": pl.lit(value=False),
        "expiry_text": pl.lit(None, dtype=pl.String),
        "unfit": pl.lit(None, dtype=pl.String),
        "tick_in_paise": pl.lit(value=False),
    }
    return draft.with_columns(value.alias(name) for name, value in defaults.items() if name not in draft.columns)


def _without_duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    twice = rows.select((pl.col("segment").hash() ^ pl.col("token").hash(1)).is_duplicated().alias("twice"))["twice"]
    if not twice.any():
        return rows
    again = rows.filter(twice).unique([name for name in ROW_SCHEMA if name != "line"], keep="first")
    return pl.concat([rows.filter(~twice), again]).sort("line")
