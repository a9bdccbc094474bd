"""How a process's pool of connections is doing, read when somebody asks."""

from instrument_registry.database.pool import Database
from instrument_registry.telemetry.watched import Number, Watched

NAME = "instrument_registry_db_connections"


def _active(database: Database) -> float:
    seen = database.waiting()
    return seen.get("pool_size", 0) - seen.get("pool_available", 0)


CONNECTIONS: Watched[Database] = Watched(
    Number(f"{NAME}_active", "Connections of a process's pool that somebody works with", _active),
    Number(f"{NAME}_idle", "Connections of the pool that are free", lambda one: one.waiting().get("pool_available", 0)),
    Number(f"{NAME}_waiting", "Who waits for a connection", lambda one: one.waiting().get("requests_waiting", 0)),
    Number(f"{NAME}_max", "Connections that the pool may have", lambda one: one.waiting().get("pool_max", 0)),
)
