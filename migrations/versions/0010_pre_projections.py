"""Projections of the fact log, snapshots of streams, and what was told day by day."""

from instrument_registry.database.revisions import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the positions of projections, the snapshots, and the one projection kept in tables."""
    run("""
        -- A generation is built beside the active one and takes its place; readers see the active one alone.
        create table instrument_registry.projections (
            name       text collate "C" not null check (length(name) between 1 and 100),
            generation integer not null default 1 check (generation > 0),
            position   bigint not null check (position >= 0),
            active     boolean not null default true,
            moved_at   timestamptz not null default now(),
            primary key (name, generation)
        );
        create unique index projections_active on instrument_registry.projections (name) where active;

        create table instrument_registry.snapshots (
            stream         text collate "C" not null references instrument_registry.stream_heads,
            version        bigint not null check (version > 0),
            schema_version smallint not null check (schema_version > 0),
            data           text not null,
            recorded_at    timestamptz not null default now(),
            primary key (stream, version)
        );

        create table instrument_registry.daily_facts (
            generation integer not null,
            day        date not null,
            type       text collate "C" not null,
            source     text collate "C" not null,
            facts      bigint not null check (facts > 0),
            primary key (generation, day, type, source)
        );

        grant select, insert, delete on instrument_registry.projections, instrument_registry.daily_facts to {{service}};
        grant update (position, active, moved_at) on instrument_registry.projections to {{service}};
        grant update (facts) on instrument_registry.daily_facts to {{service}};
        grant select, insert, delete on instrument_registry.snapshots to {{service}};
    """)
