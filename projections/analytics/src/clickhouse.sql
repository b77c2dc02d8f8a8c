-- The facts of analytics in ClickHouse. Each table has the columns of its namesake in PostgreSQL, where their comments
-- say what they mean, except those of places in the log: answers to commands name these too, and would lead from a row
-- to a person. `fact` stands in their stead, a pseudonym of the place of the event that made the row. Whoever begins to
-- copy takes the next turn, and within a turn rows are written in the order in which they changed: what is written twice
-- stands once, under `final`, and nothing that arrives late from an earlier turn replaces it.

create table if not exists patient_facts (
    organization_id UUID,
    fact UUID comment 'Names the row. Class: pseudonym',
    turn UInt64 comment 'Which turn of the copying wrote the row, the greatest stands. Class: number',
    patient UUID,
    age_band LowCardinality(String)
) engine = ReplacingMergeTree(turn)
order by (organization_id, fact);

create table if not exists appointment_facts (
    organization_id UUID,
    fact UUID comment 'Names the row. Class: pseudonym',
    turn UInt64 comment 'Which turn of the copying wrote the row, the greatest stands. Class: number',
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
) engine = ReplacingMergeTree(turn)
order by (organization_id, fact);

create table if not exists exercise_assignment_facts (
    organization_id UUID,
    fact UUID comment 'Names the row. Class: pseudonym',
    turn UInt64 comment 'Which turn of the copying wrote the row, the greatest stands. Class: number',
    assignment UUID,
    plan UUID,
    patient UUID,
    exercise_id UUID,
    week UInt8,
    assigned_sessions UInt8,
    completed_sessions UInt8,
    skipped_sessions UInt8
) engine = ReplacingMergeTree(turn)
order by (organization_id, fact);

create table if not exists exercise_session_facts (
    organization_id UUID,
    fact UUID comment 'Names the row. Class: pseudonym',
    turn UInt64 comment 'Which turn of the copying wrote the row, the greatest stands. Class: number',
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
) engine = ReplacingMergeTree(turn)
order by (organization_id, fact);

create table if not exists form_facts (
    organization_id UUID,
    fact UUID comment 'Names the row. Class: pseudonym',
    turn UInt64 comment 'Which turn of the copying wrote the row, the greatest stands. Class: number',
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
) engine = ReplacingMergeTree(turn)
order by (organization_id, fact);

create table if not exists video_session_facts (
    organization_id UUID,
    fact UUID comment 'Names the row. Class: pseudonym',
    turn UInt64 comment 'Which turn of the copying wrote the row, the greatest stands. Class: number',
    session UUID,
    appointment UUID,
    patient UUID,
    participant Nullable(UUID),
    participant_kind LowCardinality(Nullable(String)),
    joined_at DateTime64(6, 'UTC'),
    length_minutes Nullable(Int32)
) engine = ReplacingMergeTree(turn)
order by (organization_id, fact);

create table if not exists video_quality_facts (
    organization_id UUID,
    fact UUID comment 'Names the row. Class: pseudonym',
    turn UInt64 comment 'Which turn of the copying wrote the row, the greatest stands. Class: number',
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
) engine = ReplacingMergeTree(turn)
order by (organization_id, fact);
