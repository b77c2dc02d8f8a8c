create schema analytics;
comment on schema analytics is 'Facts about appointments, exercises, forms and video consultations under pseudonyms. Nobody reads them but those who write and publish them';
grant usage on schema analytics to carelog_system;

create or replace function public.carelog_organization() returns uuid
language sql stable parallel safe as $$
    select nullif(current_setting('carelog.organization_id', true), '')::uuid
$$;
comment on function public.carelog_organization is 'The organization that this transaction may see; set local by the application';

create schema analytics_access;
comment on schema analytics_access is 'Which login of an analyst belongs to which organization; a rebuild leaves it alone';

create table analytics_access.logins (
    role_name text not null,
    organization_id uuid not null,
    created_at timestamptz not null default now(),
    constraint logins_pkey primary key (role_name)
);
comment on table analytics_access.logins is 'Read-only logins of analysts. Class: access';
comment on column analytics_access.logins.role_name is 'The role of the server that signs in. Class: access';
comment on column analytics_access.logins.organization_id is 'The clinic that it sees. Class: organization';
comment on column analytics_access.logins.created_at is 'When it was made. Class: time';
alter table analytics_access.logins enable row level security;
alter table analytics_access.logins force row level security;
create policy own_login on analytics_access.logins for select using (role_name = session_user);

-- An analyst's login is bound by its role, which nobody can change who has signed in; the setting counts for those
-- alone who may take the role that answers requests. The name of a login means nothing.
create function public.analytics_organization() returns uuid
language sql stable security definer set search_path = pg_catalog as $$
    select case
        when pg_has_role(session_user, 'carelog_app', 'member') then public.carelog_organization()
        else (select organization_id from analytics_access.logins where role_name = session_user)
    end
$$;
comment on function public.analytics_organization is 'The organization whose figures this session may see';

set local search_path to analytics, public;

-- Owned by the projection analytics. A rebuild runs the parts below in a schema of its own. Nothing here can name a
-- person: the classes at the end of the comments are all that there are, and a test holds every column to its class.

-- tables

do $$ begin
    execute format('grant usage on schema %I to carelog_system', current_schema());
end $$;

create table analytics_organizations (
    organization_id uuid not null,
    pseudonym_epoch integer not null,
    small_cell_threshold integer not null,
    newest_event_at timestamptz not null,
    last_position bigint not null,
    constraint analytics_organizations_pkey primary key (organization_id)
) with (fillfactor = 80);
comment on table analytics_organizations is 'Clinics, and how their rows are made';
comment on column analytics_organizations.organization_id is 'The clinic. Class: organization';
comment on column analytics_organizations.pseudonym_epoch is 'Which of the keys of the clinic its pseudonyms are made with, from 1. Class: number';
comment on column analytics_organizations.small_cell_threshold is 'Groups of fewer patients than this are not published; patients. Class: number';
comment on column analytics_organizations.newest_event_at is 'When the newest event that was applied was written to the log, microseconds. Class: time';
comment on column analytics_organizations.last_position is 'Place in the lane of the newest event that touched the row. Class: place';

create table erased_patients (
    organization_id uuid not null,
    tombstone uuid not null,
    position bigint not null,
    constraint erased_patients_pkey primary key (organization_id, tombstone)
);
comment on table erased_patients is 'Patients of whom nothing is kept, so that what comes later about them is dropped';
comment on column erased_patients.organization_id is 'The clinic. Class: organization';
comment on column erased_patients.tombstone is 'Stands for the patient here and in no other table. Class: pseudonym';
comment on column erased_patients.position is 'Place in the lane of the event that made the row. Class: place';

create table patient_facts (
    organization_id uuid not null,
    position bigint not null,
    patient uuid not null,
    age_band text not null,
    constraint patient_facts_pkey primary key (organization_id, position),
    constraint patient_facts_age_band check (age_band in ('0-17', '18-29', '30-39', '40-49', '50-59', '60-69', '70-79', '80-89', '90+', 'unknown')),
    constraint patient_facts_patient unique (organization_id, patient)
);
comment on table patient_facts is 'Patients';
comment on column patient_facts.organization_id is 'The clinic. Class: organization';
comment on column patient_facts.position is 'Place in the lane of the event that made the row. Class: place';
comment on column patient_facts.patient is 'The patient. Class: pseudonym';
comment on column patient_facts.age_band is 'Age in the year in which the patient was registered, years. Class: code';

create table appointment_facts (
    organization_id uuid not null,
    position bigint not null,
    last_position bigint not null,
    appointment uuid not null,
    patient uuid not null,
    specialist uuid,
    mode text not null,
    origin text not null,
    status text not null,
    status_path text[] not null,
    precision text not null,
    booked_at timestamptz not null,
    starts_at timestamptz not null,
    starts_on date not null,
    weekday smallint not null,
    start_hour smallint,
    lead_days integer not null,
    planned_minutes integer,
    reschedule_count integer not null,
    is_confirmed boolean not null,
    is_reminded boolean not null,
    punctuality_minutes integer,
    length_minutes integer,
    cancelled_by text,
    cancel_notice_hours integer,
    constraint appointment_facts_pkey primary key (organization_id, position),
    constraint appointment_facts_mode check (mode in ('in_person', 'video', 'phone')),
    constraint appointment_facts_origin check (origin in ('live', 'imported', 'imported_notify')),
    constraint appointment_facts_status check (status in ('booked', 'confirmed', 'onboarded', 'started', 'completed', 'cancelled', 'no_show')),
    constraint appointment_facts_status_path check (status_path <@ array['booked', 'confirmed', 'onboarded', 'started', 'completed', 'cancelled', 'no_show']),
    constraint appointment_facts_precision check (precision in ('minute', 'day')),
    constraint appointment_facts_cancelled_by check (cancelled_by in ('patient', 'clinic', 'system')),
    constraint appointment_facts_appointment unique (organization_id, appointment),
    constraint appointment_facts_weekday check (weekday between 1 and 7),
    constraint appointment_facts_hour check (start_hour between 0 and 23)
) with (fillfactor = 80);
comment on table appointment_facts is 'Appointments, one row each. Days, weekdays and hours are those of UTC, except where only the day of an appointment is known: then they are those of the clinic.';
comment on column appointment_facts.organization_id is 'The clinic. Class: organization';
comment on column appointment_facts.position is 'Place in the lane of the event that made the row. Class: place';
comment on column appointment_facts.last_position is 'Place in the lane of the newest event that touched the row. Class: place';
comment on column appointment_facts.appointment is 'The appointment. Class: pseudonym';
comment on column appointment_facts.patient is 'The patient. Class: pseudonym';
comment on column appointment_facts.specialist is 'The specialist; null while it is not known who. Class: pseudonym';
comment on column appointment_facts.mode is 'How they meet. Class: code';
comment on column appointment_facts.origin is 'Whether the appointment was made here or brought in with a history. Class: code';
comment on column appointment_facts.status is 'Where it stands. Class: code';
comment on column appointment_facts.status_path is 'The states that it went through, in order; the first sixteen. Class: code';
comment on column appointment_facts.precision is 'How exactly the beginning is known. Class: code';
comment on column appointment_facts.booked_at is 'When it was made, cut to 5 minutes. Class: time';
comment on column appointment_facts.starts_at is 'When it is to begin, cut to 5 minutes; its first moment where only the day is known. Class: time';
comment on column appointment_facts.starts_on is 'The day on which it is to begin. Class: time';
comment on column appointment_facts.weekday is 'The weekday of that day, 1 (Monday) to 7. Class: number';
comment on column appointment_facts.start_hour is 'The hour in which it is to begin, 0 to 23; null where only the day is known. Class: number';
comment on column appointment_facts.lead_days is 'From booking to beginning: whole days, or calendar days where only the day is known; days. Class: number';
comment on column appointment_facts.planned_minutes is 'How long it is to take, minutes. Class: number';
comment on column appointment_facts.reschedule_count is 'How often it moved. Class: number';
comment on column appointment_facts.is_confirmed is 'Whether somebody confirmed it, other than by a reminder. Class: flag';
comment on column appointment_facts.is_reminded is 'Whether a reminder went out. Class: flag';
comment on column appointment_facts.punctuality_minutes is 'From the planned to the real beginning, cut to 5 minutes; less than 0 where it began early; null where it did not begin or only the day is known; minutes. Class: number';
comment on column appointment_facts.length_minutes is 'How long the consultation took, cut to 5 minutes; null where that was not told; minutes. Class: number';
comment on column appointment_facts.cancelled_by is 'Who called it off. Class: code';
comment on column appointment_facts.cancel_notice_hours is 'From the cancellation to the planned beginning, whole hours; less than 0 after it; hours. Class: number';

create table exercise_assignment_facts (
    organization_id uuid not null,
    position bigint not null,
    last_position bigint not null,
    assignment uuid not null,
    plan uuid not null,
    patient uuid not null,
    exercise_id uuid not null,
    week smallint not null,
    assigned_sessions smallint not null,
    completed_sessions smallint not null,
    skipped_sessions smallint not null,
    constraint exercise_assignment_facts_pkey primary key (organization_id, position),
    constraint exercise_assignment_facts_assignment unique (organization_id, assignment),
    constraint exercise_assignment_facts_sessions check (completed_sessions + skipped_sessions <= assigned_sessions)
) with (fillfactor = 80);
comment on table exercise_assignment_facts is 'Exercises of the weeks of treatment plans';
comment on column exercise_assignment_facts.organization_id is 'The clinic. Class: organization';
comment on column exercise_assignment_facts.position is 'Place in the lane of the event that made the row. Class: place';
comment on column exercise_assignment_facts.last_position is 'Place in the lane of the newest event that touched the row. Class: place';
comment on column exercise_assignment_facts.assignment is 'The exercise in its week of its plan. Class: pseudonym';
comment on column exercise_assignment_facts.plan is 'The treatment plan. Class: pseudonym';
comment on column exercise_assignment_facts.patient is 'The patient. Class: pseudonym';
comment on column exercise_assignment_facts.exercise_id is 'The exercise of the catalogue of the clinic. Class: catalogue';
comment on column exercise_assignment_facts.week is 'The week of the plan, from 1. Class: number';
comment on column exercise_assignment_facts.assigned_sessions is 'How often it is to be done in that week, sessions. Class: number';
comment on column exercise_assignment_facts.completed_sessions is 'How often it was done, sessions. Class: number';
comment on column exercise_assignment_facts.skipped_sessions is 'How often it was skipped, sessions. Class: number';

create table exercise_session_facts (
    organization_id uuid not null,
    position bigint not null,
    plan uuid not null,
    patient uuid not null,
    exercise_id uuid not null,
    week smallint not null,
    session smallint not null,
    outcome text not null,
    skip_reason text,
    pain smallint,
    exertion smallint,
    duration_minutes integer,
    happened_on date not null,
    constraint exercise_session_facts_pkey primary key (organization_id, position),
    constraint exercise_session_facts_outcome check (outcome in ('completed', 'skipped')),
    constraint exercise_session_facts_skip_reason check (skip_reason in ('pain', 'fatigue', 'illness', 'no_time', 'unclear', 'no_equipment', 'other')),
    constraint exercise_session_facts_skipped check ((outcome = 'skipped') = (skip_reason is not null))
);
comment on table exercise_session_facts is 'Sessions of exercises that were done or skipped';
comment on column exercise_session_facts.organization_id is 'The clinic. Class: organization';
comment on column exercise_session_facts.position is 'Place in the lane of the event that made the row. Class: place';
comment on column exercise_session_facts.plan is 'The treatment plan. Class: pseudonym';
comment on column exercise_session_facts.patient is 'The patient. Class: pseudonym';
comment on column exercise_session_facts.exercise_id is 'The exercise of the catalogue of the clinic. Class: catalogue';
comment on column exercise_session_facts.week is 'The week of the plan that it was assigned to, from 1. Class: number';
comment on column exercise_session_facts.session is 'Which session of the exercise in that week, from 1. Class: number';
comment on column exercise_session_facts.outcome is 'Whether it was done. Class: code';
comment on column exercise_session_facts.skip_reason is 'Why it was skipped. Class: code';
comment on column exercise_session_facts.pain is 'Pain, 0 to 10; null where that was not told. Class: number';
comment on column exercise_session_facts.exertion is 'Exertion, 0 to 10; null where that was not told. Class: number';
comment on column exercise_session_facts.duration_minutes is 'How long it took, cut to 5 minutes; minutes. Class: number';
comment on column exercise_session_facts.happened_on is 'The day on which it was done or skipped, in UTC. Class: time';

create table form_facts (
    organization_id uuid not null,
    position bigint not null,
    last_position bigint not null,
    form uuid not null,
    patient uuid not null,
    template_id uuid not null,
    template_version integer not null,
    status text not null,
    assigned_at timestamptz not null,
    due_at timestamptz,
    save_count integer not null,
    turnaround_hours integer,
    is_late boolean,
    constraint form_facts_pkey primary key (organization_id, position),
    constraint form_facts_status check (status in ('assigned', 'saved', 'signed', 'voided')),
    constraint form_facts_form unique (organization_id, form)
) with (fillfactor = 80);
comment on table form_facts is 'Forms, from the assignment to the signature';
comment on column form_facts.organization_id is 'The clinic. Class: organization';
comment on column form_facts.position is 'Place in the lane of the event that made the row. Class: place';
comment on column form_facts.last_position is 'Place in the lane of the newest event that touched the row. Class: place';
comment on column form_facts.form is 'The form. Class: pseudonym';
comment on column form_facts.patient is 'The patient. Class: pseudonym';
comment on column form_facts.template_id is 'The template that it was made from. Class: catalogue';
comment on column form_facts.template_version is 'The version of the template. Class: number';
comment on column form_facts.status is 'How far it has come. Class: code';
comment on column form_facts.assigned_at is 'When it was assigned, cut to 5 minutes. Class: time';
comment on column form_facts.due_at is 'Until when it is to be filled in, cut to 5 minutes. Class: time';
comment on column form_facts.save_count is 'How often answers were kept. Class: number';
comment on column form_facts.turnaround_hours is 'From the assignment to the signature, whole hours; null while it is not signed; hours. Class: number';
comment on column form_facts.is_late is 'Whether it was signed after it was due; null where it is not signed or was never due. Class: flag';

create table video_session_facts (
    organization_id uuid not null,
    position bigint not null,
    last_position bigint not null,
    session uuid not null,
    appointment uuid not null,
    patient uuid not null,
    participant uuid,
    participant_kind text,
    joined_at timestamptz not null,
    length_minutes integer,
    constraint video_session_facts_pkey primary key (organization_id, position),
    constraint video_session_facts_session unique (organization_id, session),
    constraint video_session_facts_participant_kind check (participant_kind in ('patient', 'specialist', 'guest')),
    constraint video_session_facts_known check ((participant is null) = (participant_kind is null))
) with (fillfactor = 80);
comment on table video_session_facts is 'Stays in video rooms, one row each. Whoever comes back after a lost connection that was not resumed has another stay.';
comment on column video_session_facts.organization_id is 'The clinic. Class: organization';
comment on column video_session_facts.position is 'Place in the lane of the event that made the row. Class: place';
comment on column video_session_facts.last_position is 'Place in the lane of the newest event that touched the row. Class: place';
comment on column video_session_facts.session is 'The stay. Class: pseudonym';
comment on column video_session_facts.appointment is 'The appointment that the room is for. Class: pseudonym';
comment on column video_session_facts.patient is 'The patient whose appointment it is. Class: pseudonym';
comment on column video_session_facts.participant is 'Who stayed; null where nobody was given the link. Class: pseudonym';
comment on column video_session_facts.participant_kind is 'In what part they took part; null where nobody was given the link. Class: code';
comment on column video_session_facts.joined_at is 'When they came, cut to 5 minutes. Class: time';
comment on column video_session_facts.length_minutes is 'How long they stayed, whole minutes, for many stays are short; null while they are there; minutes. Class: number';

create table video_quality_facts (
    organization_id uuid not null,
    position bigint not null,
    session uuid not null,
    patient uuid not null,
    sampled_at timestamptz not null,
    state text not null,
    round_trip_ms integer,
    jitter_ms integer,
    send_loss_permille smallint,
    receive_loss_permille smallint,
    sent_kbps integer,
    received_kbps integer,
    freeze_count integer,
    constraint video_quality_facts_pkey primary key (organization_id, position),
    constraint video_quality_facts_state check (state in ('good', 'warning', 'bad', 'unknown'))
);
comment on table video_quality_facts is 'How the network of a participant in a video consultation did: one sample in 15 seconds, while two talk';
comment on column video_quality_facts.organization_id is 'The clinic. Class: organization';
comment on column video_quality_facts.position is 'Place in the lane of the event that made the row. Class: place';
comment on column video_quality_facts.session is 'The stay in the room. Class: pseudonym';
comment on column video_quality_facts.patient is 'The patient whose appointment it is. Class: pseudonym';
comment on column video_quality_facts.sampled_at is 'When it was measured, cut to 5 minutes. Class: time';
comment on column video_quality_facts.state is 'How well the network did. Class: code';
comment on column video_quality_facts.round_trip_ms is 'Round trip, milliseconds. Class: number';
comment on column video_quality_facts.jitter_ms is 'Jitter, milliseconds. Class: number';
comment on column video_quality_facts.send_loss_permille is 'Of a thousand packets that were sent, so many were lost. Class: number';
comment on column video_quality_facts.receive_loss_permille is 'Of a thousand packets that were to be received, so many were lost. Class: number';
comment on column video_quality_facts.sent_kbps is 'Sent, kilobits per second. Class: number';
comment on column video_quality_facts.received_kbps is 'Received, kilobits per second. Class: number';
comment on column video_quality_facts.freeze_count is 'How often the picture stood still since the sample before; null where that was not told. Class: number';

-- What an erasure removes is found through these.
create index appointment_facts_patient on appointment_facts (organization_id, patient);
create index exercise_assignment_facts_patient on exercise_assignment_facts (organization_id, patient);
create index exercise_session_facts_patient on exercise_session_facts (organization_id, patient);
create index form_facts_patient on form_facts (organization_id, patient);
create index video_session_facts_patient on video_session_facts (organization_id, patient);
create index video_quality_facts_patient on video_quality_facts (organization_id, patient);

alter table analytics_organizations enable row level security;
alter table analytics_organizations force row level security;
create policy own_organization on analytics_organizations
    using (organization_id = (select public.analytics_organization()));
alter table erased_patients enable row level security;
alter table erased_patients force row level security;
create policy own_organization on erased_patients
    using (organization_id = (select public.analytics_organization()));
alter table patient_facts enable row level security;
alter table patient_facts force row level security;
create policy own_organization on patient_facts
    using (organization_id = (select public.analytics_organization()));
alter table appointment_facts enable row level security;
alter table appointment_facts force row level security;
create policy own_organization on appointment_facts
    using (organization_id = (select public.analytics_organization()));
alter table exercise_assignment_facts enable row level security;
alter table exercise_assignment_facts force row level security;
create policy own_organization on exercise_assignment_facts
    using (organization_id = (select public.analytics_organization()));
alter table exercise_session_facts enable row level security;
alter table exercise_session_facts force row level security;
create policy own_organization on exercise_session_facts
    using (organization_id = (select public.analytics_organization()));
alter table form_facts enable row level security;
alter table form_facts force row level security;
create policy own_organization on form_facts
    using (organization_id = (select public.analytics_organization()));
alter table video_session_facts enable row level security;
alter table video_session_facts force row level security;
create policy own_organization on video_session_facts
    using (organization_id = (select public.analytics_organization()));
alter table video_quality_facts enable row level security;
alter table video_quality_facts force row level security;
create policy own_organization on video_quality_facts
    using (organization_id = (select public.analytics_organization()));

grant select, insert, update, delete on
    analytics_organizations,
    erased_patients,
    patient_facts,
    appointment_facts,
    exercise_assignment_facts,
    exercise_session_facts,
    form_facts,
    video_session_facts,
    video_quality_facts
    to carelog_system;
