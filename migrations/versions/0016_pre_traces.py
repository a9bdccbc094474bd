"""Whose trace an append and a job belong to, where a caller or a collector gave it one."""

from instrument_registry.database.revisions import run

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Make room for W3C's traceparent; what is not traced takes none."""
    run("""
        alter table instrument_registry.appends
            add column traceparent text collate "C" check (length(traceparent) = 55);
        alter table instrument_registry.jobs
            add column traceparent text collate "C" check (length(traceparent) = 55);
    """)
