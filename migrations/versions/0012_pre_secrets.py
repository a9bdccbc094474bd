"""Secrets that operators set, sealed under versioned keys; those of webhooks say which version of an endpoint they are of."""

from instrument_registry.database.revisions import run

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the table of secrets."""
    run("""
        -- One row a version, for ever; its sealed value only as long as it may be read.
        create table instrument_registry.secret_versions (
            id             bigint generated always as identity primary key,
            environment    text collate "C" not null check (length(environment) between 1 and 40),
            name           text collate "C" not null check (length(name) between 1 and 100),
            version        integer not null check (version > 0),
            sealed         bytea,                      -- none: it can be read no more
            actor          text not null,
            correlation_id text not null,
            at             timestamptz not null,
            reason         text not null check (length(reason) between 1 and 500),
            ends_at        timestamptz,                -- none: it is in force
            ended_by       text,
            ended_reason   text,
            unique (environment, name, version)
        );
        create unique index secret_versions_in_force on instrument_registry.secret_versions (environment, name)
            where ends_at is null;
        create index secret_versions_ending on instrument_registry.secret_versions (ends_at) where sealed is not null;

        -- A secret of a webhook is bound to the version of its endpoint from which on it signs.
        alter table instrument_registry.webhook_secrets add column version integer not null default 1;
        alter table instrument_registry.webhook_secrets alter column version drop default;

        grant select, insert on instrument_registry.secret_versions to {{service}};
        grant update (sealed, ends_at, ended_by, ended_reason) on instrument_registry.secret_versions to {{service}};
    """)
