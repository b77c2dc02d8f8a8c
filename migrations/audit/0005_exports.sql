create schema exports;
comment on schema exports is 'Long exports of trails and bundles, which are made by themselves; no rebuild touches it';
grant usage on schema exports to carelog_app, carelog_system;

create table exports.jobs (
    organization_id uuid not null,
    export_id uuid not null,
    form text not null,
    patient_id uuid,
    topic text,
    occurred_from timestamptz,
    occurred_before timestamptz,
    until_sequence bigint not null,
    total_count bigint not null,
    done_count bigint not null default 0,
    status text not null default 'running',
    failure text,
    attempt_count integer not null default 0,
    begun_at timestamptz,
    size_bytes bigint,
    content_sha256 bytea,
    requested_at timestamptz not null,
    finished_at timestamptz,
    owner uuid,
    leased_until timestamptz,
    constraint jobs_pkey primary key (organization_id, export_id),
    constraint jobs_form check (form in ('csv', 'ndjson', 'parquet', 'bundle')),
    constraint jobs_status check (status in ('running', 'complete', 'failed', 'expired')),
    constraint jobs_finished check ((status = 'running') = (finished_at is null)),
    constraint jobs_complete check (status <> 'complete' or (size_bytes is not null and content_sha256 is not null)),
    constraint jobs_sha256 check (length(content_sha256) = 32)
);
comment on table exports.jobs is 'An export that was asked for by the event access.record_exported of the stream export_id';
comment on column exports.jobs.until_sequence is 'The newest entry when it was asked for; later ones are not part of it';
comment on column exports.jobs.total_count is 'Entries or events that it will have, as far as is known';
comment on column exports.jobs.failure is 'Why it was given up: a code';
comment on column exports.jobs.attempt_count is 'How often it was begun';
comment on column exports.jobs.begun_at is 'When it was begun last; whose was begun longest ago comes next';
comment on column exports.jobs.size_bytes is 'Bytes of the file in the organization''s storage';
comment on column exports.jobs.owner is 'The process that makes it';
comment on column exports.jobs.leased_until is 'Until when nobody else begins it anew';

create index jobs_to_do on exports.jobs (requested_at) where status = 'running';
create index jobs_by_turn on exports.jobs (organization_id, begun_at);
create index jobs_to_remove on exports.jobs (finished_at) where status = 'complete';

alter table exports.jobs enable row level security;
alter table exports.jobs force row level security;
create policy own_organization on exports.jobs
    using (organization_id = (select public.carelog_organization()));

grant select, insert, update on exports.jobs to carelog_system;
grant select on exports.jobs to carelog_app;
