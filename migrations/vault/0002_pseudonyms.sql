-- Keys of the pseudonyms under which analytics know people. A role of their own reaches them and nothing else here, so
-- that whoever makes pseudonyms can open nothing. The role `carelog_pseudonyms` exists before this runs.

create table vault.pseudonym_keys (
    organization_id uuid not null,
    epoch int not null,
    wrapped bytea,
    created_at timestamptz not null default now(),
    destroyed_at timestamptz,
    constraint pseudonym_keys_pkey primary key (organization_id, epoch),
    constraint pseudonym_keys_epoch_check check (epoch >= 1),
    constraint pseudonym_keys_wrapped_check check (octet_length(wrapped) = 61),
    constraint pseudonym_keys_destroyed_check check ((wrapped is null) = (destroyed_at is not null))
);
comment on table vault.pseudonym_keys is 'Keys of pseudonyms. The greatest epoch is what a rebuild takes; once an epoch is destroyed, nothing leads from its pseudonyms to people.';
comment on column vault.pseudonym_keys.organization_id is 'The clinic.';
comment on column vault.pseudonym_keys.epoch is 'Counts an organization''s keys from 1.';
comment on column vault.pseudonym_keys.wrapped is 'The key, encrypted by the root key; null once destroyed.';
comment on column vault.pseudonym_keys.created_at is 'When the key was made, by the database''s clock.';
comment on column vault.pseudonym_keys.destroyed_at is 'When the key was destroyed, by the database''s clock.';

create trigger pseudonym_keys_guard
    before update or delete on vault.pseudonym_keys
    for each row execute function vault.guard_key();
create trigger pseudonym_keys_guard_truncate
    before truncate on vault.pseudonym_keys
    for each statement execute function vault.guard_key();

grant usage on schema vault to carelog_pseudonyms;
grant select, insert on vault.pseudonym_keys to carelog_pseudonyms;
grant update (wrapped, destroyed_at) on vault.pseudonym_keys to carelog_pseudonyms;
