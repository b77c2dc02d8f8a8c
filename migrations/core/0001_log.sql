-- The event log: the one place where anything is written down first.
--
-- Owned by the crate event-log; no other code names these tables.

create schema log;
comment on schema log is 'The immutable event log and what guards its order';

create table log.settings (
    only_row boolean not null default true,
    log_name text not null,
    lane_count smallint not null,
    epoch uuid not null,
    created_at timestamptz not null default now(),
    constraint settings_pkey primary key (only_row),
    constraint settings_one_row check (only_row),
    constraint settings_lane_count check (lane_count between 1 and 64)
);
comment on table log.settings is 'Set once when the log is created';
comment on column log.settings.log_name is 'First part of the origin that stands in every leaf: log_name/organization_id';
comment on column log.settings.epoch is 'Names this life of the log; public cursors carry it, so that a cursor from before a restore is refused';

create table log.lane_heads (
    lane smallint not null,
    position bigint not null default 0,
    constraint lane_heads_pkey primary key (lane)
) with (fillfactor = 10);
comment on table log.lane_heads is 'The newest position of each lane';

create table log.organizations (
    organization_id uuid not null,
    lane smallint not null,
    sequence bigint not null default 0,
    constraint organizations_pkey primary key (organization_id),
    constraint organizations_lane foreign key (lane) references log.lane_heads (lane)
) with (fillfactor = 50);
comment on table log.organizations is 'Which lane an organization belongs to, and the newest of its sequence numbers';

create table log.stream_heads (
    organization_id uuid not null,
    stream_id uuid not null,
    stream_kind text not null,
    version bigint not null,
    first_position bigint not null,
    last_position bigint not null,
    constraint stream_heads_pkey primary key (organization_id, stream_id, stream_kind)
) with (fillfactor = 80);
comment on table log.stream_heads is 'The newest version of each stream, so that an append costs the same at any size of the log';
comment on column log.stream_heads.first_position is 'Where the stream begins in its lane: earlier partitions need not be looked at';

create table log.idempotency_keys (
    organization_id uuid not null,
    idempotency_key text not null,
    fingerprint bytea not null,
    stream_kind text not null,
    stream_id uuid not null,
    version bigint not null,
    first_position bigint not null,
    event_count integer not null,
    recorded_at timestamptz not null,
    constraint idempotency_keys_pkey primary key (organization_id, idempotency_key),
    constraint idempotency_keys_length check (length(idempotency_key) between 1 and 255)
);
comment on table log.idempotency_keys is 'First answers by idempotency key, written in the transaction of the append';
comment on column log.idempotency_keys.fingerprint is 'SHA-256 of the request, to tell a repetition from another wish under the same key';
comment on column log.idempotency_keys.version is 'The stream version after the command';
comment on column log.idempotency_keys.event_count is
    'Events of the command; none where nothing had to change, and first_position then is the one after the newest of the stream';

create table log.events (
    lane smallint not null,
    position bigint not null,
    organization_sequence bigint not null,
    version bigint not null,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null,
    organization_id uuid not null,
    stream_id uuid not null,
    event_id uuid not null,
    correlation_id uuid not null,
    causation_id uuid,
    request_id uuid,
    subject_id uuid,
    actor_id uuid,
    actor_on_behalf_of uuid,
    personal_key_id uuid,
    network_key_id uuid,
    schema_version smallint not null,
    stream_kind text not null,
    event_type text not null,
    actor_kind text not null,
    actor_role text not null,
    purpose text,
    origin text not null,
    leaf_hash bytea not null,
    facts bytea not null,
    personal bytea,
    personal_key_commit bytea,
    network bytea,
    constraint events_pkey primary key (lane, position)
) partition by list (lane);
comment on table log.events is 'Every event of every organization, once and for ever';
comment on column log.events.position is 'Gapless place in the lane, from 1';
comment on column log.events.organization_sequence is 'Gapless place among the events of the organization, from 1';
comment on column log.events.version is 'Gapless place in the stream, from 1';
comment on column log.events.occurred_at is 'When it happened, microseconds';
comment on column log.events.recorded_at is 'When it was written, microseconds';
comment on column log.events.subject_id is 'The patient whom the event is about';
comment on column log.events.origin is 'live, imported, or imported_notify';
comment on column log.events.leaf_hash is 'SHA-256 of 0x00 and the leaf data: the event''s leaf in the organization''s RFC 6962 tree';
comment on column log.events.facts is 'Canonical JSON (RFC 8785) of closed values, byte for byte as hashed';
comment on column log.events.personal is 'Sealed personal part';
comment on column log.events.personal_key_commit is 'Commitment to the data key that sealed the personal part';
comment on column log.events.network is 'Sealed network address and user agent, on the first event of a command';

create view log.readable_events with (security_invoker = true) as
select lane, position, organization_id, organization_sequence, stream_kind, stream_id, version, event_id,
       event_type, schema_version, occurred_at, recorded_at, actor_kind, actor_id, actor_role,
       actor_on_behalf_of, purpose, correlation_id, causation_id, request_id, subject_id, origin,
       convert_from(facts, 'UTF8')::jsonb as facts, personal is not null as has_personal, leaf_hash
from log.events;
comment on view log.readable_events is 'The log for human eyes: facts as jsonb';

-- Nobody changes or removes an event, whatever was granted by mistake.
create function log.refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception 'the event log is immutable: % on %.% refused', tg_op, tg_table_schema, tg_table_name
        using errcode = 'restrict_violation';
end $$;

create trigger events_immutable before update or delete or truncate on log.events
    for each statement execute function log.refuse_change();
alter table log.events enable always trigger events_immutable;

-- A leaf holds this many positions of one lane; the next one is made before the last is full.
create function log.leaf_size() returns bigint language sql immutable as 'select 20000000::bigint';

create function log.ensure_leaf(p_lane smallint, p_position bigint) returns void
language plpgsql security definer set search_path = pg_catalog, log as $$
declare
    v_from bigint := ((p_position - 1) / log.leaf_size()) * log.leaf_size() + 1;
    v_lane text := format('events_lane_%s', p_lane);
    v_name text := format('events_lane_%s_from_%s', p_lane, v_from);
begin
    perform pg_advisory_xact_lock(hashtext('carelog.leaf'), p_lane);
    if to_regclass('log.' || v_name) is not null then
        return;
    end if;
    -- A statement's trigger fires only on the table that the statement names, so lane and leaf have their own.
    if to_regclass('log.' || v_lane) is null then
        execute format('create table log.%I partition of log.events for values in (%s)
                        partition by range (position)', v_lane, p_lane);
        execute format('create trigger lane_immutable before update or delete or truncate on log.%I
                        for each statement execute function log.refuse_change()', v_lane);
        execute format('alter table log.%I enable always trigger lane_immutable', v_lane);
    end if;
    -- Made apart and attached with everything that it needs, because `partition of` would wait for whoever reads the
    -- lane, and let nobody else read it meanwhile.
    execute format('create table log.%I (like log.%I including all excluding comments)
                    with (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 2000000,
                          autovacuum_freeze_min_age = 0, toast_tuple_target = 8160)', v_name, v_lane);
    -- Tripwires: a key that spans leaves cannot be declared on the whole table.
    execute format('create unique index %I on log.%I (organization_id, organization_sequence)',
                   v_name || '_sequence', v_name);
    execute format('create unique index %I on log.%I (organization_id, stream_id, version, stream_kind)',
                   v_name || '_stream', v_name);
    execute format('create trigger leaf_immutable before update or delete or truncate on log.%I
                    for each statement execute function log.refuse_change()', v_name);
    execute format('alter table log.%I enable always trigger leaf_immutable', v_name);
    execute format('alter table log.%I attach partition log.%I for values from (%s) to (%s)', v_lane, v_name, v_from,
                   v_from + log.leaf_size());
end $$;
comment on function log.ensure_leaf is 'Makes the partition that holds a position, with its tripwires and guards';

create function log.create_log(p_log_name text, p_lane_count smallint, p_epoch uuid) returns void
language plpgsql as $$
begin
    -- Of two first starts at once, the second finds what the first has made.
    perform pg_advisory_xact_lock(hashtext('carelog.log'));
    if exists (select from log.settings) then
        return;
    end if;
    insert into log.settings (log_name, lane_count, epoch) values (p_log_name, p_lane_count, p_epoch);
    for i in 1..p_lane_count loop
        insert into log.lane_heads (lane) values (i);
        perform log.ensure_leaf(i::smallint, 1);
    end loop;
end $$;
comment on function log.create_log is 'Called once, by the first migration run';

create function log.place_organization(p_organization_id uuid) returns smallint
language plpgsql security definer set search_path = pg_catalog, log as $$
declare
    v_lane smallint;
begin
    select lane into v_lane from log.organizations where organization_id = p_organization_id;
    if found then
        return v_lane;
    end if;
    insert into log.organizations (organization_id, lane)
    select p_organization_id, lane_heads.lane
    from log.lane_heads
    order by (select count(*) from log.organizations o where o.lane = lane_heads.lane), lane_heads.lane
    limit 1
    on conflict (organization_id) do nothing;
    select lane into strict v_lane from log.organizations where organization_id = p_organization_id;
    return v_lane;
end $$;
comment on function log.place_organization is 'The lane of an organization; a new one goes where the fewest are';

-- One batch of commands for one lane, in one call and one transaction.
--
-- All or nothing: when commands are refused, a row for each of them comes back, nothing is written, and the caller
-- sends the others again. Otherwise one row says after which position of the lane and after which sequence number of
-- each organization the batch was put. The caller has counted from there, so nothing here is joined to be placed.
--
-- The lock is taken in a statement of its own, so that everything after it sees what committed before it. It
-- is a queue that saves wasted work: a rival that skipped it would stumble over events_pkey and roll back.
-- The caller sends at most one command for each stream and each idempotency key.
--
-- Plans look every key up by itself and are made once: one made for a table while it is small would scan it whole,
-- and be kept while it grows. Rows are put together by subscripts, because `unnest` keeps each array aside once more.
create function log.append_batch(
    p_lane smallint,
    p_recorded_at timestamptz,
    -- An element for each organization of the batch.
    o_organization_id uuid[],
    o_event_count integer[],
    -- An element for each command; the last two are empty where no command has a key.
    c_organization_id uuid[],
    c_stream_kind text[],
    c_stream_id uuid[],
    c_expected_version bigint[],
    c_event_count integer[],
    c_offset integer[],
    c_idempotency_key text[],
    c_fingerprint bytea[],
    -- An element for each event, in the order of their positions. The organization's number counts from 1, the offset
    -- among its events from 0.
    e_organization integer[],
    e_organization_offset integer[],
    e_version bigint[],
    e_occurred_at timestamptz[],
    e_organization_id uuid[],
    e_stream_id uuid[],
    e_event_id uuid[],
    e_correlation_id uuid[],
    e_causation_id uuid[],
    e_request_id uuid[],
    e_subject_id uuid[],
    e_actor_id uuid[],
    e_actor_on_behalf_of uuid[],
    e_personal_key_id uuid[],
    e_network_key_id uuid[],
    e_schema_version smallint[],
    e_stream_kind text[],
    e_event_type text[],
    e_actor_kind text[],
    e_actor_role text[],
    e_purpose text[],
    e_origin text[],
    e_leaf_hash bytea[],
    e_facts bytea[],
    e_personal bytea[],
    e_personal_key_commit bytea[],
    e_network bytea[]
) returns table (
    refused_command integer,
    version bigint,
    last_position bigint,
    sequences bigint[],
    known_fingerprint bytea,
    known_stream_kind text,
    known_stream_id uuid,
    known_event_count integer
)
language plpgsql volatile security definer set search_path = pg_catalog, log
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_is_refused boolean := false;
    v_lock text;
    v_updated bigint;
begin
    v_lock := pg_advisory_xact_lock(hashtext('carelog.lane'), p_lane);

    if c_idempotency_key <> '{}' then
        return query
        select c.command::integer, k.version, k.first_position, null::bigint[], k.fingerprint, k.stream_kind,
               k.stream_id, k.event_count
        from unnest(c_organization_id, c_idempotency_key)
             with ordinality as c (organization_id, idempotency_key, command)
        join log.idempotency_keys k
            on k.organization_id = c.organization_id and k.idempotency_key = c.idempotency_key;
        v_is_refused := found;
    end if;
    return query
    select c.command::integer, coalesce(h.version, 0), null::bigint, null::bigint[], null::bytea, null, null::uuid,
           null::integer
    from unnest(c_organization_id, c_stream_kind, c_stream_id, c_expected_version)
         with ordinality as c (organization_id, stream_kind, stream_id, expected_version, command)
    left join log.stream_heads h
        on h.organization_id = c.organization_id and h.stream_id = c.stream_id and h.stream_kind = c.stream_kind
    where coalesce(h.version, 0) <> c.expected_version;
    if found or v_is_refused then
        return;
    end if;

    with lane as (
        update log.lane_heads l
        set position = l.position + cardinality(e_event_id)
        where l.lane = p_lane
        returning l.position - cardinality(e_event_id) as position
    ),
    moved as (
        update log.organizations o
        set sequence = o.sequence + added.event_count
        from unnest(o_organization_id, o_event_count)
             with ordinality as added (organization_id, event_count, number)
        where o.organization_id = added.organization_id and o.lane = p_lane
        returning added.number, o.sequence - added.event_count as sequence
    )
    select (select lane.position from lane), array_agg(moved.sequence order by moved.number)
    into last_position, sequences
    from moved;
    if cardinality(sequences) is distinct from cardinality(o_organization_id) then
        raise exception 'an organization of the batch has no place in lane %', p_lane
            using errcode = 'foreign_key_violation';
    end if;

    insert into log.events (
        lane, position, organization_sequence, version, occurred_at, recorded_at, organization_id, stream_id,
        event_id, correlation_id, causation_id, request_id, subject_id, actor_id, actor_on_behalf_of,
        personal_key_id, network_key_id, schema_version, stream_kind, event_type, actor_kind, actor_role,
        purpose, origin, leaf_hash, facts, personal, personal_key_commit, network)
    select p_lane, last_position + n, sequences[e_organization[n]] + e_organization_offset[n] + 1, e_version[n],
           e_occurred_at[n], p_recorded_at, e_organization_id[n], e_stream_id[n], e_event_id[n],
           e_correlation_id[n], e_causation_id[n], e_request_id[n], e_subject_id[n], e_actor_id[n],
           e_actor_on_behalf_of[n], e_personal_key_id[n], e_network_key_id[n], e_schema_version[n],
           e_stream_kind[n], e_event_type[n], e_actor_kind[n], e_actor_role[n], e_purpose[n], e_origin[n],
           e_leaf_hash[n], e_facts[n], e_personal[n], e_personal_key_commit[n], e_network[n]
    from generate_series(1, cardinality(e_event_id)) as n;

    if 0 = any(c_expected_version) then
        insert into log.stream_heads
            (organization_id, stream_id, stream_kind, version, first_position, last_position)
        select c_organization_id[n], c_stream_id[n], c_stream_kind[n], c_event_count[n],
               append_batch.last_position + c_offset[n] + 1,
               append_batch.last_position + c_offset[n] + c_event_count[n]
        from generate_series(1, cardinality(c_stream_id)) as n
        where c_expected_version[n] = 0;
    end if;
    if 0 < any(c_expected_version) then
        update log.stream_heads h
        set version = c.expected_version + c.event_count,
            last_position = append_batch.last_position + c.command_offset + c.event_count
        from unnest(c_organization_id, c_stream_id, c_stream_kind, c_expected_version, c_event_count, c_offset)
             as c (organization_id, stream_id, stream_kind, expected_version, event_count, command_offset)
        where h.organization_id = c.organization_id and h.stream_id = c.stream_id
          and h.stream_kind = c.stream_kind and h.version = c.expected_version and c.expected_version > 0;
        get diagnostics v_updated = row_count;
        if v_updated <> cardinality(array_remove(c_expected_version, 0)) then
            raise exception 'a stream of the batch has moved on' using errcode = 'serialization_failure';
        end if;
    end if;

    if c_idempotency_key <> '{}' then
        insert into log.idempotency_keys (organization_id, idempotency_key, fingerprint, stream_kind, stream_id,
                                          version, first_position, event_count, recorded_at)
        select c_organization_id[n], c_idempotency_key[n], c_fingerprint[n], c_stream_kind[n], c_stream_id[n],
               c_expected_version[n] + c_event_count[n], last_position + c_offset[n] + 1, c_event_count[n],
               p_recorded_at
        from generate_series(1, cardinality(c_stream_id)) as n
        where c_idempotency_key[n] is not null;
    end if;

    return next;
end $$;
comment on function log.append_batch is 'Checks and appends one batch of commands, or says which of them it refuses';

create function log.remember_unchanged(
    p_organization_id uuid,
    p_stream_kind text,
    p_stream_id uuid,
    p_version bigint,
    p_idempotency_key text,
    p_fingerprint bytea,
    p_recorded_at timestamptz
) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, log as $$
begin
    insert into log.idempotency_keys (organization_id, idempotency_key, fingerprint, stream_kind, stream_id, version,
                                      first_position, event_count, recorded_at)
    select p_organization_id, p_idempotency_key, p_fingerprint, p_stream_kind, p_stream_id, p_version,
           coalesce(h.last_position, 0) + 1, 0, p_recorded_at
    from (values (true)) as one_row
    left join log.stream_heads h
        on h.organization_id = p_organization_id and h.stream_id = p_stream_id and h.stream_kind = p_stream_kind
    where coalesce(h.version, 0) = p_version
    on conflict (organization_id, idempotency_key) do nothing;
    return found;
end $$;
comment on function log.remember_unchanged is
    'Keeps the key of a command that had nothing to change at a version of its stream; false where the key was used before, or the stream has moved on';

-- Rights. The owner of the log's functions passes row-level security; nobody can sign in as it.
alter table log.events owner to carelog_log;
alter table log.settings owner to carelog_log;
alter table log.lane_heads owner to carelog_log;
alter table log.organizations owner to carelog_log;
alter table log.stream_heads owner to carelog_log;
alter table log.idempotency_keys owner to carelog_log;
alter view log.readable_events owner to carelog_log;
alter function log.append_batch owner to carelog_log;
alter function log.remember_unchanged owner to carelog_log;
alter function log.ensure_leaf owner to carelog_log;
alter function log.place_organization owner to carelog_log;
alter function log.leaf_size owner to carelog_log;
alter function log.refuse_change owner to carelog_log;
alter schema log owner to carelog_log;
revoke all on all functions in schema log from public;

alter table log.events enable row level security;
alter table log.events force row level security;
alter table log.organizations enable row level security;
alter table log.organizations force row level security;
alter table log.stream_heads enable row level security;
alter table log.stream_heads force row level security;
alter table log.idempotency_keys enable row level security;
alter table log.idempotency_keys force row level security;

-- Tables whose rows go after a while are partitioned by the time that their ids begin with.

create function public.carelog_id_at(p_moment timestamptz) returns uuid
language sql immutable strict parallel safe as $$
    select rpad(lpad(to_hex(floor(extract(epoch from p_moment at time zone 'UTC') * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
comment on function public.carelog_id_at is
    'The least id of a moment, for ids that begin with 48 bits of milliseconds since 1970 (RFC 9562, version 7)';

create function public.carelog_partition_start(p_moment timestamptz) returns timestamptz
language sql immutable strict parallel safe as $$
    select to_timestamp(floor(extract(epoch from p_moment) / 2419200) * 2419200)
$$;
comment on function public.carelog_partition_start is
    'Where the partition of a moment begins: each holds four weeks, few enough that a statement which looks at all of them stays cheap';

create function public.carelog_make_partitions(p_parent regclass, p_from timestamptz, p_until timestamptz, p_options text)
returns void language plpgsql as $$
declare
    v_start timestamptz := public.carelog_partition_start(p_from);
    v_end timestamptz;
    v_schema text;
    v_parent text;
    v_name text;
begin
    perform pg_advisory_xact_lock(hashtext('carelog.partitions'));
    select n.nspname, c.relname into strict v_schema, v_parent
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = p_parent;
    while v_start <= p_until loop
        v_end := v_start + interval '672 hours';
        v_name := format('%s_%s', v_parent, to_char(v_start at time zone 'UTC', 'YYYYMMDD'));
        if to_regclass(format('%I.%I', v_schema, v_name)) is null then
            -- Made apart and attached, because `partition of` would lock out whoever uses the parent.
            execute format('create table %I.%I (like %I.%I including defaults including constraints) %s',
                           v_schema, v_name, v_schema, v_parent, p_options);
            execute format('alter table %I.%I attach partition %I.%I for values from (%L) to (%L)',
                           v_schema, v_parent, v_schema, v_name, public.carelog_id_at(v_start),
                           public.carelog_id_at(v_end));
        end if;
        v_start := v_end;
    end loop;
end $$;
comment on function public.carelog_make_partitions is
    'Makes the partitions of a table that are missing between two moments; the table is partitioned by range of such ids';

create function public.carelog_organization() returns uuid
language sql stable parallel safe as $$
    select nullif(current_setting('carelog.organization_id', true), '')::uuid
$$;
comment on function public.carelog_organization is 'The organization that this transaction may see; set local by the application';

create function public.carelog_partner() returns uuid
language sql stable parallel safe as $$
    select nullif(current_setting('carelog.partner_id', true), '')::uuid
$$;
comment on function public.carelog_partner is
    'The partner of the organization to whose subscriptions this transaction is bound; null for one that sees all of them';

create policy own_organization on log.events using (organization_id = (select public.carelog_organization()));
create policy own_organization on log.organizations using (organization_id = (select public.carelog_organization()));
create policy own_organization on log.stream_heads using (organization_id = (select public.carelog_organization()));
create policy own_organization on log.idempotency_keys using (organization_id = (select public.carelog_organization()));

grant usage on schema log to carelog_app, carelog_system;
grant select on log.events, log.readable_events, log.organizations, log.stream_heads, log.settings, log.lane_heads
    to carelog_app, carelog_system;
grant select, delete on log.idempotency_keys to carelog_system;
grant execute on function log.append_batch, log.remember_unchanged, log.ensure_leaf, log.place_organization, log.leaf_size
    to carelog_system;
