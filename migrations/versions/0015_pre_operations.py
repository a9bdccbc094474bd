"""What operators tell every process, and what background processes say of themselves."""

from instrument_registry.database.revisions import run

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create the tables of operations."""
    run("""
        -- Something every process does once each time its number has grown: evict a cache, reset breakers.
        create table instrument_registry.standing_orders (
            name   text collate "C" primary key check (length(name) between 1 and 100),
            number bigint not null check (number > 0),
            actor  text not null,
            at     timestamptz not null
        );

        -- Work that one process does now, whoever comes first.
        create table instrument_registry.work_asked (
            work     text collate "C" primary key check (length(work) between 1 and 100),
            number   bigint not null check (number > 0),
            actor    text not null,
            at       timestamptz not null,
            taken    bigint not null default 0,        -- the number that was done last
            taken_by text,
            taken_at timestamptz
        );

        -- One row a background process: what its work is doing, written when that changes and a few times a minute.
        create table instrument_registry.background_processes (
            process    text collate "C" primary key,
            started_at timestamptz not null,
            seen_at    timestamptz not null,
            work       jsonb not null                  -- [{"name": …, "state": …, …}]
        );

        grant select, insert, update on instrument_registry.standing_orders to {{service}};
        grant select, insert, update on instrument_registry.work_asked to {{service}};
        grant select, insert, update, delete on instrument_registry.background_processes to {{service}};
    """)
