"""Sealed secrets: opened by whoever holds the master key, and by nobody for anything else."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from instrument_registry.sealing import FILE_NAME, MasterKeyUnusable, SealBroken, sealer_in

NAME = "webhook secret 1"


def test_what_was_sealed_is_opened_after_a_restart(tmp_path: Path) -> None:
    sealed = sealer_in(tmp_path).seal(b"pepper", name=NAME)

    assert b"pepper" not in sealed
    assert sealer_in(tmp_path).open(sealed, name=NAME) == b"pepper"


def test_the_key_is_its_owners_alone_and_made_once_however_many_ask(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        sealers = list(pool.map(lambda _: sealer_in(tmp_path / "data"), range(32)))

    assert len({one.newest for one in sealers}) == 1
    assert stat.S_IMODE((tmp_path / "data" / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE_NAME]


def test_the_same_secret_never_looks_the_same(tmp_path: Path) -> None:
    sealer = sealer_in(tmp_path)

    assert sealer.seal(b"pepper", name=NAME) != sealer.seal(b"pepper", name=NAME)


def test_one_secret_does_not_open_in_the_place_of_another(tmp_path: Path) -> None:
    sealer = sealer_in(tmp_path)
    sealed = sealer.seal(b"pepper", name=NAME)

    with pytest.raises(SealBroken):
        sealer.open(sealed, name="webhook secret 2")


def test_a_bit_changed_anywhere_is_noticed(tmp_path: Path) -> None:
    sealer = sealer_in(tmp_path)
    sealed = sealer.seal(b"pepper", name=NAME)

    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises((SealBroken, MasterKeyUnusable)):
            sealer.open(bytes(changed), name=NAME)
    with pytest.raises(SealBroken):
        sealer.open(sealed[:16], name=NAME)


def test_a_former_key_still_opens_and_the_newest_seals(tmp_path: Path) -> None:
    before, after = sealer_in(tmp_path / "a"), sealer_in(tmp_path / "b")
    both = tmp_path / "c" / FILE_NAME
    both.parent.mkdir()
    both.write_text((tmp_path / "b" / FILE_NAME).read_text() + (tmp_path / "a" / FILE_NAME).read_text())
    rotated = sealer_in(both.parent)

    assert rotated.open(before.seal(b"pepper", name=NAME), name=NAME) == b"pepper"
    assert after.open(rotated.seal(b"pepper", name=NAME), name=NAME) == b"pepper"
    with pytest.raises(MasterKeyUnusable, match="not here"):
        after.open(before.seal(b"pepper", name=NAME), name=NAME)


@pytest.mark.parametrize("text", ["", "secret", "irmk_00000000_" + "A" * 43])
def test_a_damaged_key_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)

    with pytest.raises(MasterKeyUnusable, match=FILE_NAME):
        sealer_in(tmp_path)
