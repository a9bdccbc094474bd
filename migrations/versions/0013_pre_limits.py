"""Rate limits of single keys."""

from instrument_registry.database.revisions import run

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table of limits."""
    run("""
        -- Where a key may ask more or less often than the parameters say; null: as they say.
        create table instrument_registry.key_limits (
            key_id      text not null references instrument_registry.api_keys,
            route_class text not null check (route_class in ('expensive', 'write', 'read')),
            per_minute  integer check (per_minute between 1 and 1000000),
            per_second  integer check (per_second between 1 and 1000000),
            reason      text not null check (length(reason) between 1 and 500),
            set_by      text not null,
            set_at      timestamptz not null,
            primary key (key_id, route_class),
            check (per_minute is not null or per_second is not null)
        );

        grant select, insert, delete on instrument_registry.key_limits to {{service}};
    """)
