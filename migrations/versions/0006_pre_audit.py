"""The audit: records, their tree and its checkpoints."""

from instrument_registry.database.revisions import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Nothing yet."""
    run("select")
