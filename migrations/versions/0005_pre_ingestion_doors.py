"""The doors of ingestion: jobs that survive their worker, uploads, schedules, the demo, dumps an operator discards."""

from instrument_registry.database.revisions import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create what the doors need and give it to the service."""
    run("""
        alter table instrument_registry.ingestions
            drop constraint ingestions_status_check,
            add constraint ingestions_status_check check (status in (
                'running', 'applied', 'unchanged', 'quarantined', 'refused', 'failed', 'dry_run', 'released', 'discarded')),
            add column released_as bigint,               -- the run that applied what this one kept out
            add column discarded_by text,
            add column discard_reason text;
        create index ingestions_successes on instrument_registry.ingestions (broker, market_date)
            where status in ('applied', 'unchanged');

        alter table instrument_registry.jobs
            add column attempts integer not null default 0,
            add column idempotency_key text;
        create unique index jobs_idempotency on instrument_registry.jobs (actor, idempotency_key)
            where idempotency_key is not null;

        -- A dump that came with its request, in pieces, until its job has ended.
        create table instrument_registry.job_uploads (
            job_id  bigint not null references instrument_registry.jobs,
            piece   integer not null,
            content bytea not null,
            primary key (job_id, piece)
        );

        create table instrument_registry.schedules (
            broker        text collate "C" primary key,
            cron          text not null,                 -- five fields, in the market's time zone
            venue         text collate "C",              -- whose sessions count; null: every day
            grace_minutes integer not null check (grace_minutes between 1 and 1440),
            paused        boolean not null,
            actor         text not null,
            changed_at    timestamptz not null
        );

        create table instrument_registry.schedule_attempts (
            broker  text collate "C" not null,
            due_at  timestamptz not null,
            attempt integer not null,
            job_id  bigint not null references instrument_registry.jobs,
            primary key (broker, due_at, attempt)
        );

        -- One row once the demo universe has begun to load.
        create table instrument_registry.demo_universe (
            only_one   boolean primary key default true check (only_one),
            day        date not null,
            status     text not null check (status in ('loading', 'searchable', 'loaded', 'failed')),
            detail     text,
            began_at   timestamptz not null,
            changed_at timestamptz not null
        );

        grant select, insert, update on instrument_registry.demo_universe to {{service}};
        grant select, insert, delete on instrument_registry.job_uploads to {{service}};
        grant select, insert on instrument_registry.schedule_attempts to {{service}};
        grant select, insert, update, delete on instrument_registry.schedules to {{service}};
    """)
