"""API keys that end, and that are replaced with an overlap."""

from instrument_registry.database.revisions import run

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Let keys end, and say which one replaces which."""
    run("""
        alter table instrument_registry.api_keys
            add column expires_at  timestamptz,
            add column replaces    text unique references instrument_registry.api_keys,
            add column replaced_by text unique references instrument_registry.api_keys,
            add check (replaced_by is null or expires_at is not null);

        comment on column instrument_registry.api_keys.expires_at is 'From this instant on the key opens nothing';

        -- A key that is replaced ends sooner, never later: what else it may do does not change.
        grant update (expires_at, replaced_by) on instrument_registry.api_keys to {{service}};
    """)
