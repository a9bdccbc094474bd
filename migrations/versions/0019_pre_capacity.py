"""What accounts at brokers can carry, every version of it, and how their connections are."""

from instrument_registry.database.revisions import run

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Create the tables of capacity."""
    run("""
        create table instrument_registry.capacity_accounts (
            name        text collate "C" primary key check (length(name) between 1 and 40),
            broker      text not null,
            key_name    text collate "C",                     -- what its API key is called, never the key
            version     integer not null,
            terms       jsonb not null,                       -- what was said of it; the rest is its broker's profile
            reason      text not null,
            actor       text not null,
            created_at  timestamptz not null,
            changed_at  timestamptz not null,
            retired_at  timestamptz
        );
        -- The limits of a key are counted by the account that has it.
        create unique index capacity_accounts_key
            on instrument_registry.capacity_accounts (broker, key_name) where retired_at is null and key_name is not null;

        create table instrument_registry.capacity_versions (
            account         text collate "C" not null references instrument_registry.capacity_accounts,
            version         integer not null,
            terms           jsonb,                            -- none: retired
            reason          text not null,
            actor           text not null,
            correlation_id  text not null,
            at              timestamptz not null,
            primary key (account, version)
        );

        -- A connection nobody has spoken of has no row: it may be opened.
        create table instrument_registry.capacity_connections (
            account      text collate "C" not null references instrument_registry.capacity_accounts,
            number       smallint not null,
            health       text not null check (health in ('connected', 'degraded', 'draining', 'lost')),
            reason       text,
            since        timestamptz not null,
            reported_at  timestamptz not null,
            primary key (account, number)
        ) with (fillfactor = 50);

        -- The highest epoch of a lease under which anybody has reported for an account.
        create table instrument_registry.capacity_epochs (
            account  text collate "C" primary key references instrument_registry.capacity_accounts,
            epoch    bigint not null
        );

        create table instrument_registry.capacity_ticks (
            account        text collate "C" not null references instrument_registry.capacity_accounts,
            instrument_id  bigint not null,
            at             timestamptz not null,
            primary key (account, instrument_id)
        ) with (fillfactor = 50);

        -- Grows with every change of limits and of health: whoever plans knows by it that it is another question.
        create table instrument_registry.capacity_standing (
            only_one  boolean primary key default true check (only_one),
            version   bigint not null
        );
        insert into instrument_registry.capacity_standing (version) values (0);

        grant select, insert, update on instrument_registry.capacity_accounts to {{service}};
        grant select, insert on instrument_registry.capacity_versions to {{service}};
        grant select, insert, update, delete on instrument_registry.capacity_connections to {{service}};
        grant select, insert, update on instrument_registry.capacity_epochs to {{service}};
        grant select, insert, update, delete on instrument_registry.capacity_ticks to {{service}};
        grant select, update on instrument_registry.capacity_standing to {{service}};
    """)
