-- The facts of analytics in ClickHouse. Each table has the columns of its namesake in PostgreSQL, where their comments
-- say what they mean. A row is named by the place in the log of the event that made it, and the row of the newest event
-- wins: what is written twice stands once, under `final`.

create table if not exists patient_facts (
    organization_id UUID,
    position Int64,
    patient UUID,
    age_band LowCardinality(String)
) engine = ReplacingMergeTree
order by (organization_id, position);

create table if not exists appointment_facts (
    organization_id UUID,
    position Int64,
    last_position Int64,
    appointment UUID,
    patient UUID,
    specialist Nullable(UUID),
    mode LowCardinality(String),
    origin LowCardinality(String),
    status LowCardinality(String),
    status_path Array(LowCardinality(String)),
    precision LowCardinality(String),
    booked_at DateTime64(6, 'UTC'),
    starts_at DateTime64(6, 'UTC'),
    starts_on Date32,
    weekday UInt8,
    start_hour Nullable(UInt8),
    lead_days Int32,
    planned_minutes Nullable(Int32),
    reschedule_count Int32,
    is_confirmed Bool,
    is_reminded Bool,
    punctuality_minutes Nullable(Int32),
    length_minutes Nullable(Int32),
    cancelled_by LowCardinality(Nullable(String)),
    cancel_notice_hours Nullable(Int32)
) engine = ReplacingMergeTree(last_position)
order by (organization_id, position);

create table if not exists exercise_assignment_facts (
    organization_id UUID,
    position Int64,
    last_position Int64,
    assignment UUID,
    plan UUID,
    patient UUID,
    exercise_id UUID,
    week UInt8,
    assigned_sessions UInt8,
    completed_sessions UInt8,
    skipped_sessions UInt8
) engine = ReplacingMergeTree(last_position)
order by (organization_id, position);

create table if not exists exercise_session_facts (
    organization_id UUID,
    position Int64,
    plan UUID,
    patient UUID,
    exercise_id UUID,
    week UInt8,
    session UInt8,
    outcome LowCardinality(String),
    skip_reason LowCardinality(Nullable(String)),
    pain Nullable(UInt8),
    exertion Nullable(UInt8),
    duration_minutes Nullable(Int32),
    happened_on Date32
) engine = ReplacingMergeTree
order by (organization_id, position);

create table if not exists form_facts (
    organization_id UUID,
    position Int64,
    last_position Int64,
    form UUID,
    patient UUID,
    template_id UUID,
    template_version UInt16,
    status LowCardinality(String),
    assigned_at DateTime64(6, 'UTC'),
    due_at Nullable(DateTime64(6, 'UTC')),
    save_count Int32,
    turnaround_hours Nullable(Int32),
    is_late Nullable(Bool)
) engine = ReplacingMergeTree(last_position)
order by (organization_id, position);

create table if not exists video_session_facts (
    organization_id UUID,
    position Int64,
    last_position Int64,
    session UUID,
    appointment UUID,
    patient UUID,
    participant Nullable(UUID),
    participant_kind LowCardinality(Nullable(String)),
    joined_at DateTime64(6, 'UTC'),
    length_minutes Nullable(Int32)
) engine = ReplacingMergeTree(last_position)
order by (organization_id, position);

create table if not exists video_quality_facts (
    organization_id UUID,
    position Int64,
    session UUID,
    patient UUID,
    sampled_at DateTime64(6, 'UTC'),
    state LowCardinality(String),
    round_trip_ms Nullable(Int32),
    jitter_ms Nullable(Int32),
    send_loss_permille Nullable(UInt16),
    receive_loss_permille Nullable(UInt16),
    sent_kbps Nullable(Int32),
    received_kbps Nullable(Int32),
    freeze_count Nullable(UInt16)
) engine = ReplacingMergeTree
order by (organization_id, position);
