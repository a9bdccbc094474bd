"""Alembic's entry: run by `instrument_registry.database.migrations`, never by hand."""

import psycopg
from alembic import context
from sqlalchemy import create_engine, pool

from instrument_registry.database.pool import SCHEMA, conninfo

attributes = context.config.attributes
text = conninfo(attributes["url"], application="instrument-registry migrate", statement_timeout_seconds=0)
engine = create_engine(
    "postgresql+psycopg://",
    creator=lambda: psycopg.connect(text),
    poolclass=pool.NullPool,
)
with engine.connect() as connection:
    connection.exec_driver_sql(
        "select set_config('instrument_registry.service_role', %(role)s, false)", {"role": attributes["service_role"]}
    )
    connection.commit()
    context.configure(connection=connection, version_table_schema=SCHEMA, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
