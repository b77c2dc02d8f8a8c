create schema audit;
comment on schema audit is 'The audit trail: who did what to whose record, one entry for every event of the log';
grant usage on schema audit to carelog_app, carelog_system;

create or replace function public.carelog_organization() returns uuid
language sql stable parallel safe as $$
    select nullif(current_setting('carelog.organization_id', true), '')::uuid
$$;
comment on function public.carelog_organization is 'The organization that this transaction may see; set local by the application';

set local search_path to audit, public;

-- Owned by the projection audit. A rebuild runs the parts below in a schema of its own.

-- tables

do $$ begin
    execute format('grant usage on schema %I to carelog_app, carelog_system', current_schema());
end $$;

create table trail (
    organization_id uuid not null,
    sequence bigint not null,
    position bigint not null,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null,
    event_id uuid not null,
    correlation_id uuid not null,
    causation_id uuid,
    request_id uuid,
    subject_id uuid,
    actor_id uuid,
    actor_on_behalf_of uuid,
    target_id uuid,
    lane smallint not null,
    event_type text collate "C" not null,
    action text not null,
    outcome text not null,
    actor_kind text not null,
    actor_role text not null,
    target_kind text not null,
    purpose text,
    origin text not null,
    constraint trail_pkey primary key (organization_id, sequence),
    constraint trail_action check (action in ('create', 'read', 'update', 'delete', 'execute')),
    constraint trail_outcome check (outcome in ('success', 'failure'))
);
comment on table trail is 'One entry for every event of an organization, gapless like its sequence; facts and personal parts stay in the log';
comment on column trail.sequence is 'Place among the events of the organization, from 1';
comment on column trail.position is 'Place in the lane, from 1';
comment on column trail.occurred_at is 'When it happened, microseconds';
comment on column trail.recorded_at is 'When it was written to the log, microseconds';
comment on column trail.subject_id is 'The patient whom it is about';
comment on column trail.actor_id is 'The key, run or component that acted';
comment on column trail.actor_on_behalf_of is 'Whom the actor stood for';
comment on column trail.target_id is 'The record that it was done to; null where that was a list';
comment on column trail.event_type is 'Type in the catalogue; sorted by bytes, so that a prefix is a range';
comment on column trail.action is 'create, read, update, delete or execute, as in the FHIR AuditEvent';
comment on column trail.outcome is 'failure for a refusal, an attempt without success and a delivery given up';
comment on column trail.target_kind is 'Kind of the record that it was done to';
comment on column trail.origin is 'live, imported, or imported_notify';

alter table trail enable row level security;
alter table trail force row level security;
create policy own_organization on trail
    using (organization_id = (select public.carelog_organization()));

-- Entries are never changed and never removed at run time; a rebuild works as the owner of the table.
grant select, insert on trail to carelog_system;
grant select on trail to carelog_app;

-- indexes

create index trail_by_subject on trail (organization_id, subject_id, sequence) where subject_id is not null;
create index trail_by_actor on trail (organization_id, actor_id, sequence) where actor_id is not null;
create index trail_by_target on trail (organization_id, target_id, sequence) where target_id is not null;
create index trail_by_type on trail (organization_id, event_type, sequence);
create index trail_by_correlation on trail (organization_id, correlation_id, sequence);
create index trail_by_causation on trail (organization_id, causation_id) where causation_id is not null;
create index trail_by_behalf on trail (organization_id, actor_on_behalf_of, sequence) where actor_on_behalf_of is not null;
create index trail_by_purpose on trail (organization_id, purpose, sequence) where purpose is not null;
create index trail_by_failure on trail (organization_id, sequence) where outcome = 'failure';
create index trail_by_action on trail (organization_id, action, sequence) where action not in ('create', 'update');
create index trail_by_time on trail (organization_id, occurred_at, sequence);
