-- Who is in the embedded video rooms at this moment, and what they have to tell each other in order to talk directly.
--
-- Owned by the projection video; outside its schema, because no log can restore it and a rebuild leaves it alone. The
-- processes meet here: each of them may hold either end of a conversation, and none of them remembers anything.

create schema rooms;
comment on schema rooms is 'Who is in the embedded video rooms at this moment';
grant usage on schema rooms to carelog_app, carelog_system;

create table rooms.presences (
    organization_id uuid not null,
    appointment_id uuid not null,
    session_id uuid not null,
    participant_id uuid not null,
    participant text not null,
    link integer not null,
    device_sha256 bytea not null,
    connection_id uuid not null,
    status text not null,
    gone_reason text,
    entered_at timestamptz not null,
    joined_at timestamptz,
    seen_at timestamptz not null,
    is_told boolean not null default false,
    constraint presences_pkey primary key (organization_id, session_id),
    constraint presences_participant check (participant in ('patient', 'specialist', 'guest')),
    constraint presences_status check (status in ('waiting', 'admitted', 'gone')),
    constraint presences_gone check ((status = 'gone') = (gone_reason is not null)),
    constraint presences_gone_reason
        check (gone_reason in ('left', 'lost', 'replaced', 'declined', 'sent_back', 'ended')),
    constraint presences_device check (octet_length(device_sha256) = 32)
);
comment on table rooms.presences is
    'A row for each stay, until its end is in the log and its connection has had the time to learn of it';
comment on column rooms.presences.session_id is 'Names the stay, as the events of the room do';
comment on column rooms.presences.link is 'Number of the link that it came by';
comment on column rooms.presences.device_sha256 is 'Hash of what tells the browser from others';
comment on column rooms.presences.connection_id is 'The connection that speaks for it; the newest one does';
comment on column rooms.presences.status is 'Whether it waits, takes part, or is over';
comment on column rooms.presences.gone_reason is 'Why it is over';
comment on column rooms.presences.entered_at is 'When it began to wait';
comment on column rooms.presences.joined_at is 'When it began to take part; null before';
comment on column rooms.presences.seen_at is 'When it was heard of last, and once it is over, when that was';
comment on column rooms.presences.is_told is 'Whether its end is in the log';

-- One connection speaks for a person, and two people talk: a specialist and one other.
create unique index presences_person on rooms.presences (organization_id, appointment_id, participant_id)
    where status <> 'gone';
create unique index presences_seats on rooms.presences (organization_id, appointment_id, (participant = 'specialist'))
    where status = 'admitted';
create index presences_seen on rooms.presences (seen_at);

-- What it holds is of use for a moment only, so that it need not survive a crash.
create unlogged table rooms.signals (
    organization_id uuid not null,
    signal_id bigint generated always as identity,
    to_session uuid not null,
    from_session uuid not null,
    key_id uuid not null,
    sealed bytea not null,
    constraint signals_pkey primary key (organization_id, to_session, signal_id)
);
comment on table rooms.signals is 'What one participant has to tell the other''s browser, until that was told';
comment on column rooms.signals.signal_id is 'In the order in which one participant told it';
comment on column rooms.signals.sealed is
    'An offer, an answer or a candidate, which hold network addresses: sealed under the organization''s key of that class';

alter table rooms.presences enable row level security;
alter table rooms.presences force row level security;
create policy own_organization on rooms.presences
    using (organization_id = (select public.carelog_organization()));
alter table rooms.signals enable row level security;
alter table rooms.signals force row level security;
create policy own_organization on rooms.signals using (organization_id = (select public.carelog_organization()));
grant select, insert, update, delete on rooms.presences, rooms.signals to carelog_system;
grant select on rooms.presences to carelog_app;
