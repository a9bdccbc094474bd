"""Webhook endpoints, their secrets and deliveries."""

from instrument_registry.database.revisions import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Nothing yet."""
    run("select")
