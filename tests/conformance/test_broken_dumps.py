"""A dump that was cut, mangled or shuffled is read with every row accounted for, or refused; nothing else."""

import random
from pathlib import Path

import pytest

from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import REJECT_SCHEMA, ROW_SCHEMA, Dump, Parsed, Unreadable

SAMPLES = Path(__file__).parents[1] / "samples"
VARIANTS = 15
JUNK = [
    b"\x00",
    b"\xff",
    b"<html>",
    b'"',
    b",",
    b"\r",
    b"\n",
    b"NaN",
    b"inf",
    b"1e400",
    b"9" * 40,
    b"{",
    b"]",
    b";",
    b"",
]


def mangled(content: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        place, other = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        match chance.randrange(5):
            case 0:
                content = content[:other]
            case 1:
                content = content[:place] + content[other:]
            case 2:
                content = content[:place] + chance.choice(JUNK) + content[place + chance.randrange(7) :]
            case 3:
                content = content[:place] + chance.randbytes(1) + content[place + 1 :]
            case 4:
                lines = content.split(b"\n")
                chance.shuffle(lines)
                content = b"\n".join(lines)
    return content


@pytest.mark.parametrize("broker", BROKERS)
def test_a_mangled_dump_is_accounted_for_or_refused(broker: str) -> None:
    for file in sorted((SAMPLES / broker).iterdir()):
        for seed in range(VARIANTS):
            content = mangled(file.read_bytes(), random.Random(f"{file.name} {seed}"))
            try:
                result = BROKERS[broker].parse(Dump(name=file.name, content=content))
            except Unreadable:
                continue
            dropped = int(result.rejects["dropped"].sum())
            if isinstance(result, Parsed):
                assert result.rows.schema == ROW_SCHEMA
                assert result.read == result.rows.height + dropped + result.duplicates, (file.name, seed)
            else:
                assert result.read == result.rows.height + dropped, (file.name, seed)
            assert result.rejects.schema == REJECT_SCHEMA
            assert not result.rejects["reason"].is_null().any()


@pytest.mark.parametrize("broker", BROKERS)
def test_a_dump_is_not_read_by_another_brokers_adapter(broker: str) -> None:
    strangers = [file for other in BROKERS if other != broker for file in sorted((SAMPLES / other).iterdir())]

    for file in strangers:
        with pytest.raises(Unreadable):
            BROKERS[broker].parse(Dump(name=file.name, content=file.read_bytes()))
