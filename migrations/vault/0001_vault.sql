-- Keys of the vault. The formats of `wrapped` and `key_commit` are described in the crate `carelog-vault`.
-- A database of its own, so that its backups can be kept for a short time only. The role `carelog_vault` exists
-- before this runs.

create schema vault;
comment on schema vault is 'Wrapped keys; nothing here is readable without the root key, which is kept elsewhere.';

create table vault.organization_keys (
    organization_id uuid not null,
    epoch int not null,
    wrapped bytea,
    created_at timestamptz not null default now(),
    destroyed_at timestamptz,
    constraint organization_keys_pkey primary key (organization_id, epoch),
    constraint organization_keys_epoch_check check (epoch >= 1),
    constraint organization_keys_wrapped_check check (octet_length(wrapped) = 61),
    constraint organization_keys_destroyed_check check ((wrapped is null) = (destroyed_at is not null))
);
comment on table vault.organization_keys is 'Keys that wrap an organization''s data keys. The greatest epoch is in use; without it every data key under it is lost.';
comment on column vault.organization_keys.organization_id is 'The clinic.';
comment on column vault.organization_keys.epoch is 'Counts an organization''s keys from 1.';
comment on column vault.organization_keys.wrapped is 'The key, encrypted by the root key; null once destroyed.';
comment on column vault.organization_keys.created_at is 'When the key was made, by the database''s clock.';
comment on column vault.organization_keys.destroyed_at is 'When the key was destroyed, by the database''s clock.';

create table vault.data_keys (
    key_id uuid not null,
    organization_id uuid not null,
    subject_id uuid,
    class text not null,
    organization_key_epoch int,
    wrapped bytea,
    key_commit bytea,
    created_at timestamptz not null default now(),
    destroyed_at timestamptz,
    constraint data_keys_pkey primary key (key_id),
    constraint data_keys_organization_key_fkey foreign key (organization_id, organization_key_epoch)
        references vault.organization_keys (organization_id, epoch),
    -- The nil id stands for "nobody" in the index below.
    constraint data_keys_subject_check check (subject_id <> '00000000-0000-0000-0000-000000000000'),
    constraint data_keys_class_check check (class in ('identity', 'clinical', 'network', 'credential', 'profile')),
    constraint data_keys_wrapped_check check (octet_length(wrapped) = 61),
    constraint data_keys_commit_check check (octet_length(key_commit) = 32),
    constraint data_keys_destroyed_check check ((wrapped is null) = (destroyed_at is not null)),
    constraint data_keys_marker_check check (
        (organization_key_epoch is null) = (key_commit is null)
        and (organization_key_epoch is not null or (subject_id is not null and destroyed_at is not null))
    )
);
comment on table vault.data_keys is 'Keys that seal personal parts. A row is never deleted: a destroyed key stays known as destroyed.';
comment on column vault.data_keys.key_id is 'Names the key in sealed values; UUID version 7, never used twice.';
comment on column vault.data_keys.organization_id is 'The clinic.';
comment on column vault.data_keys.subject_id is 'The patient, or null for a key of the organization itself.';
comment on column vault.data_keys.class is 'What the key protects.';
comment on column vault.data_keys.organization_key_epoch is 'Which organization key wraps it. Null marks a class in which an erased patient had no key, and never will.';
comment on column vault.data_keys.wrapped is 'The key, encrypted by the organization key; null once destroyed.';
comment on column vault.data_keys.key_commit is 'HMAC-SHA256 that binds the key to its id; outlives the key. Null on a marker.';
comment on column vault.data_keys.created_at is 'When the key was made, by the database''s clock.';
comment on column vault.data_keys.destroyed_at is 'When the key was destroyed, by the database''s clock.';

-- An organization has one live key per class; a patient has one key per class, ever, so that nothing can give an
-- erased patient a new one.
create unique index data_keys_one_per_scope on vault.data_keys (
    organization_id,
    coalesce(subject_id, '00000000-0000-0000-0000-000000000000'),
    class
) where subject_id is not null or destroyed_at is null;

create function vault.guard_key() returns trigger
    language plpgsql
    set search_path = pg_catalog
as $$
begin
    if tg_op <> 'UPDATE' then
        raise exception 'keys are never deleted' using errcode = 'restrict_violation';
    end if;
    if old.destroyed_at is not null then
        raise exception 'a destroyed key never changes' using errcode = 'restrict_violation';
    end if;
    if to_jsonb(new) - '{wrapped,organization_key_epoch,destroyed_at}'::text[]
        is distinct from to_jsonb(old) - '{wrapped,organization_key_epoch,destroyed_at}'::text[]
    then
        raise exception 'a key may be wrapped anew or destroyed, nothing else' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
comment on function vault.guard_key() is 'Refuses what would bring a destroyed key back or forget that it existed.';

create trigger organization_keys_guard
    before update or delete on vault.organization_keys
    for each row execute function vault.guard_key();
create trigger organization_keys_guard_truncate
    before truncate on vault.organization_keys
    for each statement execute function vault.guard_key();
create trigger data_keys_guard
    before update or delete on vault.data_keys
    for each row execute function vault.guard_key();
create trigger data_keys_guard_truncate
    before truncate on vault.data_keys
    for each statement execute function vault.guard_key();

revoke all on schema vault from public;
revoke all on function vault.guard_key() from public;
grant usage on schema vault to carelog_vault;
grant select, insert on vault.organization_keys, vault.data_keys to carelog_vault;
grant update (wrapped, destroyed_at) on vault.organization_keys to carelog_vault;
grant update (wrapped, organization_key_epoch, destroyed_at) on vault.data_keys to carelog_vault;
