create schema signer;
comment on schema signer is 'What the holder of the signing key said about the trees; no rebuild touches it';
grant usage on schema signer to carelog_app, carelog_system;

-- Owned by the projection audit. The key itself and the holder's own memory are files beside no database.

create table signer.keys (
    origin text not null,
    public_key bytea not null,
    created_at timestamptz not null,
    constraint keys_pkey primary key (origin),
    constraint keys_public_key check (length(public_key) = 32)
);
comment on table signer.keys is 'The Ed25519 key that signs; whoever holds another one stands by';
comment on column signer.keys.origin is 'First part of the names of the logs that it signs; another key needs another name';
comment on column signer.keys.created_at is 'When its holder first signed with it';

create table signer.heads (
    organization_id uuid not null,
    origin text not null,
    size bigint not null,
    root bytea not null,
    constraint heads_pkey primary key (organization_id, origin),
    constraint heads_size check (size >= 1),
    constraint heads_root check (length(root) = 32)
) with (fillfactor = 50);
comment on table signer.heads is 'What is about to be signed. Its commit reaches the disk, and with it everything that was sealed before';
comment on column signer.heads.origin is 'Name of the log: a further one begins after a restore from an old backup';
comment on column signer.heads.size is 'Leaves of the tree';

create table signer.checkpoints (
    organization_id uuid not null,
    origin text not null,
    size bigint not null,
    root bytea not null,
    note text not null,
    signed_at timestamptz not null,
    constraint checkpoints_pkey primary key (organization_id, origin, size),
    constraint checkpoints_size check (size >= 1),
    constraint checkpoints_root check (length(root) = 32)
);
comment on table signer.checkpoints is 'Every checkpoint that was signed (C2SP tlog-checkpoint); never two for one size';
comment on column signer.checkpoints.note is 'The signed note, byte for byte';
comment on column signer.checkpoints.signed_at is 'When it was signed; not part of what is signed';

create index checkpoints_by_time on signer.checkpoints (signed_at);

create table signer.cosignatures (
    organization_id uuid not null,
    origin text not null,
    size bigint not null,
    witness text not null,
    line text not null,
    cosigned_at timestamptz not null,
    constraint cosignatures_pkey primary key (organization_id, origin, size, witness),
    constraint cosignatures_size check (size >= 1)
);
comment on table signer.cosignatures is 'What witnesses said about checkpoints (C2SP tlog-cosignature), checked before it was kept';
comment on column signer.cosignatures.size is 'Leaves of the checkpoint';
comment on column signer.cosignatures.witness is 'The witness''s verifier key, with its name';
comment on column signer.cosignatures.line is 'The signature line of the note, byte for byte, with its line feed';
comment on column signer.cosignatures.cosigned_at is 'When it arrived; the moment that the witness signed stands in the line';

create index cosignatures_by_witness on signer.cosignatures (witness, organization_id, origin, size);

create table signer.meta_leaves (
    leaf_index bigint not null,
    organization_id uuid not null,
    origin text not null,
    size bigint not null,
    text text not null,
    appended_at timestamptz not null,
    constraint meta_leaves_pkey primary key (leaf_index),
    constraint meta_leaves_index check (leaf_index >= 0),
    constraint meta_leaves_size check (size >= 1)
);
comment on table signer.meta_leaves is 'The log of checkpoints, which has its tree in proof under the id of no organization; no rebuild touches it';
comment on column signer.meta_leaves.leaf_index is 'Place in the tree, from 0';
comment on column signer.meta_leaves.origin is 'Name of the organization''s log';
comment on column signer.meta_leaves.size is 'Leaves of the organization''s tree';
comment on column signer.meta_leaves.text is 'Text of the checkpoint without signatures: what is hashed, byte for byte';

create index meta_leaves_by_organization on signer.meta_leaves (organization_id, leaf_index);

do $$
declare
    v_table text;
begin
    foreach v_table in array array['heads', 'checkpoints', 'cosignatures', 'meta_leaves'] loop
        execute format('alter table signer.%I enable row level security', v_table);
        execute format('alter table signer.%I force row level security', v_table);
        execute format('create policy own_organization on signer.%I
                        using (organization_id = (select public.carelog_organization()))', v_table);
    end loop;
end $$;

grant select, insert on signer.keys, signer.checkpoints, signer.cosignatures, signer.meta_leaves to carelog_system;
grant select, insert, update on signer.heads to carelog_system;
grant select on signer.keys, signer.checkpoints, signer.cosignatures, signer.meta_leaves to carelog_app;
