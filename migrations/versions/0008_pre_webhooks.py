"""Webhook endpoints, their secrets and deliveries."""

from instrument_registry.database.revisions import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables of webhooks and give the service what it needs of them."""
    run("""
        create table instrument_registry.webhook_endpoints (
            id           bigint generated always as identity primary key,
            url          text not null,
            description  text not null,
            owner        text not null,
            event_types  text[] not null,
            instruments  text[] not null,            -- ids; none: whatever an event is about
            format       text not null check (format in ('standard', 'cloudevents', 'cloudevents_binary')),
            signature    text not null check (signature in ('v1', 'v1a')),
            ordered      boolean not null,
            bulk         boolean not null,
            concurrency  smallint not null check (concurrency between 1 and 32),
            state        text not null check (state in ('active', 'paused', 'disabled')),
            state_reason text,
            starts_after bigint not null,            -- position: what was told before it existed is not sent
            version      integer not null,
            actor        text not null,
            created_at   timestamptz not null,
            changed_at   timestamptz not null,
            deleted_at   timestamptz
        );

        create table instrument_registry.webhook_secrets (
            id          bigint generated always as identity primary key,
            endpoint_id bigint not null references instrument_registry.webhook_endpoints,
            sealed      bytea not null,
            public_key  text,                        -- of a v1a pair
            created_at  timestamptz not null,
            expires_at  timestamptz                  -- a rotated one signs until then
        );
        create index webhook_secrets_endpoint on instrument_registry.webhook_secrets (endpoint_id);

        -- How an endpoint has been doing: apart, so that deliveries and operators do not wait for each other.
        create table instrument_registry.webhook_health (
            endpoint_id     bigint primary key references instrument_registry.webhook_endpoints,
            last_success_at timestamptz,
            failing_since   timestamptz,
            failures        integer not null,        -- since then
            warned_percent  smallint not null
        );

        -- Up to where events have been handed to endpoints.
        create table instrument_registry.webhook_position (
            only_one boolean primary key default true check (only_one),
            position bigint not null
        );
        insert into instrument_registry.webhook_position (position) values (0);

        create table instrument_registry.webhook_replays (
            id             bigint generated always as identity primary key,
            endpoint_id    bigint not null references instrument_registry.webhook_endpoints,
            first_position bigint not null,
            last_position  bigint not null,
            event_types    text[] not null,
            instruments    text[] not null,
            status         text not null check (status in ('running', 'done', 'cancelled')),
            position       bigint not null,          -- up to where it has come
            made           bigint not null,
            reason         text not null,
            actor          text not null,
            correlation_id text not null,
            created_at     timestamptz not null,
            finished_at    timestamptz
        );

        -- No foreign keys: a page of events times its endpoints is written in one statement, and endpoints stay.
        create table instrument_registry.webhook_deliveries (
            id          bigint generated always as identity primary key,
            endpoint_id bigint not null,
            event_id    uuid not null,               -- the webhook-id of every attempt
            position    bigint,                      -- of the event; none: a ping
            type        text collate "C" not null,   -- the name it travels under
            subject     text collate "C",
            ordered_by  text collate "C",            -- of these one after the other
            status      text collate "C" not null default 'waiting'
                        check (status in ('waiting', 'delivered', 'failed', 'cancelled')),
            step        smallint not null default 0, -- of the schedule
            attempts    smallint not null default 0,
            due_at      timestamptz not null,
            created_at  timestamptz not null,
            finished_at timestamptz,
            answer      smallint,                    -- the last HTTP status
            problem     text,                        -- or why there was none
            replay_id   bigint
        ) with (fillfactor = 90);
        create index webhook_deliveries_due on instrument_registry.webhook_deliveries (endpoint_id, due_at, id)
            where status = 'waiting';
        create index webhook_deliveries_order on instrument_registry.webhook_deliveries (endpoint_id, ordered_by, id)
            where status = 'waiting' and ordered_by is not null;
        create index webhook_deliveries_listed on instrument_registry.webhook_deliveries (endpoint_id, id);

        -- Append-only: each request as it went out. No answer's body is ever kept.
        create table instrument_registry.webhook_attempts (
            delivery_id   bigint not null,
            number        smallint not null,
            at            timestamptz not null,
            url           text not null,
            body_bytes    integer not null,
            answer        smallint,
            problem       text,
            duration_ms   integer not null
        );
        create index webhook_attempts_delivery on instrument_registry.webhook_attempts (delivery_id);

        -- What has ended before an instant, oldest first; how many deliveries went.
        create function instrument_registry.forget_webhook_deliveries(before timestamptz, at_most integer)
            returns integer language plpgsql security definer
            set search_path = instrument_registry, pg_temp as $$
        declare gone bigint[];
        begin
            select array_agg(id) into gone from (
                select id from webhook_deliveries where status <> 'waiting' and finished_at < before
                 order by id limit at_most) as old;
            delete from webhook_attempts where delivery_id = any(gone);
            delete from webhook_deliveries where id = any(gone);
            return coalesce(cardinality(gone), 0);
        end $$;
        revoke execute on function instrument_registry.forget_webhook_deliveries(timestamptz, integer) from public;
        grant execute on function instrument_registry.forget_webhook_deliveries(timestamptz, integer) to {{service}};

        grant select, insert, update on instrument_registry.webhook_endpoints, instrument_registry.webhook_health,
            instrument_registry.webhook_replays, instrument_registry.webhook_deliveries to {{service}};
        grant select, update on instrument_registry.webhook_position to {{service}};
        grant select, insert, update, delete on instrument_registry.webhook_secrets to {{service}};
        grant select, insert on instrument_registry.webhook_attempts to {{service}};
    """)
