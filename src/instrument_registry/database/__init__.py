"""PostgreSQL: a pool, transactions, migrations; no business word inside."""

from instrument_registry.database.pool import (
    SCHEMA,
    Database,
    DatabaseResting,
    DatabaseUnavailable,
    LoginRefused,
    NotMigrated,
    RightsLacking,
    Transaction,
    login_of,
    role_to_work_under,
)

__all__ = [
    "SCHEMA",
    "Database",
    "DatabaseResting",
    "DatabaseUnavailable",
    "LoginRefused",
    "NotMigrated",
    "RightsLacking",
    "Transaction",
    "login_of",
    "role_to_work_under",
]
