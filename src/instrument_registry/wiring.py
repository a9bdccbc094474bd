"""Settings in, a `Registry` out: the only place where parts meet."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from instrument_registry import clock
from instrument_registry.breakers import Breakers
from instrument_registry.breakers.terms import CONFIGURATION_SERVICE, DATABASE
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.clock import Clock
from instrument_registry.configuration.external import External, Keeping, ServiceAddress, see_required
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.measures import IN_FORCE
from instrument_registry.configuration.model import Sources, find
from instrument_registry.configuration.parameters import PARAMETERS, SEARCH_INDEX_REFRESH
from instrument_registry.configuration.service import pins
from instrument_registry.database import Database, DatabaseResting, role_to_work_under
from instrument_registry.database.measures import CONNECTIONS
from instrument_registry.sealing import sealer_of
from instrument_registry.settings import Settings, known_names, variables
from instrument_registry.subscriptions.planner.model import Level, Plan, Problem
from instrument_registry.subscriptions.plans.planning import Planning
from instrument_registry.subscriptions.solver import Solver


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What every door works with, built once when a process starts."""

    settings: Settings
    database: Database
    clock: Clock
    catalogue: LiveCatalogue  # read into memory by whoever answers searches
    configuration: LiveConfiguration
    breakers: Breakers = field(default_factory=Breakers)
    solver: Solver = field(default_factory=Solver)  # a process of its own, started with the first question
    planning: Planning = field(init=False)
    # What a process knows of itself, for its health: whether it is well, and in words.
    conditions: dict[str, Callable[[], tuple[bool, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planning", planning_of(self.database, self.clock, self.solver))


async def open_registry(
    settings: Settings, *, database_url: str, application: str = "instrument-registry", asks: bool = True
) -> Registry:
    """Connect the parts; whoever owns the tables works under the service's role.

    Whoever does not ask takes what is kept of an external service, and does without what is required: it may be about
    to set it. Raises: DatabaseUnavailable, RequiredMissing.
    """
    role = await role_to_work_under(database_url)
    breakers = Breakers(settings.data_dir)
    breaker = breakers.of(DATABASE, resting=DatabaseResting)
    sources, external = sources_of(settings, breakers)
    database = await Database(database_url, role=role, application=application, breaker=breaker).open()
    try:
        if external is not None and asks:
            await external.start()
            sources = replace(sources, external=external.values)
        configuration = LiveConfiguration(database, sources, external=external)
        if sources.required and asks:
            see_required(await configuration.refresh(), sources.required, external)
    except BaseException:
        await database.close()
        raise
    CONNECTIONS.watch(database)
    settings = settings.with_external(sources.external)
    IN_FORCE.watch(configuration)
    catalogue = LiveCatalogue(database, clock.now, proof_seconds=lambda: float(configuration.now[SEARCH_INDEX_REFRESH]))
    return Registry(
        settings=settings, database=database, clock=clock.now, catalogue=catalogue, configuration=configuration,
        breakers=breakers,
    )  # fmt: skip


def planning_of(database: Database, now: Clock, solver: Solver) -> Planning:
    """Plans made with a solver, and looked at by other code in its process."""

    async def solve(problem: Problem, level: Level, timeout_seconds: float) -> Plan:
        return await solver.plan(problem, level=level, timeout_seconds=timeout_seconds)

    async def check(problem: Problem, plan: Plan) -> list[str]:
        return [f"{one.rule}: {one.detail}" for one in await solver.faults(problem, plan)]

    return Planning(database, now, solve=solve, check=check, chance=lambda: os.urandom(10))


def sources_of(settings: Settings, breakers: Breakers) -> tuple[Sources, External | None]:
    """What the environment says, and what is kept of an external service where one is named.

    Raises: UnknownParameter, BadValue.
    """
    environment = pins(variables(), settings=known_names())
    set_here = environment.keys() | {name.upper() for name in settings.model_fields_set}
    required = frozenset({find(PARAMETERS, name).name for name in settings.config_service_required} - set_here)
    if settings.config_service_url is None:
        return Sources(environment=environment, required=required), None
    key = settings.config_service_key
    address = ServiceAddress(
        url=settings.config_service_url,
        environment=settings.environment,
        key=key.get_secret_value() if key else None,
    )
    external = External(
        address,
        Keeping(settings.data_dir, address, sealer=lambda: sealer_of(settings)),
        parameters=[one for one in PARAMETERS.values() if one.name not in set_here],
        pins=environment,
        required=required,
        breaker=breakers.of(CONFIGURATION_SERVICE),
        clock=clock.now,
    )
    external.recall()
    return Sources(environment=environment, external=external.values, required=required), external


async def close_registry(registry: Registry) -> None:
    """Give everything back."""
    await registry.solver.close()
    await registry.database.close()
    CONNECTIONS.forget(registry.database)
    IN_FORCE.forget(registry.configuration)
