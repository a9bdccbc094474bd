"""Parameters and toggles set live, every version of them, and changes that are to come."""

from instrument_registry.database.revisions import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the tables of configuration."""
    run("""
        -- One row a change of some parameters at once; what is in force is the sum of them.
        create table instrument_registry.configuration_versions (
            version        bigint primary key check (version > 0),
            changes        jsonb not null,             -- {name: {"old": text or null, "new": text or null}}
            reason         text not null check (length(reason) between 1 and 500),
            actor          text not null,
            correlation_id text not null,
            at             timestamptz not null,
            reverts_to     bigint
        );

        create table instrument_registry.configuration_values (
            name       text collate "C" primary key check (length(name) between 1 and 100),
            value      text not null,
            version    bigint not null references instrument_registry.configuration_versions
        );

        create table instrument_registry.configuration_schedule (
            id             bigint generated always as identity primary key,
            due_at         timestamptz not null,
            changes        jsonb not null,             -- {name: text or null}
            reason         text not null check (length(reason) between 1 and 500),
            actor          text not null,
            correlation_id text not null,
            made_at        timestamptz not null,
            state          text not null default 'waiting' check (state in ('waiting', 'done', 'refused', 'cancelled')),
            version        bigint,
            problem        text,
            ended_at       timestamptz
        );
        create index configuration_schedule_due on instrument_registry.configuration_schedule (due_at)
            where state = 'waiting';

        grant select, insert on instrument_registry.configuration_versions to {{service}};
        grant select, insert, update, delete on instrument_registry.configuration_values to {{service}};
        grant select, insert on instrument_registry.configuration_schedule to {{service}};
        grant update (state, version, problem, ended_at) on instrument_registry.configuration_schedule to {{service}};
    """)
