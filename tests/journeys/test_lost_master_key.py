"""A master key that is lost: no process starts without it, each says which one and what to do, and a way leads on."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from conftest import DatabaseUrls
from instrument_registry.cli.main import app, exit_code
from instrument_registry.errors import RegistryError
from instrument_registry.sealing import FILE_NAME, sealer_of
from instrument_registry.sealing.master_keys import mint
from journeys.test_serve import Serving

VALUE = "open-sesame"
Run = Callable[..., "Ended"]


@pytest.fixture
def instance(database_urls: DatabaseUrls, tmp_path: Path) -> Iterator[Serving]:
    one = Serving(tmp_path / "data", workers=1)
    one.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = database_urls.service
    yield one
    if hasattr(one, "process") and one.process.poll() is None:
        family = one.family()
        one.process.terminate()
        one.process.wait(60)
        for process in psutil.wait_procs(family, timeout=10)[1]:
            process.kill()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(instance: Serving, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs a command in this process, which is quicker; keys are read anew as another process would."""

    def ran(*arguments: str, given: str = "", **environment: str) -> Ended:
        sealer_of.cache_clear()
        with monkeypatch.context() as patched:
            for name, value in (instance.environment | environment).items():
                if name.startswith("INSTRUMENT_REGISTRY_"):
                    patched.setenv(name, value)
            ended = CliRunner().invoke(app, arguments, input=given)
        if isinstance(ended.exception, RegistryError):
            sentence = f"{ended.exception.title}: {ended.exception}"
            return Ended(exit_code(ended.exception), ended.stdout, ended.stderr + sentence)
        return Ended(ended.exit_code, ended.stdout, ended.stderr)

    return ran


def test_nothing_starts_without_it_and_every_way_on_works(instance: Serving, run: Run) -> None:
    file = instance.data_dir / FILE_NAME
    instance.data_dir.mkdir()
    file.write_text(mint() + "\n")
    file.chmod(0o600)
    set_ = run("secrets", "set", "FEED", "--reason", "first", "--json", given=f"{VALUE}\n")
    key_id = json.loads(set_.stdout)["key_id"]
    kept = file.read_text()
    file.write_text(mint() + "\n")
    refused = {name: instance.run(name) for name in ("serve", "api", "worker")}
    elsewhere = run("secrets", "get", "FEED")
    file.unlink()
    without_any = instance.run("serve")
    made_one = file.exists()

    for name, ended in refused.items():
        (sentence,) = ended.stderr.splitlines()[-1:]
        assert ended.returncode == 1, name
        assert sentence.startswith("A master key is missing: One stored secret is sealed under the master key")
        assert key_id in sentence
        assert str(file) in sentence
        assert f"--without-key {key_id}" in sentence
        assert "Traceback" not in ended.stderr
        assert not re.search(r"irmk_[0-9a-f]{8}_[A-Za-z0-9]", ended.stdout + ended.stderr)
    assert (elsewhere.returncode, key_id in elsewhere.stderr, VALUE in elsewhere.stderr) == (1, True, False)
    assert (without_any.returncode, key_id in without_any.stderr, made_one) == (1, True, False)

    instance.command = ("serve", "--without-key", key_id)  # type: ignore[assignment]
    instance.start()
    started_without = run("secrets", "get", "FEED")
    anew = run("secrets", "set", "FEED", "--reason", "lost", "--overlap", "0", given="new")
    read = run("secrets", "get", "FEED")
    instance.process.terminate()
    instance.process.wait(60)
    file.write_text(file.read_text() + kept)
    keys = json.loads(run("secrets", "keys", "--json").stdout)["keys"]

    assert (started_without.returncode, key_id in started_without.stderr) == (1, True)
    assert (anew.returncode, read.stdout) == (0, "new")
    assert [(one["held"], one["secrets"]) for one in keys] == [(True, 1), (True, 0)]


class TestTheCommand:
    def test_keys_are_added_rewrapped_to_and_retired_while_it_is_known_what_each_wraps(
        self, instance: Serving, run: Run
    ) -> None:
        instance.data_dir.mkdir()
        (instance.data_dir / FILE_NAME).write_text(mint() + "\n")
        first = json.loads(run("secrets", "set", "FEED", "--reason", "x", "--json", given=VALUE).stdout)
        add = run("secrets", "keys", "--add")
        too_early = run("secrets", "keys", "--retire", first["key_id"])
        rewrapped = run("secrets", "rewrap", "--json")
        retired = run("secrets", "keys", "--retire", first["key_id"], "--json")
        read = run("secrets", "get", "FEED")

        assert add.returncode == 0, add.stderr
        assert (too_early.returncode, "still wraps 1 secrets" in too_early.stderr) == (3, True)
        assert json.loads(rewrapped.stdout)["rewrapped"] == 1
        assert [one["secrets"] for one in json.loads(retired.stdout)["keys"]] == [1]
        assert read.stdout == VALUE
        assert not re.search(r"irmk_[0-9a-f]{8}_", add.stdout + add.stderr + retired.stdout + retired.stderr)

    def test_makes_no_key_where_the_service_has_none(self, instance: Serving, run: Run) -> None:
        refused = run("secrets", "set", "FEED", "--reason", "x", given=VALUE)

        assert (refused.returncode, "only the service makes one" in refused.stderr) == (1, True)
        assert not (instance.data_dir / FILE_NAME).exists()

    def test_takes_keys_from_the_environment_or_a_file_that_it_names(self, instance: Serving, run: Run) -> None:
        line = mint()
        path = instance.data_dir.parent / "keys"
        path.write_text(line)
        by_value = {"INSTRUMENT_REGISTRY_MASTER_KEYS": line}
        by_file = {"INSTRUMENT_REGISTRY_MASTER_KEYS_FILE": str(path)}
        set_ = run("secrets", "set", "FEED", "--reason", "x", given=VALUE, **by_value)
        read = run("secrets", "get", "FEED", **by_file)
        both = run("secrets", "get", "FEED", **by_value, **by_file)

        assert (set_.returncode, read.stdout) == (0, VALUE), set_.stderr
        assert (both.returncode, "keep one" in both.stderr, line in both.stderr) == (2, True, False)

    def test_takes_a_value_from_a_file_as_it_is_and_never_as_an_argument(self, instance: Serving, run: Run) -> None:
        instance.data_dir.mkdir()
        (instance.data_dir / FILE_NAME).write_text(mint() + "\n")
        pem = instance.data_dir.parent / "some.pem"
        pem.write_text("one\ntwo\n")
        set_ = run("secrets", "set", "CERTIFICATE", "--reason", "x", "--file", str(pem))
        read = run("secrets", "get", "CERTIFICATE")
        argument = run("secrets", "set", "CERTIFICATE", VALUE, "--reason", "x")

        assert (set_.returncode, read.stdout) == (0, "one\ntwo\n")
        assert argument.returncode == 2
