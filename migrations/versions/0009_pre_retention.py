"""Retention policies, archives of what has gone, and the owner's functions that alone let anything go."""

from instrument_registry.database.revisions import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create policies and archives; the service can ask for a partition to go, the owner's function decides."""
    run("""
        create table instrument_registry.retention_policies (
            kind       text collate "C" primary key
                       check (kind in ('events', 'audit', 'deliveries', 'ingestion_details', 'default')),
            keep_days  integer not null check (keep_days between 1 and 36500),
            changed_at timestamptz not null default now(),
            changed_by text not null,
            -- Whoever holds the service's role cannot shorten the log to nothing.
            check (keep_days >= case when kind in ('events', 'audit', 'default') then 31 else 1 end)
        );
        insert into instrument_registry.retention_policies (kind, keep_days, changed_by) values
            ('events', 1095, 'migration'), ('audit', 365, 'migration'), ('deliveries', 90, 'migration'),
            ('ingestion_details', 30, 'migration'), ('default', 2555, 'migration');

        create table instrument_registry.archives (
            name           text collate "C" primary key check (name ~ '^(events|audit_records)_[0-9]{4}_[0-9]{2}$'),
            kind           text collate "C" not null check (kind in ('events', 'audit')),
            starts_at      timestamptz not null,
            ends_at        timestamptz not null,
            rows           bigint not null check (rows >= 0),
            digest         text not null check (digest ~ '^[0-9a-f]{64}$'),
            first_position bigint,               -- of events; none were told when it is absent
            last_position  bigint,
            first_leaf     bigint,               -- of the audit's tree, from 1
            last_leaf      bigint,
            columns        text[] not null,
            file           text not null,
            file_bytes     bigint not null,
            file_sha256    text not null check (file_sha256 ~ '^[0-9a-f]{64}$'),
            state          text not null check (state in ('verified', 'dropped', 'restored')),
            exported_at    timestamptz not null,
            dropped_at     timestamptz,
            restored_at    timestamptz,
            keep_until     timestamptz           -- one that was brought back stays at least so long
        );
        create index archives_events on instrument_registry.archives (last_position) where kind = 'events';

        -- What the rows of a partition amount to: their count, and one digest over the digests of their texts in order.
        create function instrument_registry.partition_digest(partition text, out rows bigint, out digest text)
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
        declare texts text;
        begin
            if partition ~ '^events_[0-9]{4}_[0-9]{2}$' then
                texts := 'concat_ws(chr(31), number, coalesce(subject, chr(30)), type, schema_version, '
                         '(extract(epoch from occurred_at) * 1000000)::bigint, '
                         '(extract(epoch from recorded_at) * 1000000)::bigint, data)';
            elsif partition ~ '^audit_records_[0-9]{4}_[0-9]{2}$' then
                texts := 'concat_ws(chr(31), number, (extract(epoch from at) * 1000000)::bigint, action, actor, subject, '
                         'correlation_id, text)';
            else
                raise exception '% is no partition of facts or of the audit', partition;
            end if;
            execute format(
                'select count(*), encode(sha256(coalesce(string_agg(sha256(convert_to(%s, ''UTF8'')), ''''::bytea '
                'order by number), ''''::bytea)), ''hex'') from instrument_registry.%I', texts, partition)
               into rows, digest;
        end
        $$;

        -- Every reason why a partition may not go; none: it may.
        create function instrument_registry.reasons_to_keep(archive text) returns setof text language plpgsql
        stable security definer set search_path = pg_catalog, instrument_registry, pg_temp as $$
        declare
            known  archives;
            there  record;
            oldest bigint;
        begin
            select * into known from archives where name = archive;
            if not found then
                return next 'it has not been archived';
                return;
            end if;
            if known.state = 'dropped' or to_regclass('instrument_registry.' || quote_ident(archive)) is null then
                return next 'it is not here';
                return;
            end if;
            if known.ends_at > now() - make_interval(
                   days => (select p.keep_days from retention_policies p where p.kind = known.kind)) then
                return next 'the policy still keeps it';
            end if;
            if known.keep_until > now() then
                return next 'it was brought back and stays until ' || known.keep_until;
            end if;
            select * into there from partition_digest(archive);
            if (there.rows, there.digest) is distinct from (known.rows, known.digest) then
                return next 'its rows are not those of its archive';
            end if;
            if coalesce((select max(l.position) from audit_leaves l where l.at < known.ends_at), 0)
               > coalesce((select max(c.size) from audit_checkpoints c), 0) then
                return next 'no checkpoint covers the audit up to its end';
            end if;
            if known.kind = 'audit' then
                execute format('select count(*) from instrument_registry.%I r where not exists '
                               '(select from instrument_registry.audit_leaves l where l.number = r.number)', archive)
                   into oldest;
                if oldest > 0 then
                    return next oldest || ' records have no leaf in the tree yet';
                end if;
            else
                return query
                    select 'consumer ' || c.consumer_id || ' is at position ' || c.reached from consumers c
                     where c.reached < known.last_position
                    union all
                    select 'consumer ' || d.consumer_id || ' has not settled position ' || min(d.position) from deliveries d
                     where d.position <= known.last_position group by d.consumer_id
                    union all
                    select 'dead letter ' || min(d.id) || ' is about position ' || min(d.position) from dead_letters d
                     where d.position between known.first_position and known.last_position having count(*) > 0
                    union all
                    select 'webhooks are at position ' || w.position from webhook_position w
                     where w.position < known.last_position and exists (select from webhook_endpoints where deleted_at is null)
                    union all
                    select count(*) || ' webhook deliveries wait' from webhook_deliveries w
                     where w.status = 'waiting' and w.position <= known.last_position having count(*) > 0
                    union all
                    select 'projection ' || p.name || ' is at position ' || p.position from projections p
                     where p.active and p.position < known.last_position
                    union all
                    select 'the relay is at position ' || r.position from relay r
                     where r.state <> 'stopped' and r.position < known.last_position;
            end if;
        end
        $$;

        create function instrument_registry.drop_archived(archive text) returns void language plpgsql
        security definer set search_path = pg_catalog, instrument_registry, pg_temp as $$
        declare
            reasons text;
        begin
            if archive !~ '^(events|audit_records)_[0-9]{4}_[0-9]{2}$' then
                raise exception '% is no archive', archive using errcode = 'P0001';
            end if;
            perform from archives where name = archive for update;
            select string_agg(reason, '; ') into reasons from reasons_to_keep(archive) as reason;
            if reasons is not null then
                raise exception '% stays: %', archive, reasons using errcode = 'P0001';
            end if;
            execute format('alter table instrument_registry.%I detach partition instrument_registry.%I',
                           left(archive, -8), archive);
            execute format('drop table instrument_registry.%I', archive);
            update archives set state = 'dropped', dropped_at = now(), keep_until = null where name = archive;
        end
        $$;

        -- Rows come back into a table apart, which becomes a partition again only when they are the ones that went.
        create function instrument_registry.begin_restoring(archive text) returns void language plpgsql
        security definer set search_path = pg_catalog, instrument_registry, pg_temp as $$
        begin
            if not exists (select from archives where name = archive and state = 'dropped') then
                raise exception '% has not gone', archive using errcode = 'P0001';
            end if;
            execute format('drop table if exists instrument_registry.%I', 'restoring_' || archive);
            execute format('create table instrument_registry.%I (like instrument_registry.%I including defaults '
                           'including constraints)', 'restoring_' || archive, left(archive, -8));
            execute format('grant insert, select on instrument_registry.%I to %I', 'restoring_' || archive, instrument_registry.service_role());
        end
        $$;

        create function instrument_registry.finish_restoring(archive text, keep_days integer) returns void
        language plpgsql security definer set search_path = pg_catalog, instrument_registry, pg_temp as $$
        declare
            known archives;
            there record;
        begin
            select * into known from archives where name = archive and state = 'dropped' for update;
            if not found then
                raise exception '% has not gone', archive using errcode = 'P0001';
            end if;
            if keep_days not between 1 and 3650 then
                raise exception 'keep_days is % and not between 1 and 3650', keep_days using errcode = 'P0001';
            end if;
            execute format('revoke all on instrument_registry.%I from %I', 'restoring_' || archive, instrument_registry.service_role());
            execute format('alter table instrument_registry.%I rename to %I', 'restoring_' || archive, archive);
            select * into there from partition_digest(archive);
            if (there.rows, there.digest) is distinct from (known.rows, known.digest) then
                raise exception '% came back with % rows and digest %, and went with % and %',
                    archive, there.rows, there.digest, known.rows, known.digest using errcode = 'P0001';
            end if;
            execute format('alter table instrument_registry.%I attach partition instrument_registry.%I '
                           'for values from (%L) to (%L)', left(archive, -8), archive, known.starts_at, known.ends_at);
            update archives set state = 'restored', restored_at = now(), keep_until = now() + make_interval(days => keep_days)
             where name = archive;
        end
        $$;

        -- Details of ingestions that have ended and wait for nobody: rows set aside, and dumps as they came.
        create function instrument_registry.forget_ingestion_details(before timestamptz, at_most integer)
        returns bigint language plpgsql security definer
        set search_path = pg_catalog, instrument_registry, pg_temp as $$
        declare
            runs  bigint[];
            aside bigint;
            files bigint;
        begin
            if before > now() - make_interval(
                   days => (select keep_days from retention_policies where kind = 'ingestion_details')) then
                raise exception 'the policy keeps details until %', before using errcode = 'P0001';
            end if;
            select array_agg(id) into runs from (
                select id from ingestions i
                 where finished_at < before and status not in ('running', 'quarantined')
                   and (exists (select from rows_set_aside r where r.ingestion_id = i.id)
                        or exists (select from ingestion_files f where f.ingestion_id = i.id))
                 order by id limit at_most) as old;
            delete from rows_set_aside where ingestion_id = any(runs);
            get diagnostics aside = row_count;
            delete from ingestion_files where ingestion_id = any(runs);
            get diagnostics files = row_count;
            return aside + files;
        end
        $$;

        create function instrument_registry.forget_jobs(before timestamptz, at_most integer)
        returns bigint language plpgsql security definer
        set search_path = pg_catalog, instrument_registry, pg_temp as $$
        declare
            gone bigint[];
        begin
            if before > now() - make_interval(days => (select keep_days from retention_policies where kind = 'default')) then
                raise exception 'the policy keeps jobs until %', before using errcode = 'P0001';
            end if;
            select array_agg(id) into gone from (
                select id from jobs where finished_at < before order by id limit at_most) as old;
            delete from job_uploads where job_id = any(gone);
            delete from schedule_attempts where job_id = any(gone);
            delete from jobs where id = any(gone);
            return coalesce(cardinality(gone), 0);
        end
        $$;

        revoke execute on function instrument_registry.partition_digest(text),
            instrument_registry.reasons_to_keep(text), instrument_registry.drop_archived(text),
            instrument_registry.begin_restoring(text), instrument_registry.finish_restoring(text, integer),
            instrument_registry.forget_ingestion_details(timestamptz, integer),
            instrument_registry.forget_jobs(timestamptz, integer) from public;
        grant execute on function instrument_registry.partition_digest(text),
            instrument_registry.reasons_to_keep(text), instrument_registry.drop_archived(text),
            instrument_registry.begin_restoring(text), instrument_registry.finish_restoring(text, integer),
            instrument_registry.forget_ingestion_details(timestamptz, integer),
            instrument_registry.forget_jobs(timestamptz, integer) to {{service}};
        grant select on instrument_registry.retention_policies, instrument_registry.archives to {{service}};
        grant update (keep_days, changed_at, changed_by) on instrument_registry.retention_policies to {{service}};
        grant insert on instrument_registry.archives to {{service}};
    """)
