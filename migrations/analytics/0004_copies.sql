-- Owned by the projection analytics: how far the worker has come that copies facts to ClickHouse. Nothing stands here
-- where nothing is copied. A rebuild leaves it alone.

create schema copies;
comment on schema copies is 'How far the facts are copied to ClickHouse';
grant usage on schema copies to carelog_system;

create table copies.lanes (
    lane smallint not null,
    version integer not null,
    position bigint not null,
    constraint lanes_pkey primary key (lane)
);
comment on table copies.lanes is 'Up to where in the log the facts of each lane are copied';
comment on column copies.lanes.lane is 'The lane';
comment on column copies.lanes.version is 'The version of the projection that was copied';
comment on column copies.lanes.position is 'Place in the lane';

create table copies.organizations (
    organization_id uuid not null,
    pseudonym_epoch integer not null,
    constraint organizations_pkey primary key (organization_id)
);
comment on table copies.organizations is 'Under which epoch of pseudonyms the facts of a clinic were copied';
comment on column copies.organizations.organization_id is 'The clinic';
comment on column copies.organizations.pseudonym_epoch is 'The epoch';

-- Without a policy: only roles that bypass row-level security see them.
alter table copies.lanes enable row level security;
alter table copies.lanes force row level security;
alter table copies.organizations enable row level security;
alter table copies.organizations force row level security;
grant select, insert, update, delete on all tables in schema copies to carelog_system;
