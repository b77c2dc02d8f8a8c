-- What the projector runtime keeps beside each projection. The same tables stand in every database that holds
-- a projection, because a checkpoint moves in the projection's own transaction.
--
-- Owned by the crate event-log.

create schema runtime;
comment on schema runtime is 'Checkpoints, leases and quarantine of the projectors in this database';

create table runtime.projections (
    projector text not null,
    live_version integer not null default 1,
    rebuild_version integer,
    rebuild_organization_id uuid,
    rebuild_cancelled boolean not null default false,
    rebuild_started_at timestamptz,
    constraint projections_pkey primary key (projector),
    constraint projections_versions check (rebuild_version > live_version)
);
comment on table runtime.projections is 'Which version of each projection serves, and which one is being built';

create table runtime.checkpoints (
    projector text not null,
    version integer not null,
    lane smallint not null,
    position bigint not null default 0,
    recorded_at timestamptz,
    epoch bigint not null default 0,
    owner uuid,
    leased_until timestamptz not null default '-infinity',
    constraint checkpoints_pkey primary key (projector, version, lane),
    constraint checkpoints_position check (position >= 0)
) with (fillfactor = 10);
comment on table runtime.checkpoints is 'How far each projector came in each lane, and who may move it';
comment on column runtime.checkpoints.recorded_at is 'recorded_at of the event at this position';
comment on column runtime.checkpoints.epoch is 'Fencing token: raised by every take-over, and matched by every update';

create table runtime.reactors (
    reactor text not null,
    lane smallint not null,
    position bigint not null,
    constraint reactors_pkey primary key (reactor, lane)
) with (fillfactor = 10);
comment on table runtime.reactors is 'How far each reactor came; never moved back, not even by a rebuild';

create table runtime.quarantine (
    projector text not null,
    version integer not null,
    lane smallint not null,
    position bigint not null,
    organization_id uuid not null,
    stream_id uuid not null,
    event_type text not null,
    failure text,
    quarantined_at timestamptz not null default now(),
    discarded_at timestamptz,
    discard_reason text,
    constraint quarantine_pkey primary key (projector, version, lane, position),
    constraint quarantine_discard check ((discarded_at is null) = (discard_reason is null))
);
comment on table runtime.quarantine is 'Events set aside, in order, for a stream whose event could not be applied';
comment on column runtime.quarantine.failure is 'Why the first event of the stream failed; null for those that wait behind it';

-- Without a policy: only roles that bypass row-level security see it, and the application's is none of them.
alter table runtime.quarantine enable row level security;
alter table runtime.quarantine force row level security;

create index quarantine_waiting on runtime.quarantine (projector, version, lane, organization_id, stream_id)
    where discarded_at is null;

create function runtime.advance(p_projector text, p_version integer, p_lane smallint, p_epoch bigint, p_from bigint,
                                p_to bigint, p_recorded_at timestamptz, p_lease interval, p_reactor text)
returns void language plpgsql as $$
begin
    update runtime.checkpoints
    set position = p_to, recorded_at = coalesce(p_recorded_at, recorded_at), leased_until = now() + p_lease
    where projector = p_projector and version = p_version and lane = p_lane and epoch = p_epoch and position = p_from;
    if not found then
        raise exception using errcode = 'CL001', message = 'the lease was lost';
    end if;
    if p_reactor is not null then
        update runtime.reactors set position = p_to
        where reactor = p_reactor and lane = p_lane and position < p_to;
    end if;
end $$;
comment on function runtime.advance is
    'Moves a checkpoint, and its reactor with it, which never moves back; fails with CL001 when the lease was lost';

grant usage on schema runtime to carelog_app, carelog_system;
grant select, insert, update, delete on all tables in schema runtime to carelog_system;
grant select on all tables in schema runtime to carelog_app;
