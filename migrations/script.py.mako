"""${message}."""

from instrument_registry.database.revisions import run

revision = "${up_revision}"
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Migrations go forward only; a mistake is mended by the next one."""
    run("""
    """)
