"""Consumers of the fact log, what they hold, and their dead letters."""

from instrument_registry.database.revisions import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables of consumers and give them to the service."""
    run("""
        -- Everything up to `reached` has been handed out or passed over; of that, what is not settled is in `deliveries`.
        create table instrument_registry.consumers (
            consumer_id text collate "C" primary key check (consumer_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$'),
            event_types text[] not null check (cardinality(event_types) between 1 and 100),
            bulk        boolean not null,                -- single facts of bulk runs too
            shared      boolean not null,                -- several processes at once, in no common order
            reached     bigint not null check (reached >= 0),
            generation  bigint not null default 1,       -- another one after a seek or another filter
            created_at  timestamptz not null,
            created_by  text not null,
            seen_at     timestamptz not null default now(),
            silent_told boolean not null default false
        );

        -- One row per process that is being served, as long as that is renewed.
        create table instrument_registry.consumer_streams (
            stream_id     uuid primary key,
            consumer_id   text collate "C" not null references instrument_registry.consumers on delete cascade,
            process       text collate "C" not null check (length(process) between 1 and 100),
            generation    bigint not null,
            batch_size    integer not null,
            alive_until   timestamptz not null,
            progressed_at timestamptz not null default now(),
            waits_below   integer,                       -- it is to be woken when it holds no more than this
            leaving       boolean not null default false,
            unique (consumer_id, process)
        );

        create table instrument_registry.deliveries (
            consumer_id text collate "C" not null references instrument_registry.consumers on delete cascade,
            position    bigint not null,
            event_id    uuid not null,
            event_type  text collate "C" not null,       -- the name it travels under
            attempts    integer not null check (attempts >= 0),
            alone       boolean not null default false,  -- at its last attempt: then nobody else is to blame
            stream_id   uuid,                            -- in whose hands it is; null: it waits
            due_at      timestamptz not null default now(),
            replayed    boolean not null default false,
            failures    jsonb not null default '[]',
            primary key (consumer_id, position)
        ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

        create table instrument_registry.dead_letters (
            id          bigint generated always as identity primary key,
            consumer_id text collate "C" not null,       -- it may have been removed since
            position    bigint not null,
            event_id    uuid not null,
            event_type  text collate "C" not null,
            reason      text not null check (length(reason) between 1 and 200),
            attempts    integer not null,
            failures    jsonb not null,
            died_at     timestamptz not null default now(),
            unique (consumer_id, position)
        );
        create index dead_letters_reasons on instrument_registry.dead_letters (event_type, reason);
        create index dead_letters_age on instrument_registry.dead_letters (died_at);

        -- Where to begin for an instant.
        create index appends_recorded on instrument_registry.appends (recorded_at);

        grant select, insert, update, delete on instrument_registry.consumers, instrument_registry.consumer_streams,
            instrument_registry.deliveries, instrument_registry.dead_letters to {{service}};
    """)
    run("""
        -- The relay to Redis: one row. The log's own id stands on Redis too, so that streams of another log are not ours.
        create table instrument_registry.relay (
            one        boolean primary key default true check (one),
            log_id     uuid not null default gen_random_uuid(),
            state      text not null default 'stopped'
                       check (state in ('stopped', 'relaying', 'paused', 'unreachable')),
            reason     text,
            position   bigint not null default 0,          -- everything up to it stands on Redis, or was passed over
            run_id     text,                               -- of the Redis that was last seen
            refills    bigint not null default 0,
            since      timestamptz not null default now(), -- of the state
            seen_at    timestamptz not null default now()
        );
        insert into instrument_registry.relay default values;

        grant select on instrument_registry.relay to {{service}};
        grant update (state, reason, position, run_id, refills, since, seen_at) on instrument_registry.relay to {{service}};
    """)
