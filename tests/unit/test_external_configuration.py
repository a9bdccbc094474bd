"""An external configuration service: what is in force when it answers, is away, is slow, or refuses our key."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from config_service import KEY, ConfigService, config_service
from frame import NOON
from instrument_registry.breakers import Breakers
from instrument_registry.breakers.terms import CONFIGURATION_SERVICE
from instrument_registry.configuration.external import (
    External,
    Keeping,
    RequiredMissing,
    ServiceAddress,
    see_required,
)
from instrument_registry.configuration.external.kept import FILE_NAME
from instrument_registry.configuration.model import Snapshot, Source, Sources, resolve
from instrument_registry.configuration.parameters import CACHE_TTL_SECONDS, EVENT_BROKER_URL, PARAMETERS
from instrument_registry.sealing import sealer_in

PREFIX = "INSTRUMENT_REGISTRY_"
TTL, BROKER = "CACHE_TTL_SECONDS", "EVENT_BROKER_URL"
SECRET = "redis://:hunter2-hunter2@redis.internal:6379/0"
REFRESH_SECONDS = 30.0
STATES = ("cold", "warm", "corrupt cache", "stale 10 min", "wrong key", "slow 10 s")


@dataclass
class Instance:
    """One data folder, a process on it, and the hands of both clocks."""

    folder: Path
    service: ConfigService
    now: datetime = NOON
    seconds: float = 1000.0
    key: str = KEY
    request_seconds: float = 60.0
    pins: tuple[tuple[str, str], ...] = ()
    required: frozenset[str] = frozenset()

    def process(self) -> External:
        address = ServiceAddress(url=self.service.url, environment="production", key=self.key)
        breakers = Breakers(self.folder, elapsed=lambda: self.seconds, clock=lambda: self.now)
        return External(
            address,
            Keeping(self.folder, address, sealer=lambda: sealer_in(self.folder)),
            parameters=[one for one in PARAMETERS.values() if one.name not in dict(self.pins)],
            pins=dict(self.pins),
            required=self.required,
            breaker=breakers.of(CONFIGURATION_SERVICE),
            clock=lambda: self.now,
            elapsed=lambda: self.seconds,
            request_seconds=self.request_seconds,
        )

    async def started(self) -> tuple[External, Snapshot]:
        """As a process starts; Raises: RequiredMissing."""
        external = self.process()
        await external.start(bound_seconds=60)
        there = snapshot(external, pins=self.pins)
        see_required(there, self.required, external)
        return external, there

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


def snapshot(external: External, *, pins: Iterable[tuple[str, str]] = ()) -> Snapshot:
    return resolve(PARAMETERS.values(), Sources(environment=dict(pins), external=external.values), version=0)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[ConfigService]:
    async with config_service() as one:
        one.values[PREFIX + TTL] = 77
        one.secrets[f"{PREFIX}{BROKER}@production"] = SECRET
        yield one


@pytest.fixture
def instance(service: ConfigService, tmp_path: Path) -> Instance:
    return Instance(tmp_path, service)


async def arranged(instance: Instance, state: str) -> None:
    """Bring the data folder and the service into a state."""
    service = instance.service
    if state in ("warm", "corrupt cache", "stale 10 min"):
        await instance.process().start(bound_seconds=60)
        instance.passes(600 if state == "stale 10 min" else 10)
    if state == "corrupt cache":
        path = instance.folder / FILE_NAME
        path.write_text(path.read_text(encoding="utf-8").replace('"77"', '"78"'), encoding="utf-8")
    if state == "wrong key":
        instance.key = "another-key"
    elif state == "slow 10 s":
        service.slow, instance.request_seconds = True, 0.2
    else:
        service.status = 503
    service.asked.clear()


class TestEveryState:
    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("kind", ["required", "safe default", "secret"])
    async def test_is_answered_by_what_is_known_or_by_no_start(self, instance: Instance, state: str, kind: str) -> None:
        instance.required = frozenset({TTL}) if kind == "required" else frozenset()
        await arranged(instance, state)
        known = state in ("warm", "stale 10 min")
        why = {
            "cold": "answered 503", "corrupt cache": "is damaged", "wrong key": "refuses our key",
            "slow 10 s": "takes too long",
        }.get(state, "")  # fmt: skip

        if kind == "required" and not known:
            with pytest.raises(RequiredMissing) as caught:
                await instance.started()
            assert str(caught.value).startswith("CACHE_TTL_SECONDS is required and has no value")
            assert why in str(caught.value)
            return
        external, there = await instance.started()

        name, parameter, value = (
            (BROKER, EVENT_BROKER_URL, SECRET) if kind == "secret" else (TTL, CACHE_TTL_SECONDS, 77)
        )
        assert there[parameter] == (value if known else parameter.default)
        assert there.settings[name].source is (Source.EXTERNAL if known else Source.DEFAULT)
        assert external.age_seconds == {"warm": 10, "stale 10 min": 600}.get(state)
        well, said = external.report(refresh_seconds=REFRESH_SECONDS)
        assert not well
        assert why in said
        assert SECRET not in said + (instance.folder / FILE_NAME).read_text() if known else True

    @pytest.mark.parametrize("state", ["wrong key", "slow 10 s"])
    async def test_of_the_service_leaves_what_it_said_last(self, instance: Instance, state: str) -> None:
        instance.required = frozenset({TTL, BROKER})
        await arranged(instance, "warm")
        instance.service.status = None
        await arranged(instance, state)

        _, there = await instance.started()

        assert (there[CACHE_TTL_SECONDS], there[EVENT_BROKER_URL]) == (77, SECRET)


class TestAsking:
    async def test_names_what_this_program_declares_and_the_environment_leaves_open(self, instance: Instance) -> None:
        instance.pins = ((TTL, "5"),)

        _, there = await instance.started()

        asked = {name.partition("@")[0].removeprefix(PREFIX) for name in instance.service.asked}
        assert asked == set(PARAMETERS) - {TTL}
        assert there.settings[TTL].source is Source.ENVIRONMENT

    async def test_with_a_wrong_key_stops_and_is_not_repeated_soon(self, instance: Instance) -> None:
        instance.key = "another-key"
        external = instance.process()
        await external.start()
        first = len(instance.service.asked)

        for _ in range(50):
            instance.passes(1)
            await external.step(refresh_seconds=1)
        soon = len(instance.service.asked) - first
        instance.passes(60)
        await external.step(refresh_seconds=1)

        assert first <= 4
        assert soon == 0
        assert len(instance.service.asked) > first

    async def test_is_done_by_one_process_for_all(self, instance: Instance) -> None:
        one, other = instance.process(), instance.process()
        await one.start()
        await other.start()
        asked = len(instance.service.asked)
        instance.service.values[PREFIX + TTL] = 78
        instance.passes(REFRESH_SECONDS)

        await one.step(refresh_seconds=REFRESH_SECONDS)
        await other.step(refresh_seconds=REFRESH_SECONDS)

        assert snapshot(one)[CACHE_TTL_SECONDS] == snapshot(other)[CACHE_TTL_SECONDS] == 78
        assert asked == len(PARAMETERS)
        assert len(instance.service.asked) == 2 * asked

    async def test_again_and_again_stops_while_it_is_away_and_begins_when_it_is_back(self, instance: Instance) -> None:
        instance.service.status = 503
        external = instance.process()
        await external.start()
        for _ in range(100):
            instance.passes(5)
            await external.step(refresh_seconds=1)
        tried = len(instance.service.asked)

        instance.service.status = None
        instance.passes(61)
        await external.step(refresh_seconds=1)

        assert tried < 60  # of a hundred turns, each of which may ask for four at once
        assert external.report(refresh_seconds=REFRESH_SECONDS)[0]
        assert snapshot(external)[CACHE_TTL_SECONDS] == 77


class TestAnAnswer:
    async def test_that_a_parameter_cannot_have_leaves_the_one_before(self, instance: Instance) -> None:
        external, _ = await instance.started()
        instance.service.values[PREFIX + TTL] = "soon"
        instance.passes(REFRESH_SECONDS)

        await external.step(refresh_seconds=REFRESH_SECONDS)

        well, said = external.report(refresh_seconds=REFRESH_SECONDS)
        assert snapshot(external)[CACHE_TTL_SECONDS] == 77
        assert (well, "CACHE_TTL_SECONDS 'soon' is no integer" in said) == (False, True)

    async def test_that_breaks_a_rule_between_parameters_is_not_used(self, instance: Instance) -> None:
        instance.service.values |= {PREFIX + "SLA_P95_MS": 900, PREFIX + "SEARCH_TIMEOUT": 800}

        external, there = await instance.started()

        assert there.settings["SLA_P95_MS"].source is there.settings["SEARCH_TIMEOUT"].source is Source.DEFAULT
        assert there[CACHE_TTL_SECONDS] == 77
        assert "SLA_P95_MS must not be above" in external.report(refresh_seconds=REFRESH_SECONDS)[1]

    async def test_that_is_withdrawn_ends_unless_it_is_required(self, instance: Instance) -> None:
        instance.service.values[PREFIX + "MAX_RESULTS_PER_PAGE"] = 10
        instance.required = frozenset({TTL})
        external, _ = await instance.started()
        instance.service.values.clear()
        instance.passes(REFRESH_SECONDS)

        await external.step(refresh_seconds=REFRESH_SECONDS)

        there = snapshot(external)
        assert there[CACHE_TTL_SECONDS] == 77
        assert there.settings["MAX_RESULTS_PER_PAGE"].source is Source.DEFAULT
        assert "none any more" in external.report(refresh_seconds=REFRESH_SECONDS)[1]

    @pytest.mark.parametrize(
        "body", [b"<html>login</html>", b"{}", b'{"value": {"a": 1}}', b'{"value": "' + b"x" * 300_000]
    )
    async def test_that_is_no_value_is_told(self, instance: Instance, body: bytes) -> None:
        instance.service.body = body

        external, there = await instance.started()

        assert there.settings[TTL].source is Source.DEFAULT
        assert external.problem.startswith("The configuration service answer")

    async def test_of_another_registrys_default_is_none(self, instance: Instance) -> None:
        instance.service.body = json.dumps({"key": "X", "value": 300, "source": "default", "version": 0}).encode()

        external, there = await instance.started()

        assert external.values == {}
        assert external.problem is None
        assert there.settings[TTL].source is Source.DEFAULT

    async def test_for_what_is_read_at_the_start_waits_for_the_next_one(self, instance: Instance) -> None:
        external, _ = await instance.started()
        instance.service.secrets[f"{PREFIX}{BROKER}@production"] = "redis://elsewhere:6379/0"
        instance.passes(REFRESH_SECONDS)

        await external.step(refresh_seconds=REFRESH_SECONDS)
        _, after = await instance.started()

        assert snapshot(external)[EVENT_BROKER_URL] == SECRET
        assert after[EVENT_BROKER_URL] == "redis://elsewhere:6379/0"


class TestTheFile:
    async def test_holds_no_secret_as_it_is_and_is_ours_alone(self, instance: Instance) -> None:
        await instance.started()

        path = instance.folder / FILE_NAME
        assert b"hunter2" not in b"".join(one.read_bytes() for one in instance.folder.rglob("*") if one.is_file())
        assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("damage", ["cut", "empty", "swapped secret", "another day"])
    async def test_is_refused_when_it_is_damaged_and_written_anew(self, instance: Instance, damage: str) -> None:
        await instance.started()
        path = instance.folder / FILE_NAME
        text = path.read_text(encoding="utf-8")
        there = json.loads(text)
        if damage == "swapped secret":
            there["content"]["secrets"][BROKER] = there["content"]["secrets"][BROKER][:-8] + "AAAAAAA="
        if damage == "another day":
            there["content"]["read_at"] = "2030-01-01T00:00:00Z"
        path.write_text({"cut": text[:-40], "empty": ""}.get(damage, json.dumps(there)), encoding="utf-8")
        instance.service.status, instance.now = 503, instance.now + timedelta(seconds=10)
        refused, _ = await instance.started()
        instance.service.status = None
        instance.passes(61)
        again, _ = await instance.started()

        assert (refused.values, "is damaged" in refused.problem) == ({}, True)
        assert (again.problem, json.loads(path.read_text())["content"]["values"][TTL]) == (None, "77")

    async def test_of_another_service_is_not_used(self, instance: Instance) -> None:
        await instance.started()
        async with config_service() as elsewhere:
            elsewhere.status = 503
            instance.service = elsewhere
            external, _ = await instance.started()

        assert external.values == {}
