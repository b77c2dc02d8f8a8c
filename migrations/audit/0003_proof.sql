create schema proof;
comment on schema proof is 'The RFC 6962 tree of each organization''s events: leaves, full tiles and the right edge';
grant usage on schema proof to carelog_app, carelog_system;

set local search_path to proof, public;

-- Owned by the projection audit. A rebuild runs the parts below in a schema of its own.

-- tables

do $$ begin
    execute format('grant usage on schema %I to carelog_app, carelog_system', current_schema());
end $$;

create table trees (
    organization_id uuid not null,
    size bigint not null,
    edge bytea not null,
    root bytea not null,
    constraint trees_pkey primary key (organization_id),
    constraint trees_size check (size >= 1),
    constraint trees_edge check (length(edge) between 32 and 2016 and length(edge) % 32 = 0),
    constraint trees_root check (length(root) = 32)
) with (fillfactor = 50);
comment on table trees is 'How far each organization''s tree was sealed';
comment on column trees.size is 'Leaves: events of the organization that are sealed';
comment on column trees.edge is 'Roots of the complete subtrees that the tree is made of, the largest first, 32 bytes each';
comment on column trees.root is 'Root of the tree of these leaves';

create table tree_leaves (
    organization_id uuid not null,
    leaf_index bigint not null,
    recorded_at timestamptz not null,
    leaf_hash bytea not null,
    constraint tree_leaves_pkey primary key (organization_id, leaf_index),
    constraint tree_leaves_index check (leaf_index >= 0),
    constraint tree_leaves_hash check (length(leaf_hash) = 32)
);
comment on table tree_leaves is 'The leaf of each sealed event, computed anew from the stored event';
comment on column tree_leaves.leaf_index is 'Place in the tree, from 0: the event''s sequence less one';
comment on column tree_leaves.recorded_at is 'When the event was written to the log, microseconds';

create table tree_tiles (
    organization_id uuid not null,
    level smallint not null,
    n bigint not null,
    root bytea not null,
    hashes bytea not null,
    constraint tree_tiles_pkey primary key (organization_id, level, n),
    constraint tree_tiles_place check (level between 0 and 7 and n >= 0),
    constraint tree_tiles_root check (length(root) = 32),
    constraint tree_tiles_hashes check (length(hashes) = 8192)
);
comment on table tree_tiles is 'Full tiles of eight levels (C2SP tlog-tiles); what is not full is put together from leaves and roots';
comment on column tree_tiles.level is '0 for tiles of leaves; each hash above is the root of a full tile of the level below';
comment on column tree_tiles.n is 'Which tile of its level, from 0';
comment on column tree_tiles.root is 'Root of the 256 hashes: the tile''s hash in the tile above';

-- Hashes cannot be compressed.
alter table tree_tiles alter column hashes set storage external;

do $$
declare
    v_table text;
begin
    foreach v_table in array array['trees', 'tree_leaves', 'tree_tiles'] loop
        execute format('alter table %I enable row level security', v_table);
        execute format('alter table %I force row level security', v_table);
        execute format('create policy own_organization on %I
                        using (organization_id = (select public.carelog_organization()))', v_table);
    end loop;
end $$;

-- Leaves and tiles are never changed and never removed at run time; a rebuild works as the owner of the tables.
grant select, insert on tree_leaves, tree_tiles to carelog_system;
grant select, insert, update on trees to carelog_system;
grant select on trees, tree_leaves, tree_tiles to carelog_app;

-- indexes

-- Every look-up goes by the primary keys.
