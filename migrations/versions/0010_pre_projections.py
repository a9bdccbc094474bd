"""Projections of the fact log, and snapshots of streams."""

from instrument_registry.database.revisions import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Nothing yet."""
    run("select")
