"""Rules of profiles and where each of them stands; what underlyings cost."""

from instrument_registry.database.revisions import run

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Create the tables of rules and of reference prices."""
    run("""
        -- One row is one rule of one owner: what its wants are to say, and where it stands. The wants it brings are
        -- the rows of subscription_wants with its number.
        create table instrument_registry.subscription_rules (
            source      text collate "C" not null,
            owner       text collate "C" not null,
            rule        smallint not null check (rule between 1 and 100),
            user_id     text collate "C" not null,
            mode        smallint not null check (mode between 0 and 2),
            priority    smallint not null check (priority between 0 and 100),
            copies      smallint not null check (copies in (1, 2)),
            pinned      boolean not null,
            expires_at  timestamptz,
            kind        text collate "C" not null check (kind in ('ladder', 'filter')),
            underlying  text collate "C",                      -- as NSE:NIFTY: prices and contracts find it by this
            content     jsonb not null,                        -- as it was written
            most        integer not null check (most > 0),     -- how many it can bring
            centre      numeric,                               -- the middle strike of a ladder
            since       timestamptz,                           -- when it came there
            price       numeric,                               -- by which price
            stays_from  numeric,                               -- between these two a price does not move it
            stays_to    numeric,
            instruments integer not null default 0,            -- how many it brings
            digest      bigint,                                -- of what it brings: the same is not written again
            truncated   boolean not null default false,        -- there are fewer, or more, than it asks for
            edge_at     timestamptz,                           -- when the first of them ends
            due_at      timestamptz,                           -- when it is to be settled: an edge, a price, a listing
            settled_at  timestamptz,
            primary key (source, owner, rule)
        );
        create index subscription_rules_underlying on instrument_registry.subscription_rules (underlying);
        create index subscription_rules_due on instrument_registry.subscription_rules (due_at);

        create index subscription_wants_ending on instrument_registry.subscription_wants (expires_at)
            where expires_at is not null;

        -- What an underlying costs: the last price that was believed, and one that was refused after it.
        create table instrument_registry.reference_prices (
            underlying    text collate "C" primary key,
            price         numeric check (price > 0),
            priced_at     timestamptz,
            received_at   timestamptz not null,
            actor         text not null,
            refused_price numeric,
            refused_at    timestamptz,
            refused_as    text check (refused_as = 'implausible'),
            check ((price is null) = (priced_at is null))
        );

        grant select, insert, update, delete on instrument_registry.subscription_rules to {{service}};
        grant select, insert, update on instrument_registry.reference_prices to {{service}};
    """)
