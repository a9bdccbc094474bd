"""API keys."""

from instrument_registry.database import revisions

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SQL = """
create table instrument_registry.api_keys (
    id           text primary key check (id ~ '^[a-z2-7]{16}$'),
    name         text not null check (char_length(name) between 1 and 100),
    scope        text not null check (scope in ('reader', 'operator', 'admin')),
    digest       bytea not null check (octet_length(digest) = 32),
    created_at   timestamptz not null,
    created_by   text not null,
    revoked_at   timestamptz,
    revoked_by   text,
    last_used_at timestamptz,
    check ((revoked_at is null) = (revoked_by is null))
);

comment on table instrument_registry.api_keys is 'Who may use the doors; a digest of each secret, never the secret';

create index api_keys_in_force on instrument_registry.api_keys (created_at) where revoked_at is null;

-- Keys are never deleted, and what a key may do never changes: a new one is made instead.
grant select, insert on instrument_registry.api_keys to {{service}};
grant update (revoked_at, revoked_by, last_used_at) on instrument_registry.api_keys to {{service}};
"""


def upgrade() -> None:
    revisions.run(SQL)
