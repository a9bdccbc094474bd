"""Settings in, a `Registry` out: the only place where parts meet."""

from dataclasses import dataclass

from instrument_registry import clock
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.clock import Clock
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.configuration.parameters import SEARCH_INDEX_REFRESH
from instrument_registry.configuration.service import pins
from instrument_registry.database import Database, role_to_work_under
from instrument_registry.settings import Settings, known_names, variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What every door works with, built once when a process starts."""

    settings: Settings
    database: Database
    clock: Clock
    catalogue: LiveCatalogue  # read into memory by whoever answers searches
    configuration: LiveConfiguration


async def open_registry(settings: Settings, *, database_url: str, application: str = "instrument-registry") -> Registry:
    """Connect the parts; whoever owns the tables works under the service's role. Raises: DatabaseUnavailable."""
    role = await role_to_work_under(database_url)
    database = await Database(database_url, role=role, application=application).open()
    configuration = LiveConfiguration(database, Sources(environment=pins(variables(), settings=known_names())))
    catalogue = LiveCatalogue(database, clock.now, proof_seconds=lambda: float(configuration.now[SEARCH_INDEX_REFRESH]))
    return Registry(
        settings=settings, database=database, clock=clock.now, catalogue=catalogue, configuration=configuration
    )


async def close_registry(registry: Registry) -> None:
    """Give everything back."""
    await registry.database.close()
