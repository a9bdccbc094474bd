"""Consumers of the fact log, their positions and their dead letters."""

from instrument_registry.database.revisions import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Nothing yet."""
    run("select")
