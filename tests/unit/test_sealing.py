"""Sealed values: opened by whoever holds the master key, and by nobody for anything else."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from instrument_registry.sealing import (
    FILE_NAME,
    Bound,
    KeyFile,
    KeyText,
    MasterKeys,
    MasterKeyUnusable,
    SealBroken,
    Sealer,
    sealer_in,
)
from instrument_registry.sealing.envelope import VALUE_AT
from instrument_registry.sealing.master_keys import mint

BOUND = Bound("FEED_PASSWORD", 3, "production")


def with_keys(*lines: str) -> Sealer:
    return Sealer(MasterKeys(KeyText("\n".join(lines))))


class TestASealedValue:
    def test_is_opened_after_a_restart_and_shows_nothing(self, tmp_path: Path) -> None:
        sealed = sealer_in(tmp_path).seal(b"pepper", BOUND)

        assert b"pepper" not in sealed
        assert sealer_in(tmp_path).open(sealed, BOUND) == b"pepper"

    def test_never_looks_the_same_and_has_a_data_key_of_its_own(self, tmp_path: Path) -> None:
        drawn: list[bytes] = []

        def recorded(size: int) -> bytes:
            drawn.append(os.urandom(size))
            return drawn[-1]

        sealer = sealer_in(tmp_path)
        first, second = (sealer.seal(b"pepper", BOUND, random_bytes=recorded) for _ in range(2))

        data_keys = [one for one in drawn if len(one) == 32]
        assert first[VALUE_AT:] != second[VALUE_AT:]
        assert len(set(data_keys)) == 2
        assert not any(key in sealed for key in data_keys for sealed in (first, second))

    @pytest.mark.parametrize(
        "other",
        [
            replace(BOUND, name="OTHER_PASSWORD"),
            replace(BOUND, version=2),
            replace(BOUND, environment="staging"),
            Bound("FEED_PASSWORDp", 3, "roduction"),
        ],
        ids=["name", "version", "environment", "moved border"],
    )
    def test_does_not_open_in_the_place_of_another(self, tmp_path: Path, other: Bound) -> None:
        sealer = sealer_in(tmp_path)
        sealed = sealer.seal(b"pepper", BOUND)

        with pytest.raises(SealBroken, match="another name, version or environment"):
            sealer.open(sealed, other)
        with pytest.raises(SealBroken):
            sealer.rewrap(sealed, other)

    def test_does_not_open_with_the_data_key_of_another(self, tmp_path: Path) -> None:
        sealer = sealer_in(tmp_path)
        one, two = (sealer.seal(value, BOUND) for value in (b"pepper", b"salt"))

        with pytest.raises(SealBroken):
            sealer.open(one[:VALUE_AT] + two[VALUE_AT:], BOUND)

    def test_is_refused_when_a_bit_of_it_is_another(self, tmp_path: Path) -> None:
        sealer = sealer_in(tmp_path)
        sealed = sealer.seal(b"pepper", BOUND)

        for place in range(len(sealed)):
            changed = bytearray(sealed)
            changed[place] ^= 1
            with pytest.raises((SealBroken, MasterKeyUnusable)):
                sealer.open(bytes(changed), BOUND)

    def test_is_refused_when_it_is_cut_short_anywhere(self, tmp_path: Path) -> None:
        sealer = sealer_in(tmp_path)
        sealed = sealer.seal(b"pepper", BOUND)

        for length in range(len(sealed)):
            with pytest.raises(SealBroken):
                sealer.open(sealed[:length], BOUND)


class TestMasterKeys:
    def test_are_made_once_however_many_ask_and_are_their_owners_alone(self, tmp_path: Path) -> None:
        sealers = [sealer_in(tmp_path / "data") for _ in range(32)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: one.keys.newest(), sealers))

        assert len({one.keys.newest()[0] for one in sealers}) == 1
        assert stat.S_IMODE((tmp_path / "data" / FILE_NAME).stat().st_mode) == 0o600
        assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE_NAME]

    def test_the_first_seals_and_all_of_them_open(self) -> None:
        old, new = mint(), mint()
        sealed = with_keys(old).seal(b"pepper", BOUND)
        both = with_keys(new, old)

        assert both.open(sealed, BOUND) == b"pepper"
        assert with_keys(new).open(both.seal(b"salt", BOUND), BOUND) == b"salt"

    def test_one_that_is_not_here_is_named_by_its_id_and_by_nothing_else(self) -> None:
        old, new = mint(), mint()
        sealed = with_keys(old).seal(b"pepper", BOUND)

        with pytest.raises(MasterKeyUnusable, match=old[5:13]) as refused:
            with_keys(new).open(sealed, BOUND)
        assert old[14:] not in str(refused.value)

    def test_rewrapping_changes_the_wrapped_data_key_alone(self) -> None:
        old, new = mint(), mint()
        sealed = with_keys(old).seal(b"pepper", BOUND)
        rewrapped = with_keys(new, old).rewrap(sealed, BOUND)

        assert rewrapped[VALUE_AT:] == sealed[VALUE_AT:]
        assert with_keys(new).open(rewrapped, BOUND) == b"pepper"
        with pytest.raises(MasterKeyUnusable):
            with_keys(old).open(rewrapped, BOUND)

    def test_one_that_was_added_is_noticed_by_who_runs_already(self, tmp_path: Path) -> None:
        running = sealer_in(tmp_path)
        before = running.seal(b"pepper", BOUND)
        KeyFile(tmp_path / FILE_NAME).add()
        rewrapped = sealer_in(tmp_path).rewrap(before, BOUND)

        assert rewrapped[:5] != before[:5]
        assert running.open(rewrapped, BOUND) == b"pepper"
        assert running.seal(b"salt", BOUND)[:5] == rewrapped[:5]

    def test_reading_looks_at_no_file_as_long_as_the_key_is_known(self, tmp_path: Path) -> None:
        sealer = sealer_in(tmp_path)
        sealed = sealer.seal(b"pepper", BOUND)
        (tmp_path / FILE_NAME).write_text("no key")

        assert sealer.open(sealed, BOUND) == b"pepper"

    def test_one_that_was_taken_out_opens_nothing_any_more(self, tmp_path: Path) -> None:
        file = KeyFile(tmp_path / FILE_NAME)
        running = sealer_in(tmp_path)
        before = running.seal(b"pepper", BOUND)
        file.add()
        after = running.seal(b"salt", BOUND)
        file.remove(before[1:5])

        assert running.keys.held() == [after[1:5]]
        with pytest.raises(MasterKeyUnusable):
            running.open(before, BOUND)
        with pytest.raises(MasterKeyUnusable, match="only key"):
            file.remove(after[1:5])

    def test_adding_one_keeps_the_others_and_the_mode_of_the_file(self, tmp_path: Path) -> None:
        file = KeyFile(tmp_path / FILE_NAME)
        first = sealer_in(tmp_path).keys.newest()[0]
        (tmp_path / FILE_NAME).chmod(0o640)
        with ThreadPoolExecutor(4) as pool:
            added = list(pool.map(lambda _: file.add(), range(8)))

        assert set(sealer_in(tmp_path).keys.held()) == {first, *added}
        assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o640
        assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]

    @pytest.mark.parametrize("text", ["", "secret", "irmk_00000000_" + "A" * 43])
    def test_a_damaged_file_is_refused_by_its_name_without_what_it_holds(self, tmp_path: Path, text: str) -> None:
        (tmp_path / FILE_NAME).write_text(text)

        with pytest.raises(MasterKeyUnusable, match=FILE_NAME) as refused:
            sealer_in(tmp_path).seal(b"pepper", BOUND)
        assert not text or text not in str(refused.value)

    def test_a_file_that_others_keep_is_never_made(self, tmp_path: Path) -> None:
        sealer = Sealer(MasterKeys(KeyFile(tmp_path / "keys", may_be_made=False)))

        with pytest.raises(MasterKeyUnusable, match="is not there"):
            sealer.seal(b"pepper", BOUND)
        assert list(tmp_path.iterdir()) == []
