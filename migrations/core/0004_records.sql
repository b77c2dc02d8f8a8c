create schema records;
comment on schema records is 'Current state of every aggregate, folded from the log for the reads of the API';
grant usage on schema records to carelog_app, carelog_system;
set local search_path to records, public;

-- Owned by the projection records. Personal values stay sealed: a row keeps the bytes and the place that they
-- were sealed for. A rebuild runs the parts below in a schema of its own.

-- tables

do $$ begin
    execute format('grant usage on schema %I to carelog_app, carelog_system', current_schema());
end $$;

create table organizations (
    organization_id uuid not null,
    recording_enabled boolean not null,
    small_cell_threshold integer not null,
    waiting_room_minutes integer not null,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint organizations_pkey primary key (organization_id),
    constraint organizations_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6))
) with (fillfactor = 80);
comment on table organizations is 'Clinics and the settings in force';
comment on column organizations.version is 'Version of the organization stream after the last event that touched the row';
comment on column organizations.position is 'Place of that event in its lane';
comment on column organizations.created_position is 'Place of the event that made the row; lists run along it';
comment on column organizations.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column organizations.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column organizations.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column organizations.personal is 'The newest personal part, sealed; the columns personal_* say for which key and place';
comment on column organizations.recording_enabled is 'Whether consultations may be recorded at all';
comment on column organizations.small_cell_threshold is 'Analytics suppress groups of fewer patients than this';
comment on column organizations.waiting_room_minutes is 'How long before an appointment its room opens, minutes';

create table organization_members (
    organization_id uuid not null,
    member_id uuid not null,
    status text not null,
    role text not null,
    removed_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint organization_members_pkey primary key (organization_id, member_id),
    constraint organization_members_status check (status in ('active', 'removed')),
    constraint organization_members_role check (role in ('admin', 'specialist', 'compliance', 'partner', 'analyst')),
    constraint organization_members_removed check ((status = 'removed') = (removed_at is not null)),
    constraint organization_members_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6))
) with (fillfactor = 80);
comment on table organization_members is 'The staff of clinics, those who left included';
comment on column organization_members.version is 'Version of the organization stream after the last event that touched the row';
comment on column organization_members.position is 'Place of that event in its lane';
comment on column organization_members.created_position is 'Place of the event that made the row; lists run along it';
comment on column organization_members.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column organization_members.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column organization_members.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column organization_members.personal is 'The newest personal part, sealed; the columns personal_* say for which key and place';
comment on column organization_members.removed_at is 'When the member left, microseconds';

create table organization_integrations (
    organization_id uuid not null,
    integration text not null,
    status text not null,
    removed_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint organization_integrations_pkey primary key (organization_id, integration),
    constraint organization_integrations_integration check (integration in ('daily', 'storage', 'telemetry')),
    constraint organization_integrations_status check (status in ('configured', 'removed')),
    constraint organization_integrations_removed check ((status = 'removed') = (removed_at is not null)),
    constraint organization_integrations_credentials check (status = 'configured' or personal is null),
    constraint organization_integrations_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6))
) with (fillfactor = 80);
comment on table organization_integrations is 'Outside services that clinics connect; the credentials of a removed one are gone';
comment on column organization_integrations.version is 'Version of the organization stream after the last event that touched the row';
comment on column organization_integrations.position is 'Place of that event in its lane';
comment on column organization_integrations.created_position is 'Place of the event that made the row; lists run along it';
comment on column organization_integrations.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column organization_integrations.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column organization_integrations.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column organization_integrations.personal is 'The newest personal part, sealed; the columns personal_* say for which key and place';
comment on column organization_integrations.removed_at is 'When it was removed, microseconds';

create table api_keys (
    organization_id uuid not null,
    api_key_id uuid not null,
    secret_sha256 bytea not null,
    role text not null,
    scopes text[] not null,
    specialist_id uuid,
    member_id uuid,
    patient_id uuid,
    expires_at timestamptz,
    revoked_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    constraint api_keys_pkey primary key (organization_id, api_key_id),
    constraint api_keys_secret check (length(secret_sha256) = 32),
    constraint api_keys_role check (role in ('admin', 'specialist', 'compliance', 'partner', 'analyst', 'patient')),
    constraint api_keys_scopes check (scopes <@ array['commands', 'reads', 'webhooks', 'trail', 'events', 'keys'])
) with (fillfactor = 80);
comment on table api_keys is 'API keys, revoked and expired ones included';
comment on column api_keys.version is 'Version of the organization stream after the last event that touched the row';
comment on column api_keys.position is 'Place of that event in its lane';
comment on column api_keys.created_position is 'Place of the event that made the row; lists run along it';
comment on column api_keys.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column api_keys.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column api_keys.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column api_keys.api_key_id is 'The public part of clk_<id>_<secret>';
comment on column api_keys.secret_sha256 is 'SHA-256 of the secret part, which has 256 random bits';
comment on column api_keys.specialist_id is 'The specialist who holds it';
comment on column api_keys.member_id is 'The member of the staff who holds it';
comment on column api_keys.patient_id is 'The patient who holds it';
comment on column api_keys.expires_at is 'When it stops working by itself, microseconds';
comment on column api_keys.revoked_at is 'When it was revoked, microseconds';

create table patients (
    organization_id uuid not null,
    patient_id uuid not null,
    status text not null,
    birth_year integer,
    onboarded_at timestamptz,
    erased_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint patients_pkey primary key (organization_id, patient_id),
    constraint patients_status check (status in ('registered', 'onboarded', 'erasing', 'erased')),
    constraint patients_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6)),
    constraint patients_erased check (erased_at is null or personal is null)
) with (fillfactor = 80);
comment on table patients is 'Patients of clinics';
comment on column patients.version is 'Version of the patient stream after the last event that touched the row';
comment on column patients.position is 'Place of that event in its lane';
comment on column patients.created_position is 'Place of the event that made the row; lists run along it';
comment on column patients.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column patients.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column patients.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column patients.personal is 'The newest personal part, sealed; the columns personal_* say for which key and place';
comment on column patients.status is 'erasing from the intent until every projection confirmed';
comment on column patients.birth_year is 'The year alone, for statistics by age';
comment on column patients.onboarded_at is 'When the patient finished joining, microseconds';
comment on column patients.erased_at is 'When the keys of the patient were destroyed, microseconds; personal values are gone since';

create table patient_consents (
    organization_id uuid not null,
    patient_id uuid not null,
    consent text not null,
    consent_version integer not null,
    given_at timestamptz not null,
    withdrawn_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    constraint patient_consents_pkey primary key (organization_id, patient_id, consent),
    constraint patient_consents_consent check (consent in ('treatment', 'recording', 'data_sharing', 'research'))
) with (fillfactor = 80);
comment on table patient_consents is 'What patients agreed to, withdrawn agreements included';
comment on column patient_consents.version is 'Version of the patient stream after the last event that touched the row';
comment on column patient_consents.position is 'Place of that event in its lane';
comment on column patient_consents.created_position is 'Place of the event that made the row; lists run along it';
comment on column patient_consents.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column patient_consents.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column patient_consents.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column patient_consents.consent_version is 'Which version of the text of the consent';
comment on column patient_consents.given_at is 'When it was given last, microseconds';
comment on column patient_consents.withdrawn_at is 'When it was taken back, microseconds; null while it is in force';

create table specialists (
    organization_id uuid not null,
    specialist_id uuid not null,
    status text not null,
    profession text not null,
    deactivation_reason text,
    deactivated_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint specialists_pkey primary key (organization_id, specialist_id),
    constraint specialists_status check (status in ('active', 'inactive')),
    constraint specialists_profession check (profession in ('physiotherapist', 'occupational_therapist', 'speech_therapist', 'physician',
                                                'psychologist', 'nurse', 'other')),
    constraint specialists_deactivation check ((status = 'inactive') = (deactivated_at is not null)
                                            and (deactivated_at is null) = (deactivation_reason is null)),
    constraint specialists_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6))
) with (fillfactor = 80);
comment on table specialists is 'Specialists of clinics, those who left included';
comment on column specialists.version is 'Version of the specialist stream after the last event that touched the row';
comment on column specialists.position is 'Place of that event in its lane';
comment on column specialists.created_position is 'Place of the event that made the row; lists run along it';
comment on column specialists.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column specialists.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column specialists.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column specialists.personal is 'The newest personal part, sealed; the columns personal_* say for which key and place';
comment on column specialists.deactivated_at is 'When the specialist stopped working here, microseconds';

create table appointments (
    organization_id uuid not null,
    appointment_id uuid not null,
    patient_id uuid not null,
    specialist_id uuid,
    status text not null,
    starts_at timestamptz not null,
    ends_at timestamptz,
    starts_at_precision text not null,
    mode text not null,
    confirmation_channel text,
    confirmed_at timestamptz,
    onboarded_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    duration_minutes integer,
    reschedule_count integer not null,
    reschedule_reason text,
    cancelled_by text,
    cancellation_reason text,
    erased_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint appointments_pkey primary key (organization_id, appointment_id),
    constraint appointments_status check (
        status in ('booked', 'confirmed', 'onboarded', 'started', 'completed', 'cancelled', 'no_show')),
    constraint appointments_precision check (starts_at_precision in ('minute', 'day')),
    constraint appointments_mode check (mode in ('video', 'in_person', 'phone')),
    constraint appointments_rescheduled check ((reschedule_count = 0) = (reschedule_reason is null)),
    constraint appointments_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6)),
    constraint appointments_erased check (erased_at is null or personal is null)
) with (fillfactor = 75);
comment on table appointments is 'Appointments as they stand now';
comment on column appointments.version is 'Version of the appointment stream after the last event that touched the row';
comment on column appointments.position is 'Place of that event in its lane';
comment on column appointments.created_position is 'Place of the event that made the row; lists run along it';
comment on column appointments.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column appointments.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column appointments.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column appointments.personal is 'The newest personal part, sealed; the columns personal_* say for which key and place';
comment on column appointments.starts_at_precision is 'day where only the day is known, given as its midnight';
comment on column appointments.confirmed_at is 'When it was confirmed at its present time, microseconds';
comment on column appointments.onboarded_at is 'When the patient checked in, microseconds';
comment on column appointments.started_at is 'When the consultation began, microseconds';
comment on column appointments.ended_at is 'When it was completed, cancelled or found to be a no-show, microseconds';
comment on column appointments.duration_minutes is 'How long the consultation took, minutes';
comment on column appointments.reschedule_count is 'How often it moved';
comment on column appointments.reschedule_reason is 'Why it moved last';
comment on column appointments.erased_at is 'When the keys of the patient were destroyed, microseconds, where the row had held a note';

create table forms (
    organization_id uuid not null,
    form_id uuid not null,
    patient_id uuid not null,
    template_id uuid not null,
    template_version integer not null,
    appointment_id uuid,
    due_at timestamptz,
    status text not null,
    answer_count integer not null,
    saved_at timestamptz,
    content_sha256 bytea,
    signed_by text,
    signed_at timestamptz,
    void_reason text,
    voided_at timestamptz,
    erased_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint forms_pkey primary key (organization_id, form_id),
    constraint forms_status check (status in ('assigned', 'saved', 'signed', 'voided')),
    constraint forms_content check (length(content_sha256) = 32),
    constraint forms_signed check (num_nulls(content_sha256, signed_by, signed_at) in (0, 3)),
    constraint forms_voided check ((status = 'voided') = (voided_at is not null) and (voided_at is null) = (void_reason is null)),
    constraint forms_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6)),
    constraint forms_erased check (erased_at is null or personal is null)
) with (fillfactor = 75);
comment on table forms is 'Forms that patients fill in';
comment on column forms.version is 'Version of the form stream after the last event that touched the row';
comment on column forms.position is 'Place of that event in its lane';
comment on column forms.created_position is 'Place of the event that made the row; lists run along it';
comment on column forms.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column forms.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column forms.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column forms.personal is 'The newest personal part, sealed; the columns personal_* say for which key and place';
comment on column forms.appointment_id is 'The appointment before which it is to be filled in';
comment on column forms.due_at is 'Until when, microseconds';
comment on column forms.answer_count is 'How many questions have an answer';
comment on column forms.saved_at is 'When answers were kept last, microseconds';
comment on column forms.content_sha256 is 'SHA-256 of the signed document';
comment on column forms.signed_at is 'When it was signed, microseconds';
comment on column forms.voided_at is 'When it stopped to count, microseconds';
comment on column forms.erased_at is 'When the keys of the patient were destroyed, microseconds, where the row had held answers';

create table files (
    organization_id uuid not null,
    file_id uuid not null,
    patient_id uuid,
    form_id uuid,
    kind text not null,
    content_type text not null,
    size_bytes bigint not null,
    content_sha256 bytea not null,
    part_bytes bigint,
    status text not null,
    upload_expires_at timestamptz not null,
    stored_at timestamptz,
    encryption text,
    failure text,
    deletion text,
    erased_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint files_pkey primary key (organization_id, file_id),
    constraint files_status check (status in ('requested', 'stored', 'failed', 'deleted')),
    constraint files_content check (length(content_sha256) = 32 and size_bytes > 0),
    constraint files_stored check ((status in ('stored', 'deleted')) = (stored_at is not null) and (stored_at is null) = (encryption is null)),
    constraint files_failed check ((status = 'failed') = (failure is not null)),
    constraint files_deleted check ((status = 'deleted') = (deletion is not null)),
    constraint files_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6)),
    constraint files_erased check (erased_at is null or personal is null)
) with (fillfactor = 75);
comment on table files is 'Files in the object storage';
comment on column files.version is 'Version of the file stream after the last event that touched the row';
comment on column files.position is 'Place of that event in its lane';
comment on column files.created_position is 'Place of the event that made the row; lists run along it';
comment on column files.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column files.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column files.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column files.personal is 'The name, sealed; the columns personal_* say for which key and place';
comment on column files.content_sha256 is 'SHA-256 of the bytes';
comment on column files.part_bytes is 'Size of each part of the upload but the last, where it has parts';
comment on column files.upload_expires_at is 'Until when the upload has to be complete, microseconds';
comment on column files.stored_at is 'When it was found to be what was announced, microseconds';
comment on column files.encryption is 'How the storage encrypts it';
comment on column files.failure is 'Why the upload came to nothing';
comment on column files.deletion is 'Why it was deleted';
comment on column files.erased_at is 'When the keys of the patient were destroyed, microseconds, where the row had held a name';

-- Erasure finds what a patient's keys had sealed through these; few rows are in them, so that a rebuild can
-- afford them from its first page.
create index appointments_sealed on appointments (organization_id, patient_id) where personal is not null;
create index forms_sealed on forms (organization_id, patient_id) where personal is not null;
create index files_sealed on files (organization_id, patient_id) where personal is not null;
-- Files outlive the keys of their patient until they are removed.
create index files_kept on files (organization_id, patient_id) where status in ('requested', 'stored');
create index patients_erased on patients (organization_id, patient_id) where erased_at is not null;

alter table organizations enable row level security;
alter table organizations force row level security;
create policy own_organization on organizations
    using (organization_id = (select public.carelog_organization()));
alter table organization_members enable row level security;
alter table organization_members force row level security;
create policy own_organization on organization_members
    using (organization_id = (select public.carelog_organization()));
alter table organization_integrations enable row level security;
alter table organization_integrations force row level security;
create policy own_organization on organization_integrations
    using (organization_id = (select public.carelog_organization()));
alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy own_organization on api_keys
    using (organization_id = (select public.carelog_organization()));
alter table patients enable row level security;
alter table patients force row level security;
create policy own_organization on patients
    using (organization_id = (select public.carelog_organization()));
alter table patient_consents enable row level security;
alter table patient_consents force row level security;
create policy own_organization on patient_consents
    using (organization_id = (select public.carelog_organization()));
alter table specialists enable row level security;
alter table specialists force row level security;
create policy own_organization on specialists
    using (organization_id = (select public.carelog_organization()));
alter table appointments enable row level security;
alter table appointments force row level security;
create policy own_organization on appointments
    using (organization_id = (select public.carelog_organization()));
alter table forms enable row level security;
alter table forms force row level security;
create policy own_organization on forms
    using (organization_id = (select public.carelog_organization()));

alter table files enable row level security;
alter table files force row level security;
create policy own_organization on files
    using (organization_id = (select public.carelog_organization()));

grant select, insert, update, delete on organizations, organization_members, organization_integrations, api_keys, patients,
    patient_consents, specialists, appointments, forms, files
    to carelog_system;
grant select on organizations, organization_members, organization_integrations, api_keys, patients,
    patient_consents, specialists, appointments, forms, files
    to carelog_app;

-- treatment plans

create table treatment_plans (
    organization_id uuid not null,
    treatment_plan_id uuid not null,
    patient_id uuid not null,
    specialist_id uuid not null,
    starts_at timestamptz not null,
    week_count integer not null,
    status text not null,
    outcome text,
    completed_at timestamptz,
    assigned_sessions integer not null,
    completed_sessions integer not null,
    skipped_sessions integer not null,
    erased_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint treatment_plans_pkey primary key (organization_id, treatment_plan_id),
    constraint treatment_plans_status check (status in ('active', 'completed')),
    constraint treatment_plans_completed check (
        (status = 'completed') = (completed_at is not null) and (completed_at is null) = (outcome is null)),
    constraint treatment_plans_sessions check (completed_sessions + skipped_sessions <= assigned_sessions),
    constraint treatment_plans_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6)),
    constraint treatment_plans_erased check (erased_at is null or personal is null)
) with (fillfactor = 75);
comment on table treatment_plans is 'Programmes of exercises';
comment on column treatment_plans.version is 'Version of the plan stream after the last event that touched the row';
comment on column treatment_plans.position is 'Place of that event in its lane';
comment on column treatment_plans.created_position is 'Place of the event that made the row; lists run along it';
comment on column treatment_plans.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column treatment_plans.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column treatment_plans.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column treatment_plans.personal is 'Title and goal, sealed; the columns personal_* say for which key and place';
comment on column treatment_plans.erased_at is 'When the keys of the patient were destroyed, microseconds, where the row had held words';
comment on column treatment_plans.assigned_sessions is 'How many sessions were asked for';
comment on column treatment_plans.completed_sessions is 'How many of them were done';
comment on column treatment_plans.skipped_sessions is 'How many of them were skipped';
comment on column treatment_plans.specialist_id is 'Who is responsible for it';
comment on column treatment_plans.starts_at is 'When its first week begins, microseconds';
comment on column treatment_plans.week_count is 'How many weeks it has';
comment on column treatment_plans.completed_at is 'When it ended, microseconds';

create table treatment_plan_exercises (
    organization_id uuid not null,
    treatment_plan_id uuid not null,
    assignment_id uuid not null,
    patient_id uuid not null,
    exercise_id uuid not null,
    week integer not null,
    sets integer not null,
    repetitions integer,
    seconds integer,
    assigned_sessions integer not null,
    completed_sessions integer not null,
    skipped_sessions integer not null,
    last_session_at timestamptz,
    last_pain integer,
    last_exertion integer,
    last_skip_reason text,
    erased_at timestamptz,
    version bigint not null,
    lane smallint not null,
    position bigint not null,
    created_position bigint not null,
    created_at timestamptz not null,
    occurred_at timestamptz not null,
    updated_at timestamptz not null,
    personal bytea,
    personal_key_id uuid,
    personal_version bigint,
    personal_event_id uuid,
    personal_event_type text,
    personal_schema_version smallint,
    constraint treatment_plan_exercises_pkey primary key (organization_id, treatment_plan_id, assignment_id),
    constraint treatment_plan_exercises_sessions check (completed_sessions + skipped_sessions <= assigned_sessions),
    constraint treatment_plan_exercises_personal check (
        num_nulls(personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
                  personal_schema_version) in (0, 6)),
    constraint treatment_plan_exercises_erased check (erased_at is null or personal is null)
) with (fillfactor = 75);
comment on table treatment_plan_exercises is 'Exercises of the weeks of treatment plans';
comment on column treatment_plan_exercises.version is 'Version of the plan stream after the last event that touched the row';
comment on column treatment_plan_exercises.position is 'Place of that event in its lane';
comment on column treatment_plan_exercises.created_position is 'Place of the event that made the row; lists run along it';
comment on column treatment_plan_exercises.created_at is 'occurred_at of the event that made the row, microseconds';
comment on column treatment_plan_exercises.occurred_at is 'occurred_at of the last event that touched the row, microseconds';
comment on column treatment_plan_exercises.updated_at is 'recorded_at of the last event that touched the row, microseconds';
comment on column treatment_plan_exercises.personal is 'How to do it, sealed; the columns personal_* say for which key and place';
comment on column treatment_plan_exercises.erased_at is 'When the keys of the patient were destroyed, microseconds, where the row had held words';
comment on column treatment_plan_exercises.assigned_sessions is 'How many sessions were asked for';
comment on column treatment_plan_exercises.completed_sessions is 'How many of them were done';
comment on column treatment_plan_exercises.skipped_sessions is 'How many of them were skipped';
comment on column treatment_plan_exercises.assignment_id is 'Its id within the plan';
comment on column treatment_plan_exercises.exercise_id is 'The exercise of the catalogue of the clinic';
comment on column treatment_plan_exercises.week is 'The week of the plan, from 1';
comment on column treatment_plan_exercises.sets is 'Sets of a session';
comment on column treatment_plan_exercises.repetitions is 'Repetitions of a set';
comment on column treatment_plan_exercises.seconds is 'How long a set or a hold lasts, seconds';
comment on column treatment_plan_exercises.last_session_at is 'When a session was done or skipped last, microseconds';
comment on column treatment_plan_exercises.last_pain is 'The pain that was told of last, 0 to 10';
comment on column treatment_plan_exercises.last_exertion is 'The exertion that was told of last, 0 to 10';
comment on column treatment_plan_exercises.last_skip_reason is 'Why a session was skipped last';

create index treatment_plans_sealed on treatment_plans (organization_id, patient_id) where personal is not null;
create index treatment_plan_exercises_sealed on treatment_plan_exercises (organization_id, patient_id) where personal is not null;

alter table treatment_plans enable row level security;
alter table treatment_plans force row level security;
create policy own_organization on treatment_plans
    using (organization_id = (select public.carelog_organization()));
alter table treatment_plan_exercises enable row level security;
alter table treatment_plan_exercises force row level security;
create policy own_organization on treatment_plan_exercises
    using (organization_id = (select public.carelog_organization()));

grant select, insert, update, delete on treatment_plans, treatment_plan_exercises to carelog_system;
grant select on treatment_plans, treatment_plan_exercises to carelog_app;

-- indexes

create index api_keys_by_id on api_keys (api_key_id);
create index organization_members_by_creation on organization_members (organization_id, created_position);
create index patients_by_creation on patients (organization_id, created_position);
create index specialists_by_creation on specialists (organization_id, created_position);
create index appointments_by_creation on appointments (organization_id, created_position);
create index appointments_by_start on appointments (organization_id, starts_at);
create index appointments_by_patient on appointments (organization_id, patient_id, created_position);
create index appointments_by_specialist on appointments (organization_id, specialist_id, created_position);
create index forms_by_creation on forms (organization_id, created_position);
create index forms_by_patient on forms (organization_id, patient_id, created_position);
create index files_by_creation on files (organization_id, created_position);
create index files_by_patient on files (organization_id, patient_id, created_position);
create index files_documents on files (organization_id, form_id) where kind = 'generated_document';
create index forms_signed on forms (updated_at, form_id) where status = 'signed';
create index patients_forgotten on patients (updated_at, patient_id) where status = 'erased';
create index files_late on files (upload_expires_at) where status = 'requested';
create index treatment_plans_by_creation on treatment_plans (organization_id, created_position);
create index treatment_plans_by_patient on treatment_plans (organization_id, patient_id, created_position);
