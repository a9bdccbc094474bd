"""The catalogue: instruments, their versions in time, broker tokens, ingestion runs and what operators add."""

from instrument_registry.database.revisions import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the catalogue's tables and give the service what it needs of them."""
    run(r"""
        create sequence instrument_registry.instrument_ids as bigint;

        -- One row per listing, for ever. The id and the ulid never change and are never reused.
        create table instrument_registry.instruments (
            id        bigint primary key default nextval('instrument_registry.instrument_ids'),
            ulid      text collate "C" not null unique check (length(ulid) = 26),
            listed_on date not null,          -- the first market date it was seen on
            expiry    date,                   -- of its present version, so that expiring it is an index range
            ended_on  date,                   -- the first market date on which it no longer lives
            ended_as  text check (ended_as in ('expired', 'delisted', 'removed', 'closed_early')),
            check ((ended_on is null) = (ended_as is null))
        );
        create index instruments_to_expire on instrument_registry.instruments (expiry) where ended_on is null and expiry is not null;

        -- Attributes with validity on two axes: valid_* is the market date, known_* is when we knew. Half-open.
        -- No foreign key here nor on broker_tokens: it would ask 273,027 times; a run asks once, for all its rows.
        create table instrument_registry.instrument_versions (
            instrument_id bigint not null,
            valid_from    date not null,
            valid_to      date not null default 'infinity' check (valid_to > valid_from),
            known_from    timestamptz not null,
            known_to      timestamptz not null default 'infinity',
            ingestion_id  bigint,
            key           text collate "C" not null,
            root          text collate "C" not null,
            kind          text collate "C" not null,
            asset_class   text collate "C",
            venue         text collate "C" not null,
            series        text collate "C",
            expiry        date,
            strike        numeric,
            option_type   text collate "C" check (option_type in ('C', 'P')),
            name          text collate "C",
            isin          text collate "C",
            currency      text collate "C",
            lot_size      bigint,
            multiplier    numeric,
            quote_unit    text collate "C",
            tick_size     numeric,
            freeze_qty    bigint,
            face_value    numeric,
            surveillance  text collate "C",
            is_test       boolean not null default false,
            streamable    boolean not null default true,
            suspended     boolean not null default false
        );
        -- No two instruments bear one key to the same end: with equal keys this is what a collision would need.
        create unique index instrument_versions_key on instrument_registry.instrument_versions (key, valid_to) where known_to = 'infinity';
        create index instrument_versions_instrument on instrument_registry.instrument_versions (instrument_id);
        create index instrument_versions_root on instrument_registry.instrument_versions (root, venue);
        create index instrument_versions_isin on instrument_registry.instrument_versions (isin) where isin is not null;
        create index instrument_versions_superseded on instrument_registry.instrument_versions (key) where known_to < 'infinity';

        -- What one broker calls an instrument, and that broker's own view of it. token_key stands for (broker, segment,
        -- token) so that the exclusion constraint compares integers.
        create table instrument_registry.broker_tokens (
            token_key      bigint not null generated always as
                           (hashtextextended(broker || E'\x1f' || segment || E'\x1f' || token, 0)) stored,
            instrument_id  bigint not null,
            broker         text collate "C" not null,
            segment        text collate "C" not null,
            token          text collate "C" not null,
            exchange_token text collate "C",
            venue          text collate "C" not null,
            valid          daterange not null check (not isempty(valid)),
            known_from     timestamptz not null,
            known_to       timestamptz not null default 'infinity',
            ingestion_id   bigint,
            file           smallint not null,
            line           integer not null,
            row_hash       bigint not null,
            key            text collate "C" not null,
            symbol         text collate "C" not null,
            kind           text collate "C" not null,
            name           text collate "C",
            isin           text collate "C",
            series         text collate "C",
            lot_size       bigint,
            multiplier     numeric,
            quote_unit     text collate "C",
            tick_size      numeric,
            freeze_qty     bigint,
            face_value     numeric,
            surveillance   text collate "C",
            streamable     boolean not null default true,
            suspended      boolean not null default false,
            constraint broker_tokens_mean_one_instrument
                exclude using gist (token_key with =, valid with &&) where (known_to = 'infinity')
        );
        create index broker_tokens_token on instrument_registry.broker_tokens (token);
        create index broker_tokens_exchange_token on instrument_registry.broker_tokens (exchange_token, venue) where exchange_token is not null;
        create index broker_tokens_instrument on instrument_registry.broker_tokens (instrument_id);

        create table instrument_registry.ingestions (
            id             bigint generated always as identity primary key,
            broker         text collate "C" not null,
            feed           text collate "C" not null,         -- broker's file pattern: kite_*_NFO.csv
            market_date    date not null,
            status         text not null check (status in ('running', 'applied', 'unchanged', 'quarantined', 'refused', 'failed', 'dry_run', 'released')),
            reasons        jsonb not null default '[]',       -- [{gate, detail, ...}]
            warnings       jsonb not null default '[]',
            report         jsonb not null default '{}',
            files          jsonb not null default '[]',       -- [{name, sha256, bytes, rows, dialect}]
            digest         text not null,                     -- of all files together
            actor          text not null,
            correlation_id text not null,
            started_at     timestamptz not null,
            finished_at    timestamptz,
            released_by    text,
            release_reason text
        );
        create index ingestions_broker on instrument_registry.ingestions (broker, market_date);
        create index ingestions_started on instrument_registry.ingestions (started_at);

        create table instrument_registry.ingestion_segments (
            ingestion_id bigint not null references instrument_registry.ingestions,
            broker       text collate "C" not null,
            feed         text collate "C" not null,
            segment      text collate "C" not null,
            market_date  date not null,
            rows         integer not null,
            expired      jsonb not null default '{}',          -- rows by expiry, of contracts expired by the market date
            invented     boolean not null default false,       -- of the demo universe: no evidence against a real dump
            primary key (ingestion_id, segment)
        );
        create index ingestion_segments_last on instrument_registry.ingestion_segments (broker, segment, market_date);

        create table instrument_registry.ingestion_files (
            ingestion_id bigint not null references instrument_registry.ingestions,
            name         text not null,
            content      bytea not null,                      -- gzip
            primary key (ingestion_id, name)
        );

        create table instrument_registry.rows_set_aside (
            ingestion_id bigint not null references instrument_registry.ingestions,
            file         text not null,
            line         integer not null,
            field        text not null,
            value        text,
            reason       text not null,
            dropped      boolean not null
        );
        create index rows_set_aside_ingestion on instrument_registry.rows_set_aside (ingestion_id);

        -- What exchanges and operators declare: symbol changes, demergers, mergers.
        create table instrument_registry.declared_changes (
            id             bigint generated always as identity primary key,
            what           text not null check (what in ('symbol_change', 'demerger', 'merger')),
            exchange       text collate "C" not null,
            old_symbol     text collate "C" not null,
            new_symbol     text collate "C" not null,
            effective_date date not null,
            name           text,
            source         text not null,
            actor          text not null,
            declared_at    timestamptz not null,
            unique (what, exchange, old_symbol, new_symbol, effective_date)
        );
        create index declared_changes_old on instrument_registry.declared_changes (old_symbol);
        create index declared_changes_new on instrument_registry.declared_changes (new_symbol);

        create table instrument_registry.declared_lots (
            underlying  text collate "C" not null,
            market_date date not null,
            lot_size    bigint not null,
            primary key (underlying, market_date)
        );

        create table instrument_registry.mics (
            mic           text collate "C" primary key,
            operating_mic text collate "C" not null,
            name          text not null,
            country       text,
            status        text not null,
            acronym       text
        );

        -- An operator's word against the files: one field of one instrument, with a reason and an end.
        create table instrument_registry.overrides (
            id            bigint generated always as identity primary key,
            instrument_id bigint not null references instrument_registry.instruments,
            field         text not null,
            value         text not null,
            reason        text not null,
            valid_from    date not null,
            valid_to      date not null check (valid_to > valid_from),
            actor         text not null,
            created_at    timestamptz not null,
            withdrawn_at  timestamptz,
            withdrawn_by  text
        );
        create index overrides_instrument on instrument_registry.overrides (instrument_id);

        create table instrument_registry.aliases (
            id         bigint generated always as identity primary key,
            alias      text not null,                         -- as typed, folded to lower case
            target     text collate "C" not null,             -- a root or a canonical key
            reason     text not null,
            valid_from date not null default '-infinity',
            valid_to   date not null default 'infinity',
            actor      text not null,
            created_at timestamptz not null
        );
        create unique index aliases_alias on instrument_registry.aliases (alias, target) where valid_to = 'infinity';

        create table instrument_registry.jobs (
            id             bigint generated always as identity primary key,
            what           text not null,
            arguments      jsonb not null,
            status         text not null check (status in ('queued', 'running', 'done', 'failed')),
            result         jsonb,
            actor          text not null,
            correlation_id text not null,
            created_at     timestamptz not null,
            started_at     timestamptz,
            finished_at    timestamptz
        );
        create index jobs_waiting on instrument_registry.jobs (id) where status in ('queued', 'running');


        -- After a run that changed much: the planner must know before the next one, and only an owner may analyze.
        create function instrument_registry.analyze_catalogue() returns void language plpgsql
        security definer set search_path = pg_catalog, pg_temp as $$
        begin
            analyze instrument_registry.instruments (id, expiry, ended_on);
            analyze instrument_registry.instrument_versions (instrument_id, key, root, venue, kind, isin, valid_from, valid_to, known_to);
            analyze instrument_registry.broker_tokens (token_key, token, exchange_token, venue, broker, segment, instrument_id, valid, known_to);
            analyze instrument_registry.ingestion_segments;
        end
        $$;
        revoke execute on function instrument_registry.analyze_catalogue() from public;
        grant execute on function instrument_registry.analyze_catalogue() to {{service}};

        grant usage on sequence instrument_registry.instrument_ids to {{service}};
        grant select, insert, update on instrument_registry.instruments, instrument_registry.instrument_versions,
            instrument_registry.broker_tokens, instrument_registry.ingestions, instrument_registry.overrides,
            instrument_registry.aliases, instrument_registry.mics, instrument_registry.jobs to {{service}};
        grant select, insert on instrument_registry.ingestion_segments, instrument_registry.rows_set_aside,
            instrument_registry.declared_changes, instrument_registry.declared_lots to {{service}};
        grant select, insert, delete on instrument_registry.ingestion_files to {{service}};
    """)
