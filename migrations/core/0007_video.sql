-- Video rooms of appointments, and what their organizations need for them.
--
-- Owned by the projection video.

create schema video;
comment on schema video is 'Video rooms, folded from appointments and from what became of their rooms';
set local search_path to video, public;

-- tables

do $$ begin
    execute format('grant usage on schema %I to carelog_app, carelog_system', current_schema());
end $$;

create table video_organizations (
    organization_id uuid not null,
    recording_enabled boolean not null,
    waiting_room_minutes integer not null,
    provider text,
    credentials bytea,
    credentials_key_id uuid,
    credentials_version bigint,
    credentials_event_id uuid,
    credentials_schema_version smallint,
    constraint video_organizations_pkey primary key (organization_id),
    constraint video_organizations_provider check (provider in ('daily')),
    constraint video_organizations_credentials check (
        num_nulls(credentials, credentials_key_id, credentials_version, credentials_event_id,
                  credentials_schema_version) in (0, 5))
);
comment on table video_organizations is 'Who runs the rooms of an organization, and the settings that rooms depend on';
comment on column video_organizations.recording_enabled is 'Whether consultations may be recorded at all';
comment on column video_organizations.waiting_room_minutes is 'How long before an appointment its room opens, minutes';
comment on column video_organizations.provider is 'Who runs its rooms; null while Carelog itself does';
comment on column video_organizations.credentials is
    'The account with the provider, sealed; the columns credentials_* say for which event of the organization';

create table video_rooms (
    organization_id uuid not null,
    appointment_id uuid not null,
    patient_id uuid not null,
    room_id uuid not null,
    starts_at timestamptz not null,
    ends_at timestamptz,
    starts_at_precision text not null,
    wish text not null,
    status text not null,
    provider text,
    opening integer not null,
    opens_at timestamptz,
    expires_at timestamptz,
    attempt_count integer not null,
    failure_reason text,
    next_attempt_at timestamptz,
    end_reason text,
    version bigint not null,
    created_position bigint not null,
    updated_at timestamptz not null,
    planned_expires_at timestamptz,
    constraint video_rooms_pkey primary key (organization_id, appointment_id),
    constraint video_rooms_precision check (starts_at_precision in ('minute', 'day')),
    constraint video_rooms_wish check (wish in ('not_yet', 'wanted', 'cancelled', 'no_show')),
    constraint video_rooms_status check (status in ('none', 'open', 'closed')),
    constraint video_rooms_open check (status <> 'open' or num_nulls(opens_at, expires_at, provider) = 0),
    constraint video_rooms_failing check ((attempt_count > 0) = (failure_reason is not null))
) with (fillfactor = 80);
comment on table video_rooms is 'Appointments by video: whether a room is wanted, and what became of it';
comment on column video_rooms.room_id is 'The stream of the room, which follows from the appointment';
comment on column video_rooms.wish is 'What the appointment asks for: a room is wanted from the check-in on';
comment on column video_rooms.status is 'What the provider has, as far as is known';
comment on column video_rooms.opening is 'How many rooms the appointment has had';
comment on column video_rooms.opens_at is 'From when the newest room can be entered';
comment on column video_rooms.expires_at is 'When the newest room closes by itself';
comment on column video_rooms.planned_expires_at is
    'When the newest room was to close before its specialist let it stay open for longer';
comment on column video_rooms.attempt_count is 'Failures in a row of making, moving or closing the room';
comment on column video_rooms.next_attempt_at is 'When it is tried again; null when it is not';
comment on column video_rooms.version is 'Version of the room''s stream; 0 before its first event';
comment on column video_rooms.created_position is 'Place of the event that made the row; lists run along it';
comment on column video_rooms.updated_at is 'recorded_at of the last event that touched the row, microseconds';

alter table video_organizations enable row level security;
alter table video_organizations force row level security;
create policy own_organization on video_organizations
    using (organization_id = (select public.carelog_organization()));
alter table video_rooms enable row level security;
alter table video_rooms force row level security;
create policy own_organization on video_rooms using (organization_id = (select public.carelog_organization()));
grant select, insert, update, delete on video_organizations, video_rooms to carelog_system;
grant select on video_organizations, video_rooms to carelog_app;

-- indexes

create index video_rooms_created on video_rooms (organization_id, created_position desc);
create index video_rooms_failing on video_rooms (organization_id, created_position desc) where attempt_count > 0;
create index video_rooms_lacking on video_rooms (organization_id, created_position)
    where wish = 'wanted' and status <> 'open';
