"""The lock files hold what the project asks for, every file by hash, and name no place to fetch from."""

import json
import re

import pytest

from house import locks


@pytest.mark.parametrize("name", locks.LOCKS)
class TestLock:
    def test_is_up_to_date(self, name: str) -> None:
        assert locks.recorded_digest(name) == locks.inputs_digest(locks.LOCKS[name]), "run `make lock`"

    def test_pins_by_hash_and_names_no_index(self, name: str) -> None:
        text = (locks.ROOT / name).read_text(encoding="utf-8")
        pinned = re.findall(r"^[a-z0-9][\w.-]*==[^\\\n]+\\\n    --hash=sha256:", text, re.MULTILINE)
        named = re.findall(r"^[a-z0-9][\w.-]*[^\n]*", text, re.MULTILINE)

        assert len(pinned) == len(named) > 20
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_the_lock_of_outside_judges_pins_by_hash_and_names_no_address() -> None:
    text = (locks.ROOT / "tests" / "outside" / "package-lock.json").read_text(encoding="utf-8")
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}

    assert len(packages) > 20
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
    assert "://" not in text, "take `resolved` and `funding` out of it"


def test_the_lock_of_brokers_own_programs_pins_by_hash_and_names_no_address() -> None:
    folder = locks.ROOT / "tests" / "outside"
    asked = re.findall(r"^([a-z][\w-]*)", (folder / "sdks.in").read_text(encoding="utf-8"), re.MULTILINE)
    text = (folder / "sdks.lock").read_text(encoding="utf-8")

    assert re.findall(r"^([a-z][\w-]*)==[^\\\n]+\\\n    --hash=sha256:", text, re.MULTILINE) == sorted(asked)
    assert "://" not in text
