"""What every publisher's adapter must do with its samples, with broken copies of them, and with the real dumps."""

from functools import cache
from pathlib import Path

import polars as pl
import pytest

import dumps
from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import REJECT_SCHEMA, ROW_SCHEMA, Declared, Dump, Parsed, Unreadable
from instrument_registry.catalog.brokers.manifest import match
from instrument_registry.catalog.isin import is_isin
from instrument_registry.catalog.keys import format_key, minimal_decimal, parse_key, symbol_expr, symbol_of
from instrument_registry.catalog.model import DERIVATIVES, VENUES, AssetClass, Kind

SAMPLES = Path(__file__).parents[1] / "samples"
FILES = sorted(path.relative_to(SAMPLES).as_posix() for broker in BROKERS for path in (SAMPLES / broker).glob("*"))
TEXT_TABLES = [file for file in FILES if not file.endswith(".json")]
HEADLESS = ("fyers", "nse/symbolchange")
CRYPTO = [kind for kind in Kind if kind.startswith("crypto")]
DAYS_OF_TRADING_SYSTEMS = (1990, 2100)


@cache
def sample(file: str) -> Parsed | Declared:
    return parse(file, (SAMPLES / file).read_bytes())


def parse(file: str, content: bytes) -> Parsed | Declared:
    broker, name = file.split("/")
    return BROKERS[broker].parse(Dump(name=name, content=content))


def judge_rows(result: Parsed) -> None:
    """The rules for rows, whoever printed them."""
    rows = result.rows
    assert rows.schema == pl.Schema(ROW_SCHEMA)
    assert (
        not rows.select("line", "segment", "token", "venue", "kind", "root", "key", "symbol")
        .null_count()
        .sum_horizontal()
        .item()
    )
    assert set(rows["venue"]) <= set(VENUES)
    assert set(rows["kind"]) <= set(Kind)
    assert set(rows["asset_class"].drop_nulls()) <= set(AssetClass)

    dated = pl.col("kind").is_in(sorted(DERIVATIVES))
    option = pl.col("kind") == Kind.OPTION
    assert rows.filter(dated & (pl.col("expiry").is_null() | pl.col("asset_class").is_null())).is_empty()
    assert rows.filter(~dated & pl.col("expiry").is_not_null()).is_empty()
    assert rows.filter(option & (pl.col("strike").is_null() | pl.col("option_type").is_null())).is_empty()
    assert rows.filter(~option & (pl.col("strike").is_not_null() | pl.col("option_type").is_not_null())).is_empty()
    assert rows["expiry"].drop_nulls().dt.year().is_between(*DAYS_OF_TRADING_SYSTEMS).all()

    for name in ("strike", "tick_size", "multiplier", "face_value"):
        assert all(text == minimal_decimal(text) for text in rows[name].drop_nulls().unique()), name
    assert all(is_isin(text) for text in rows["isin"].drop_nulls().unique())
    assert rows.filter((pl.col("lot_size") <= 0) | (pl.col("freeze_qty") < 0)).is_empty()
    for name in ("root", "symbol", "name", "token"):
        assert rows.filter(pl.col(name) != pl.col(name).str.strip_chars()).is_empty(), name


def judge_keys(result: Parsed) -> None:
    """Every key is read and written back the same, and says what the columns say."""
    rows = result.rows.filter(~pl.col("kind").is_in(CRYPTO))
    for row, symbol in zip(rows.iter_rows(named=True), rows.select(symbol_expr()).to_series(), strict=True):
        key = parse_key(row["key"])
        assert format_key(key) == row["key"]
        assert (key.venue, key.name, key.expiry, key.strike, key.side) == (
            row["venue"],
            row["root"],
            row["expiry"],
            row["strike"],
            row["option_type"],
        )
        assert symbol_of(key) == symbol
        assert key.series in (None, row["series"])
    assert all(format_key(parse_key(key)) == key for key in result.rows["key"])


def judge_rejects(result: Parsed | Declared) -> None:
    """Nothing is dropped without a word, and every word is a sentence with the line it is about."""
    assert result.rejects.schema == pl.Schema(REJECT_SCHEMA)
    assert not result.rejects.select("line", "field", "reason", "dropped").null_count().sum_horizontal().item()
    assert (result.rejects["value"].drop_nulls().str.len_chars() <= 200).all()
    assert result.rejects["reason"].str.contains(r"^[A-Z].{8,}[^.]$").all()
    dropped = int(result.rejects["dropped"].sum())
    duplicates = result.duplicates if isinstance(result, Parsed) else 0
    assert result.read == result.rows.height + dropped + duplicates


class TestSamples:
    def test_every_broker_has_one(self) -> None:
        assert {file.split("/")[0] for file in FILES} == set(BROKERS)
        assert all(broker.id == name for name, broker in BROKERS.items())

    @pytest.mark.parametrize("file", FILES)
    def test_a_sample_becomes_rows_that_can_be_believed(self, file: str) -> None:
        result = sample(file)

        judge_rejects(result)
        if isinstance(result, Parsed):
            judge_rows(result)
            judge_keys(result)

    @pytest.mark.parametrize("file", FILES)
    def test_reading_twice_gives_the_same(self, file: str) -> None:
        again = parse(file, (SAMPLES / file).read_bytes())

        assert again.rows.equals(sample(file).rows)
        assert again.rejects.equals(sample(file).rejects)

    @pytest.mark.parametrize("file", [file for file in TEXT_TABLES if not file.startswith(HEADLESS)])
    def test_columns_in_another_order_and_unknown_ones_change_nothing(self, file: str) -> None:
        if file in ("bse/list_of_scrips.csv", "nse/fo_mktlots.csv"):
            pytest.skip("its rows are longer than its header, or it is told from others by its first column")
        lines = (SAMPLES / file).read_text().splitlines()
        if any('"' in line for line in lines) or len({line.count(",") for line in lines}) > 1:
            pytest.skip("its lines are not cut at every comma alike")
        turned = "\n".join(",".join(["new", *reversed(line.split(","))]) for line in lines) + "\n"

        result = parse(file, turned.encode())

        if isinstance(result, Parsed):
            assert result.rows.equals(sample(file).rows)

    @pytest.mark.parametrize("file", TEXT_TABLES)
    def test_lines_ending_the_windows_way_and_a_byte_order_mark_change_nothing(self, file: str) -> None:
        if file == "nse/symbolchange.csv":
            pytest.skip("it is not UTF-8")
        content = (SAMPLES / file).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

        assert parse(file, b"\xef\xbb\xbf" + content).rows.equals(sample(file).rows)


class TestHostileInput:
    @pytest.mark.parametrize("broker", BROKERS)
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b" \n\r\n",
            b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>\n",
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>\n",
            b'{"status":"error","message":"Invalid token"}\n',
            b"null\n",
            b"[1,2,3]\n",
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
            b"PK\x03\x04\x14\x00\x00\x00",
            bytes(range(256)) * 8,
            b"\xff\xfe" + "a,b,c\n1,2,3\n".encode("utf-16-le"),
            b"a,b,c\n",
            b"a,b,c\n1,2,3\n",
            b"Too many requests\n",
            b'"' * 10_001 + b"\n",
            b"," * 100_000 + b"\n",
            b"x" * 5_000_000,
        ],
        ids=lambda content: repr(content[:24]),
    )
    def test_what_is_no_dump_is_refused_with_a_sentence(self, broker: str, content: bytes) -> None:
        with pytest.raises(Unreadable) as refusal:
            BROKERS[broker].parse(Dump(name="dump", content=content))

        assert 10 < len(str(refusal.value)) < 400

    @pytest.mark.parametrize("file", [file for file in TEXT_TABLES if not file.startswith(HEADLESS)])
    def test_a_header_alone_is_refused(self, file: str) -> None:
        header = (SAMPLES / file).read_bytes().partition(b"\n")[0] + b"\n"

        with pytest.raises(Unreadable, match="no rows"):
            parse(file, header)

    @pytest.mark.parametrize("file", FILES)
    def test_a_dump_cut_short_anywhere_is_refused_or_loses_whole_lines_only(self, file: str) -> None:
        content = (SAMPLES / file).read_bytes()
        rows = sample(file).rows
        known = set(rows.drop("line", strict=False).rows())

        for size in range(len(content) // 3, len(content) - 1, 41):
            try:
                cut = parse(file, content[:size])
            except Unreadable:
                continue
            assert content[:size].endswith(b"\n") or file.startswith("dhan"), size
            if not file.startswith("dhan"):
                assert set(cut.rows.drop("line", strict=False).rows()) <= known

    @pytest.mark.parametrize("file", [file for file in TEXT_TABLES if not file.startswith(HEADLESS)])
    def test_a_renamed_column_is_missed_unless_it_is_not_needed(self, file: str) -> None:
        header, newline, body = (SAMPLES / file).read_bytes().partition(b"\n")
        names = header.split(b",")
        missed = 0

        for place, name in enumerate(names):
            if not name.strip():
                continue
            changed = [*names[:place], b"renamed", *names[place + 1 :]]
            try:
                parse(file, b",".join(changed) + newline + body)
            except Unreadable:
                missed += 1
        assert missed


class TestRealDumps:
    @pytest.mark.parametrize("index", range(60))
    def test_every_dump_in_scope_keeps_the_rules(self, index: int) -> None:
        paths = sorted(path.relative_to(dumps.folder()).as_posix() for path in dumps.folder().glob("*/*.gz"))
        if index >= len(paths):
            pytest.skip("there are no more")
        path = paths[index]
        row = match(path)
        assert row is not None, path
        if not row.in_scope:
            pytest.skip(f"{path}: {row.reason}")

        result = BROKERS[row.broker].parse(dumps.dump(path))

        judge_rejects(result)
        if isinstance(result, Parsed):
            judge_rows(result)
            keys = result.rows["key"]
            # A key is its name and what stands behind the first semicolon: each distinct half is tried once.
            halves = result.rows.select(
                "key", name=pl.col("key").str.extract("^([^;]+)"), tail=pl.col("key").str.extract("(;.*)$")
            )
            assert all(format_key(parse_key(key)) == key for key in halves.unique("name")["key"])
            assert all(format_key(parse_key(key)) == key for key in halves.unique("tail")["key"])
            assert result.rows.select(pl.struct("segment", "token").is_duplicated().any()).item() is False
            twice = result.rows.filter(keys.is_duplicated())["key"].unique().to_list()
            assert twice in ([], ["BSE:CAPINS;IDX"])  # Dhan numbers that index twice
