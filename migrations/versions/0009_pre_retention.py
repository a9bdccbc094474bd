"""Retention policies, and archives of what has gone."""

from instrument_registry.database.revisions import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nothing yet."""
    run("select")
