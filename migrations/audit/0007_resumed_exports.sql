alter table exports.jobs add column kept text;
comment on column exports.jobs.kept is
    'JSON: what a process that died had stored of the file, and from which entry on the next one goes on: the upload in the storage, its full parts, and the place in the trail in which the last of them ends';

alter table exports.jobs drop constraint jobs_form;
alter table exports.jobs add constraint jobs_form
    check (form in ('csv', 'ndjson', 'parquet', 'fhir_r4_ndjson', 'fhir_r5_ndjson', 'bundle'));
comment on column exports.jobs.attempt_count is 'How often it was begun since something of it was kept last';
