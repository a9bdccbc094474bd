"""The fact log: streams, appends, facts in monthly partitions, and the positions readers follow."""

from instrument_registry.database.revisions import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the log's tables and the months ahead, and give the service what it needs of them."""
    run("""
        -- An id that sorts by time (UUID version 7) and leaves its last 20 bits to the facts of one append.
        create function instrument_registry.new_event_id() returns uuid language sql volatile
        set search_path = pg_catalog, pg_temp as $$
            select (left(at, 8) || '-' || substr(at, 9) || '-7' || substr(chance, 16, 8)
                    || '-' || substr(chance, 25, 7) || '00000')::uuid
              from (select lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') as at,
                           gen_random_uuid()::text as chance) as parts
        $$;

        -- Each takes its number after it has the row of its stream, so that numbers follow versions in every stream.
        create sequence instrument_registry.append_numbers as bigint cache 1;

        create table instrument_registry.stream_heads (
            stream  text collate "C" primary key check (length(stream) between 1 and 200),
            version bigint not null check (version > 0)
        );

        -- One row per append, for ever: a run of facts of one stream, what they have in common, and their ids. The
        -- fact at place n (from 0) has number + n, event_id + n and version - facts + 1 + n.
        create table instrument_registry.appends (
            number         bigint primary key check (number > 0 and number & 1048575 = 0),
            event_id       uuid not null default instrument_registry.new_event_id() unique,
            stream         text collate "C" not null,
            version        bigint not null,
            facts          integer not null check (facts between 1 and 1048576),
            actor          text not null,
            correlation_id text not null,
            causation_id   uuid,
            source         text,
            recorded_at    timestamptz not null default now(),
            unique (stream, version),
            check (facts = 1 or right(event_id::text, 5) = '00000')
        );

        create table instrument_registry.events (
            number         bigint not null,
            subject        text collate "C",
            type           text collate "C" not null,
            schema_version smallint not null check (schema_version > 0),
            data           text not null,
            occurred_at    timestamptz not null,
            recorded_at    timestamptz not null,
            primary key (number, recorded_at)
        ) partition by range (recorded_at);
        create index events_subject on instrument_registry.events (subject, number) where subject is not null;

        -- A queue that is empty at rest: what is committed or about to be, and has no position yet.
        create table instrument_registry.pending (
            number bigint primary key,
            facts  integer not null
        ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

        -- Written by the sequencer alone: the first fact of an append has `position`, the next one position + 1.
        create table instrument_registry.positions (
            position bigint primary key check (position > 0),
            number   bigint not null unique,
            facts    integer not null
        );

        -- Attached rather than created in place: that never waits for readers or writers, nor makes them wait.
        create function instrument_registry.ensure_event_months(months_ahead integer) returns integer language plpgsql
        security definer set search_path = pg_catalog, pg_temp as $$
        declare
            month    timestamp := date_trunc('month', now() at time zone 'UTC');
            name     text;
            created  integer := 0;
        begin
            if months_ahead not between 0 and 24 then
                raise exception 'months_ahead is % and not between 0 and 24', months_ahead;
            end if;
            perform pg_advisory_xact_lock(x'69726d6f6e746873'::bigint);
            for ahead in 0..months_ahead loop
                name := 'events_' || to_char(month, 'YYYY_MM');
                if to_regclass('instrument_registry.' || name) is null then
                    execute format(
                        'create table instrument_registry.%I '
                        '(like instrument_registry.events including defaults including constraints)', name);
                    execute format(
                        'alter table instrument_registry.events attach partition instrument_registry.%I '
                        'for values from (%L) to (%L)', name, month at time zone 'UTC',
                        (month + interval '1 month') at time zone 'UTC');
                    created := created + 1;
                end if;
                month := month + interval '1 month';
            end loop;
            return created;
        end
        $$;
        revoke execute on function instrument_registry.ensure_event_months(integer) from public;
        select instrument_registry.ensure_event_months(3);

        grant execute on function instrument_registry.new_event_id() to {{service}};
        grant execute on function instrument_registry.ensure_event_months(integer) to {{service}};
        grant usage on sequence instrument_registry.append_numbers to {{service}};
        grant select, insert on instrument_registry.stream_heads, instrument_registry.appends,
            instrument_registry.events, instrument_registry.positions to {{service}};
        grant update (version) on instrument_registry.stream_heads to {{service}};
        grant select, insert, delete on instrument_registry.pending to {{service}};
    """)
