"""What changed between two dumps of one broker, told from the files alone, in the words of the catalogue's facts.

A token that stays and a key that stays are the same contract. A token whose key changed still is one where the ISIN
stayed, or everything of a living contract but one term; else the token was reused. What only one dump lists was listed
or is gone: a file cannot say whether what is gone was delisted, only whether it had expired.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from instrument_registry.catalog.brokers.frame import Broker, Dump, Parsed
from instrument_registry.catalog.differences import NAMED, Difference
from instrument_registry.errors import Invalid

TOKEN, ISIN = ["segment", "token"], ["venue", "isin"]
SAME, REUSED = "same", "token_reused"
TERMS = (
    *NAMED,
    ("symbol", "broker_terms_changed", "broker_terms_changed"),
    ("exchange_token", "broker_terms_changed", "broker_terms_changed"),
)

Row = dict[str, object]


def read(broker: Broker, dumps: Sequence[Dump]) -> pl.DataFrame:
    """The instruments of a broker's dumps, one row a token.

    Raises: Unreadable; Invalid for a list that holds no instruments.
    """
    frames = []
    for dump in dumps:
        parsed = broker.parse(dump)
        if not isinstance(parsed, Parsed):
            listed = parsed.what.replace("_", " ")
            raise Invalid(f"{dump.name} lists {listed}, not instruments", field="file", value=dump.name)
        frames.append(parsed.rows)
    return pl.concat(frames).unique(TOKEN, keep="first", maintain_order=True)


def compare(broker: str, first: pl.DataFrame, last: pl.DataFrame, *, day: date | None) -> list[Difference]:
    """Every change from the first to the last, by key; `day`, the last one's market date, tells what had expired."""
    both = last.join(first, on=TOKEN, suffix="_old").with_columns(_how(day).alias("how"))
    kept = both.filter(pl.col("how") != REUSED)
    came, went = last.join(kept, on=TOKEN, how="anti"), first.join(kept, on=TOKEN, how="anti")
    found = [*_rekeyed(broker, both), *_terms(broker, kept), *_came_and_went(broker, came, went, day=day)]
    return sorted(found, key=lambda one: (one.key, one.change, one.field or "", one.segment or ""))


def _how(day: date | None) -> pl.Expr:
    """What a token that both dumps have means in the last one, compared with the first."""

    def stays(*columns: str) -> pl.Expr:
        return pl.all_horizontal(pl.col(column).eq_missing(pl.col(f"{column}_old")) for column in columns)

    ended = pl.col("expiry_old") < day if day is not None else pl.lit(False)  # an expired contract does not move
    return (
        pl.when(pl.col("key") == pl.col("key_old"))
        .then(pl.lit(SAME))
        .when(pl.col("isin") == pl.col("isin_old"))
        .then(pl.lit("renamed"))
        .when(pl.col("expiry").is_null() | ended | ~stays("venue", "kind", "option_type"))
        .then(pl.lit(REUSED))
        .when(stays("root", "expiry"))
        .then(pl.lit("strike_adjusted"))
        .when(stays("root", "strike"))
        .then(pl.lit("expiry_moved"))
        .when(stays("expiry", "strike"))
        .then(pl.lit("renamed"))
        .otherwise(pl.lit(REUSED))
    )


def _rekeyed(broker: str, both: pl.DataFrame) -> Iterator[Difference]:
    for row in both.filter(pl.col("how") != SAME).iter_rows(named=True):
        field = f"token {row['token']}" if row["how"] == REUSED else "key"
        yield _difference(broker, row, row["how"], field=field, old=row["key_old"], new=row["key"])


def _terms(broker: str, kept: pl.DataFrame) -> Iterator[Difference]:
    """Fields that differ; what the last dump does not say has not changed."""
    for column, changed, learned in TERMS:
        for row in _differing(kept, column):
            change = changed if row[f"{column}_old"] is not None else learned
            yield _difference(broker, row, change, field=column, old=row[f"{column}_old"], new=row[column])
    for row in _differing(kept, "series"):
        change = "group_moved" if row["venue"] == "BSE" else "series_moved"
        yield _difference(broker, row, change, field="series", old=row["series_old"], new=row["series"])
    for row in _differing(kept.filter(pl.col("suspended_old").is_not_null()), "suspended"):
        change = "suspended" if row["suspended"] else "resumed"
        yield _difference(broker, row, change, field="suspended", old=row["suspended_old"], new=row["suspended"])


def _differing(kept: pl.DataFrame, column: str) -> Iterator[Row]:
    differs = pl.col(column).is_not_null() & pl.col(column).ne_missing(pl.col(f"{column}_old"))
    return kept.filter(differs).iter_rows(named=True)


def _came_and_went(broker: str, came: pl.DataFrame, went: pl.DataFrame, *, day: date | None) -> Iterator[Difference]:
    """Tokens that began to mean something and those that ceased; a key on both sides goes by another token now."""
    for row in came.join(went.unique("key"), on="key", suffix="_old").iter_rows(named=True):
        yield _difference(broker, row, "retokenised", field="token", old=row["token_old"], new=row["token"])
    came, went = came.join(went, on="key", how="anti"), went.join(came, on="key", how="anti")
    renamed = _one_each(came).join(_one_each(went), on=ISIN, suffix="_old")
    for row in renamed.iter_rows(named=True):
        yield _difference(broker, row, "renamed", field="key", old=row["key_old"], new=row["key"])
    for row in came.join(renamed, on="key", how="anti").iter_rows(named=True):
        yield _difference(broker, row, "listed", field="token", new=row["token"])
    for row in went.join(renamed, left_on="key", right_on="key_old", how="anti").iter_rows(named=True):
        expired = day is not None and row["expiry"] is not None and row["expiry"] < day
        yield _difference(broker, row, "expired" if expired else "gone", field="token", old=row["token"])


def _one_each(rows: pl.DataFrame) -> pl.DataFrame:
    """The cash listings that share their ISIN with no other at their venue."""
    return rows.filter(pl.col("isin").is_not_null() & pl.col("expiry").is_null()).unique(ISIN, keep="none")


def _difference(
    broker: str, row: Row, change: object, *, field: str, old: object = None, new: object = None
) -> Difference:
    return Difference(
        id=None, change=str(change), key=str(row["key"]), venue=str(row["venue"]), kind=str(row["kind"]), broker=broker,
        segment=str(row["segment"]), field=field, old=_text(old), new=_text(new),
    )  # fmt: skip


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
