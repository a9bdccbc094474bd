"""What a migration may use: its SQL is run as it stands, with the service's role filled in."""

from typing import cast

import psycopg
from alembic import op
from psycopg import sql
from psycopg.rows import TupleRow

SERVICE = "{{service}}"


def run(statements: str) -> None:
    """Run plain SQL as the owner; `{{service}}` stands for the role the service works under.

    The driver takes the text directly: a colon or a per cent sign in it means nothing special.
    """
    connection = cast("psycopg.Connection[TupleRow]", op.get_bind().connection.dbapi_connection)
    if SERVICE in statements:
        row = connection.execute("select current_setting('instrument_registry.service_role')").fetchone()
        assert row is not None
        statements = statements.replace(SERVICE, sql.Identifier(row[0]).as_string(connection))
    connection.execute(statements.encode())
