alter table exports.jobs
    add column address_index bytea,
    add column session_id uuid,
    add constraint jobs_address_index check (octet_length(address_index) = 16);
comment on column exports.jobs.address_index is 'Of entries that came from one network address: what stands for it in the trail';
comment on column exports.jobs.session_id is 'Of entries that were asked for in one session of the console';
