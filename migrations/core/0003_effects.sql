-- The ledger of effects: what reactors want done and workers have done.
--
-- Owned by the crate event-log. Rows are never deleted by a rebuild: the key is what keeps an effect from
-- being carried out a second time.

create table runtime.effects (
    organization_id uuid not null,
    source_event_id uuid not null,
    step uuid not null,
    reactor text not null,
    lane smallint not null,
    position bigint not null,
    token bigint not null default 1,
    owner uuid,
    claimed_at timestamptz,
    next_at timestamptz,
    created_at timestamptz not null default now(),
    constraint effects_pkey primary key (organization_id, source_event_id, step, reactor),
    constraint effects_owner check (owner is null or next_at is not null)
);
comment on table runtime.effects is 'Effects to be carried out, one per organization, reactor, source event and step';
comment on column runtime.effects.step is 'What to do for the source event; for webhooks the subscription';
comment on column runtime.effects.position is 'Where the source event stands in its lane';
comment on column runtime.effects.token is 'Fencing token: raised by every claim, and matched by every report';
comment on column runtime.effects.owner is 'The worker process that holds it';
comment on column runtime.effects.claimed_at is 'When its last holder took it, by the holder''s clock'
    ' as the outcomes in the log are';
comment on column runtime.effects.next_at is 'When it is due or, while held, when the lease ends; null when nothing is left to do';

create index effects_next on runtime.effects (reactor, next_at) where next_at is not null;

alter table runtime.effects enable row level security;
alter table runtime.effects force row level security;
create policy own_organization on runtime.effects using (organization_id = (select public.carelog_organization()));
grant select, insert, update on runtime.effects to carelog_system;
grant select on runtime.effects to carelog_app;
