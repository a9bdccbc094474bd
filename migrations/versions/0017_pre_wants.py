"""Subscription profiles, and who wants which instrument's live data for what."""

from instrument_registry.database.revisions import run

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create the tables of profiles and of wants."""
    run("""
        create table instrument_registry.subscription_profiles (
            id          text collate "C" primary key check (length(id) = 26),      -- a ulid
            user_id     text collate "C" not null check (length(user_id) between 1 and 64),
            name        text not null check (length(name) between 1 and 100),
            type        text not null check (type in ('live_feed', 'historical', 'alerts')),
            priority    smallint not null check (priority between 0 and 100),
            instruments integer not null,                      -- that count against limits; a rule is one
            version     integer not null,
            content     jsonb not null,                        -- what was asked for, as it is shown
            expires_at  timestamptz,
            actor       text not null,
            created_at  timestamptz not null,
            changed_at  timestamptz not null,
            deleted_at  timestamptz
        );
        create unique index subscription_profiles_name
            on instrument_registry.subscription_profiles (user_id, name) where deleted_at is null;
        create index subscription_profiles_key on instrument_registry.subscription_profiles (actor)
            where deleted_at is null and priority >= 75;       -- tier 0, which is bounded for each key

        -- The newest of every profile, deleted ones too; the facts tell all of them.
        create table instrument_registry.subscription_profile_versions (
            profile_id     text collate "C" not null references instrument_registry.subscription_profiles,
            version        integer not null,
            change         text not null check (change in ('created', 'replaced', 'changed', 'settled', 'deleted')),
            content        jsonb not null,
            actor          text not null,
            correlation_id text not null,
            at             timestamptz not null,
            primary key (profile_id, version)
        );

        -- A row for each user who ever had a profile: held while one of theirs is written, so that limits hold.
        create table instrument_registry.subscription_users (
            user_id        text collate "C" primary key check (length(user_id) between 1 and 64),
            profiles_max   integer check (profiles_max between 0 and 10000),       -- null: as the parameters say
            live_feed_max  integer check (live_feed_max between 0 and 10000),
            historical_max integer check (historical_max between 0 and 10000),
            alerts_max     integer check (alerts_max between 0 and 10000),
            reason         text,
            set_by         text,
            set_at         timestamptz
        );

        -- What stood against a request, whatever became of it; the newest of each user.
        create table instrument_registry.subscription_conflicts (
            id             text collate "C" primary key check (length(id) = 26),   -- a ulid
            user_id        text collate "C" not null,
            kind           text not null check (kind in ('limit_exceeded', 'duplicate_subscription',
                                                         'invalid_instrument', 'mode_conflict')),
            verdict        text not null check (verdict in ('accepted', 'dropped', 'refused')),
            profile_id     text collate "C",                   -- that was written; none: it was not made
            other_id       text collate "C",                   -- that stood against it
            items          jsonb not null,                     -- the instruments it is about, as they were asked for
            facts          jsonb not null,
            request        jsonb,                              -- of a refused one, to be carried out later
            actor          text not null,
            correlation_id text not null,
            at             timestamptz not null,
            strategy       text check (strategy in ('latest_wins', 'merge', 'fail_on_conflict')),
            outcome        text,
            resolved_by    text,
            resolved_at    timestamptz,
            check ((strategy is null) = (resolved_at is null))
        );
        create index subscription_conflicts_user on instrument_registry.subscription_conflicts (user_id, id);

        -- Requests that named themselves: sent again, they are answered as they were.
        create table instrument_registry.subscription_requests (
            actor  text collate "C" not null,
            key    text collate "C" not null check (length(key) between 1 and 200),
            digest bytea not null check (octet_length(digest) = 32),
            answer text,                                       -- JSON, as it was sent
            at     timestamptz not null,
            primary key (actor, key)
        );
        create index subscription_requests_at on instrument_registry.subscription_requests (at);

        -- Whose profiles a key may touch; a key without a row: everybody's.
        create table instrument_registry.api_key_users (
            key_id  text not null references instrument_registry.api_keys,
            user_id text collate "C" not null check (length(user_id) between 1 and 64),
            set_by  text not null,
            set_at  timestamptz not null,
            primary key (key_id, user_id)
        );

        -- Secrets whose values a key may read although it may not administrate: a ticker's credentials.
        create table instrument_registry.api_key_secrets (
            key_id text not null references instrument_registry.api_keys,
            secret text collate "C" not null check (length(secret) between 1 and 100),
            set_by text not null,
            set_at timestamptz not null,
            primary key (key_id, secret)
        );

        -- One row is one reference: an instrument is released when its last row goes. Whoever adds up demand reads
        -- this table alone, so what decides is repeated in every row.
        create table instrument_registry.subscription_wants (
            source        text collate "C" not null
                          check (source in ('live_feed', 'historical', 'alerts', 'position', 'holding', 'strategy', 'manual')),
            owner         text collate "C" not null,           -- the profile's id, or what the source calls it
            rule          smallint not null default 0,         -- 0: named itself; n: by the n-th rule of its owner
            instrument_id bigint not null,
            user_id       text collate "C" not null,
            mode          smallint not null check (mode between 0 and 2),        -- ltp, quote, full
            priority      smallint not null check (priority between 0 and 100),
            copies        smallint not null check (copies in (1, 2)),
            pinned        boolean not null,
            expires_at    timestamptz,
            primary key (source, owner, rule, instrument_id)
        );
        create index subscription_wants_instrument on instrument_registry.subscription_wants (instrument_id);
        create index subscription_wants_user
            on instrument_registry.subscription_wants (user_id, source, instrument_id) where rule = 0;

        grant select, insert, update on instrument_registry.subscription_profiles,
            instrument_registry.subscription_users to {{service}};
        grant select, insert, update, delete on instrument_registry.subscription_wants,
            instrument_registry.subscription_conflicts, instrument_registry.subscription_requests to {{service}};
        grant select, insert, delete on instrument_registry.subscription_profile_versions,
            instrument_registry.api_key_users, instrument_registry.api_key_secrets to {{service}};
    """)
