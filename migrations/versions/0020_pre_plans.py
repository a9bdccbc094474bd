"""Plans of who is carried where, which of them is live, and the deltas that tickers follow."""

from instrument_registry.database.revisions import run

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Create the tables of plans, deltas, leases and acknowledgements."""
    run("""
        create table instrument_registry.subscription_plans (
            id             text collate "C" primary key check (length(id) = 26),     -- a ulid
            status         text not null check (status in
                           ('draft', 'optimized', 'validated', 'applied', 'superseded', 'failed', 'expired')),
            level          text not null check (level in ('low', 'moderate', 'aggressive')),
            quality        text,
            question       text not null,                -- digest of all that was asked: the key of the cache
            live_plan      text collate "C",             -- what was live when it was made
            based_on       text collate "C",             -- of a plan that puts another one back
            user_id        text collate "C",             -- whose view it was made for
            content        bytea,                        -- arrays: who goes where, by which token
            summary        jsonb not null default '{}',  -- counts, bounds, drops, how long it took: all measured
            faults         jsonb not null default '[]',
            held_because   text,                         -- why it was not applied by itself
            actor          text not null,
            correlation_id text not null,
            made_at        timestamptz not null,
            expires_at     timestamptz not null,         -- no answer of the cache from then on
            applied_at     timestamptz,
            superseded_at  timestamptz
        );
        create index subscription_plans_made on instrument_registry.subscription_plans (made_at);
        create index subscription_plans_question on instrument_registry.subscription_plans (question, made_at);

        -- Which plan is live: one row, changed by compare-and-set.
        create table instrument_registry.subscription_live (
            only_one     boolean primary key default true check (only_one),
            plan_id      text collate "C" references instrument_registry.subscription_plans,
            previous_id  text collate "C" references instrument_registry.subscription_plans,
            held_because text,                           -- nothing is applied by itself until an operator applies
            changed_at   timestamptz
        );
        insert into instrument_registry.subscription_live default values;

        -- What a ticker is to do, one gap-free sequence an account.
        create table instrument_registry.subscription_deltas (
            account        text collate "C" not null,
            position       bigint not null check (position > 0),
            plan_id        text collate "C" not null references instrument_registry.subscription_plans,
            connection     text collate "C" not null,
            act            text not null check (act in ('remove', 'mode', 'add')),
            items          bytea not null,               -- instruments and frames, JSON, deflated
            item_count     integer not null,
            digest_before  text not null,
            digest_after   text not null,
            after_account  text collate "C",             -- a move between accounts: first there …
            after_position bigint,                       -- … up to this position
            breaks         boolean not null,             -- a move for which both could not be at once
            at             timestamptz not null,
            primary key (account, position)
        );
        create index subscription_deltas_plan on instrument_registry.subscription_deltas (plan_id);

        -- How far each account's sequence has come, also when its first steps are forgotten.
        create table instrument_registry.subscription_heads (
            account  text collate "C" primary key,
            position bigint not null
        );

        create table instrument_registry.subscription_leases (
            account    text collate "C" primary key,
            epoch      bigint not null,
            holder     text not null,
            expires_at timestamptz not null,
            changed_at timestamptz not null
        );

        create table instrument_registry.subscription_acks (
            account    text collate "C" not null,
            connection text collate "C" not null,
            epoch      bigint not null,
            position   bigint not null,
            digest     text not null,
            at         timestamptz not null,
            primary key (account, connection)
        );

        -- What is live and wanted no more, or less: kept for a moment, so that a feed does not flutter.
        create table instrument_registry.subscription_lingering (
            instrument_id bigint primary key,
            mode          smallint not null,
            since         timestamptz not null
        );

        -- Carried instruments that were told of as silent: they did not tick although their markets are open.
        create table instrument_registry.subscription_silences (
            account       text collate "C" not null,
            instrument_id bigint not null,
            since         timestamptz not null,          -- when it ticked last, or could have ticked first
            primary key (account, instrument_id)
        );

        grant select, insert, update, delete on instrument_registry.subscription_plans to {{service}};
        grant select, update on instrument_registry.subscription_live to {{service}};
        grant select, insert, delete on instrument_registry.subscription_deltas to {{service}};
        grant select, insert, update on instrument_registry.subscription_heads to {{service}};
        grant select, insert, update, delete on instrument_registry.subscription_leases to {{service}};
        grant select, insert, update, delete on instrument_registry.subscription_acks to {{service}};
        grant select, insert, update, delete on instrument_registry.subscription_lingering to {{service}};
        grant select, insert, delete on instrument_registry.subscription_silences to {{service}};
    """)
