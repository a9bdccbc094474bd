"""The schema, the extensions the tables need, and the role that holds the service's rights.

The role is named by `{{service}}`: every later migration grants to it what the service needs of the tables it
creates, and nothing more. It owns nothing and cannot log in; a login is admitted to it (`migrate --service-role`).
"""

from instrument_registry.database.revisions import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Migrations go forward only; a mistake is mended by the next one."""
    run("""
        create extension if not exists btree_gist with schema instrument_registry;
        create extension if not exists pg_trgm with schema instrument_registry;

        grant usage on schema instrument_registry to {{service}};
        grant select on instrument_registry.alembic_version to {{service}};

        do $$
        begin
            execute format('grant temporary on database %I to {{service}}', current_database());
        end
        $$;
    """)
    # The role's name is recorded where a copy of the database finds it too.
    run("""
        do $$
        begin
            execute format(
                'create function instrument_registry.service_role() returns text '
                'language sql immutable parallel safe return %L::text',
                current_setting('instrument_registry.service_role'));
        end
        $$;
        grant execute on function instrument_registry.service_role() to {{service}};
    """)
