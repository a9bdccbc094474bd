"""The audit: records, their tree and its checkpoints; the service may add to them and nothing else."""

from instrument_registry.database.revisions import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the audit's tables and the months ahead, and give the service what it needs of them."""
    run("""
        -- One record per append that is audited, under the append's number and time. The text is what is hashed and
        -- shown; the other columns are there to search by and must say what the text says.
        create table instrument_registry.audit_records (
            number         bigint not null,
            at             timestamptz not null,
            action         text collate "C" not null,
            actor          text collate "C" not null,
            subject        text collate "C" not null,
            correlation_id text collate "C" not null,
            text           text not null,
            primary key (number, at)
        ) partition by range (at);
        create index audit_records_actor on instrument_registry.audit_records (actor, number);
        create index audit_records_subject on instrument_registry.audit_records (subject, number);
        create index audit_records_action on instrument_registry.audit_records (action, number);
        create index audit_records_correlation on instrument_registry.audit_records (correlation_id, number);

        -- The tree's leaves, in the order of the events: written by the sealer alone, never dropped.
        create table instrument_registry.audit_leaves (
            position bigint primary key check (position > 0),
            number   bigint not null unique,
            at       timestamptz not null,
            leaf     bytea not null check (octet_length(leaf) = 32)
        );

        -- Full tiles of 256 neighbouring hashes: of leaves (level 0), of the tiles below (level 1 and up).
        create table instrument_registry.audit_tiles (
            level  smallint not null check (level between 0 and 7),
            index  bigint not null check (index >= 0),
            root   bytea not null check (octet_length(root) = 32),
            hashes bytea not null check (octet_length(hashes) = 8192),
            primary key (level, index)
        );
        alter table instrument_registry.audit_tiles alter column hashes set storage external;

        -- Public keys under which checkpoints were signed; which of them to believe nobody can learn here.
        create table instrument_registry.audit_keys (
            key_id        text collate "C" primary key check (key_id ~ '^[0-9a-f]{8}$'),
            verifier      text not null unique,
            registered_at timestamptz not null
        );

        create table instrument_registry.audit_checkpoints (
            size   bigint primary key check (size > 0),
            root   bytea not null check (octet_length(root) = 32),
            at     timestamptz not null,
            key_id text collate "C" not null references instrument_registry.audit_keys,
            note   text not null
        );

        create function instrument_registry.ensure_audit_months(months_ahead integer) returns integer language plpgsql
        security definer set search_path = pg_catalog, pg_temp as $$
        declare
            month    timestamp := date_trunc('month', now() at time zone 'UTC');
            name     text;
            created  integer := 0;
        begin
            if months_ahead not between 0 and 24 then
                raise exception 'months_ahead is % and not between 0 and 24', months_ahead;
            end if;
            perform pg_advisory_xact_lock(x'697261756d6e7468'::bigint);
            for ahead in 0..months_ahead loop
                name := 'audit_records_' || to_char(month, 'YYYY_MM');
                if to_regclass('instrument_registry.' || name) is null then
                    execute format(
                        'create table instrument_registry.%I '
                        '(like instrument_registry.audit_records including defaults including constraints)', name);
                    execute format(
                        'alter table instrument_registry.audit_records attach partition instrument_registry.%I '
                        'for values from (%L) to (%L)', name, month at time zone 'UTC',
                        (month + interval '1 month') at time zone 'UTC');
                    created := created + 1;
                end if;
                month := month + interval '1 month';
            end loop;
            return created;
        end
        $$;
        revoke execute on function instrument_registry.ensure_audit_months(integer) from public;
        select instrument_registry.ensure_audit_months(3);

        grant execute on function instrument_registry.ensure_audit_months(integer) to {{service}};
        grant select, insert on instrument_registry.audit_records, instrument_registry.audit_leaves,
            instrument_registry.audit_tiles, instrument_registry.audit_keys, instrument_registry.audit_checkpoints
            to {{service}};
    """)
