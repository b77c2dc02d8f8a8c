create schema published;
comment on schema published is 'What analysts see: cells of figures about groups of patients, as they were at the last publication';
grant usage on schema published to carelog_app, carelog_system, carelog_analyst;

-- The cells are made from the facts in `analytics` from time to time, all of a clinic in one transaction, so that nobody
-- can tell one event by looking before and after it. Whoever may read them reaches nothing else: not the facts, and no
-- query over them whose plan would tell of rows. A rebuild of the facts leaves these tables alone. A cell is one value
-- of one dimension of one clinic. Figures that are withheld are null.

create table published.freshness (
    organization_id uuid not null,
    published_at timestamptz not null,
    small_cell_threshold integer not null,
    constraint freshness_pkey primary key (organization_id)
);
comment on table published.freshness is 'From when the figures of a clinic are';
comment on column published.freshness.organization_id is 'The clinic. Class: organization';
comment on column published.freshness.published_at is 'When the figures were made, cut to the minute. Class: time';
comment on column published.freshness.small_cell_threshold is 'Figures about fewer patients than this are not shown, patients. Class: number';

-- Nobody's to see but the publisher's.
create table published.progress (
    organization_id uuid not null,
    position bigint not null,
    published_at timestamptz not null,
    small_cell_threshold integer not null,
    constraint progress_pkey primary key (organization_id)
);
comment on table published.progress is 'Up to where in the log the figures of a clinic reach';
comment on column published.progress.organization_id is 'The clinic. Class: organization';
comment on column published.progress.position is 'Place in the lane of the newest event that they hold. Class: place';
comment on column published.progress.published_at is 'When they were made, microseconds. Class: time';
comment on column published.progress.small_cell_threshold is 'The threshold of the clinic when they were made, patients. Class: number';

create table published.appointment_patterns (
    organization_id uuid not null,
    dimension text not null,
    value text not null,
    is_suppressed boolean not null,
    patients integer,
    appointments integer,
    completed integer,
    no_shows integer,
    cancelled integer,
    late_cancels integer,
    reminded integer,
    no_show_rate double precision,
    late_cancel_rate double precision,
    same_day_share double precision,
    median_punctuality_minutes integer,
    median_length_minutes integer,
    constraint appointment_patterns_pkey primary key (organization_id, dimension, value),
    constraint appointment_patterns_dimension check (dimension = any (array['clinic', 'weekday', 'lead_time', 'reminder'])),
    constraint appointment_patterns_value check (value ~ '^(all|reminded|not_reminded|patient|specialist|guest|unknown|[0-9]{1,3}|[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}[+]|[0-9]{4}-[0-9]{2}|[0-9a-f-]{36})$'),
    constraint appointment_patterns_suppressed check (is_suppressed = (patients is null) and (not is_suppressed or num_nonnulls(appointments, completed, no_shows, cancelled, late_cancels, reminded, no_show_rate, late_cancel_rate, same_day_share, median_punctuality_minutes, median_length_minutes) = 0))
);
comment on table published.appointment_patterns is 'Appointments of a clinic by one dimension at a time: clinic (all), weekday, lead_time and reminder';
comment on column published.appointment_patterns.organization_id is 'The clinic. Class: organization';
comment on column published.appointment_patterns.dimension is 'clinic, weekday, lead_time or reminder. Class: code';
comment on column published.appointment_patterns.value is 'all; 1 (Monday) to 7; 0, 1-2, 3-6, 7-13, 14-29 or 30+ days; reminded or not_reminded. Class: code';
comment on column published.appointment_patterns.is_suppressed is 'Whether the figures are withheld, because they are about too few patients or others would follow from them. Class: flag';
comment on column published.appointment_patterns.patients is 'Distinct patients, to the nearest 5. Class: number';
comment on column published.appointment_patterns.appointments is 'Appointments, whatever became of them, to the nearest 5. Class: number';
comment on column published.appointment_patterns.completed is 'Those that took place, to the nearest 5. Class: number';
comment on column published.appointment_patterns.no_shows is 'Those to which the patient did not come, to the nearest 5. Class: number';
comment on column published.appointment_patterns.cancelled is 'Those that were called off, to the nearest 5. Class: number';
comment on column published.appointment_patterns.late_cancels is 'Those that were called off less than 24 hours before their beginning, or after it, to the nearest 5. Class: number';
comment on column published.appointment_patterns.reminded is 'Those for which a reminder went out, to the nearest 5; in the row of the whole clinic only. Class: number';
comment on column published.appointment_patterns.no_show_rate is 'no_shows by completed + no_shows, as they stand here; 0 to 1. Class: number';
comment on column published.appointment_patterns.late_cancel_rate is 'late_cancels by appointments, as they stand here; 0 to 1. Class: number';
comment on column published.appointment_patterns.same_day_share is 'Appointments with a lead of no day, by all, to the nearest 5 each; 0 to 1; in the row of the whole clinic only. Class: number';
comment on column published.appointment_patterns.median_punctuality_minutes is 'Median of the time from the planned to the real beginning, to the nearest 5 minutes. Class: number';
comment on column published.appointment_patterns.median_length_minutes is 'Median of how long the consultations took, to the nearest 5 minutes. Class: number';

create table published.clinic_utilisation (
    organization_id uuid not null,
    dimension text not null,
    value text not null,
    is_suppressed boolean not null,
    patients integer,
    bookable_minutes bigint,
    delivered_minutes bigint,
    utilisation double precision,
    constraint clinic_utilisation_pkey primary key (organization_id, dimension, value),
    constraint clinic_utilisation_dimension check (dimension = any (array['clinic', 'month'])),
    constraint clinic_utilisation_value check (value ~ '^(all|reminded|not_reminded|patient|specialist|guest|unknown|[0-9]{1,3}|[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}[+]|[0-9]{4}-[0-9]{2}|[0-9a-f-]{36})$'),
    constraint clinic_utilisation_suppressed check (is_suppressed = (patients is null) and (not is_suppressed or num_nonnulls(bookable_minutes, delivered_minutes, utilisation) = 0))
);
comment on table published.clinic_utilisation is 'How much of the time that a clinic set aside for appointments was spent in consultations, in all and by month';
comment on column published.clinic_utilisation.organization_id is 'The clinic. Class: organization';
comment on column published.clinic_utilisation.dimension is 'clinic or month. Class: code';
comment on column published.clinic_utilisation.value is 'all, or the month of the planned beginning, YYYY-MM. Class: code';
comment on column published.clinic_utilisation.is_suppressed is 'Whether the figures are withheld, because they are about too few patients or others would follow from them. Class: flag';
comment on column published.clinic_utilisation.patients is 'Distinct patients, to the nearest 5. Class: number';
comment on column published.clinic_utilisation.bookable_minutes is 'Time set aside: the planned lengths of all appointments that were made, whatever became of them, to the nearest 15 minutes. Class: number';
comment on column published.clinic_utilisation.delivered_minutes is 'Time spent in consultations that took place and had a planned length, to the nearest 15 minutes. Class: number';
comment on column published.clinic_utilisation.utilisation is 'delivered_minutes by bookable_minutes, as they stand here. Class: number';

create table published.exercise_completion (
    organization_id uuid not null,
    dimension text not null,
    value text not null,
    is_suppressed boolean not null,
    patients integer,
    assigned_sessions bigint,
    completed_sessions bigint,
    skipped_sessions bigint,
    completion_rate double precision,
    constraint exercise_completion_pkey primary key (organization_id, dimension, value),
    constraint exercise_completion_dimension check (dimension = any (array['programme_week'])),
    constraint exercise_completion_value check (value ~ '^(all|reminded|not_reminded|patient|specialist|guest|unknown|[0-9]{1,3}|[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}[+]|[0-9]{4}-[0-9]{2}|[0-9a-f-]{36})$'),
    constraint exercise_completion_suppressed check (is_suppressed = (patients is null) and (not is_suppressed or num_nonnulls(assigned_sessions, completed_sessions, skipped_sessions, completion_rate) = 0))
);
comment on table published.exercise_completion is 'Exercises of treatment plans by week of the plan';
comment on column published.exercise_completion.organization_id is 'The clinic. Class: organization';
comment on column published.exercise_completion.dimension is 'programme_week. Class: code';
comment on column published.exercise_completion.value is 'The week of the plan, from 1. Class: code';
comment on column published.exercise_completion.is_suppressed is 'Whether the figures are withheld, because they are about too few patients or others would follow from them. Class: flag';
comment on column published.exercise_completion.patients is 'Distinct patients, to the nearest 5. Class: number';
comment on column published.exercise_completion.assigned_sessions is 'Sessions that were asked for, to the nearest 5. Class: number';
comment on column published.exercise_completion.completed_sessions is 'Those that were done, to the nearest 5. Class: number';
comment on column published.exercise_completion.skipped_sessions is 'Those that were skipped, to the nearest 5. Class: number';
comment on column published.exercise_completion.completion_rate is 'completed_sessions by assigned_sessions, as they stand here; 0 to 1. Class: number';

create table published.exercise_streaks (
    organization_id uuid not null,
    dimension text not null,
    value text not null,
    is_suppressed boolean not null,
    patients integer,
    constraint exercise_streaks_pkey primary key (organization_id, dimension, value),
    constraint exercise_streaks_dimension check (dimension = any (array['longest_streak'])),
    constraint exercise_streaks_value check (value ~ '^(all|reminded|not_reminded|patient|specialist|guest|unknown|[0-9]{1,3}|[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}[+]|[0-9]{4}-[0-9]{2}|[0-9a-f-]{36})$'),
    constraint exercise_streaks_suppressed check (is_suppressed = (patients is null))
);
comment on table published.exercise_streaks is 'Patients by the most days in a row on which they did an exercise';
comment on column published.exercise_streaks.organization_id is 'The clinic. Class: organization';
comment on column published.exercise_streaks.dimension is 'longest_streak. Class: code';
comment on column published.exercise_streaks.value is '1, 2-3, 4-6 or 7+ days. Class: code';
comment on column published.exercise_streaks.is_suppressed is 'Whether the figures are withheld, because they are about too few patients or others would follow from them. Class: flag';
comment on column published.exercise_streaks.patients is 'Distinct patients, to the nearest 5. Class: number';

create table published.form_turnaround (
    organization_id uuid not null,
    dimension text not null,
    value text not null,
    is_suppressed boolean not null,
    patients integer,
    assigned integer,
    signed integer,
    late integer,
    median_turnaround_hours integer,
    constraint form_turnaround_pkey primary key (organization_id, dimension, value),
    constraint form_turnaround_dimension check (dimension = any (array['clinic', 'template'])),
    constraint form_turnaround_value check (value ~ '^(all|reminded|not_reminded|patient|specialist|guest|unknown|[0-9]{1,3}|[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}[+]|[0-9]{4}-[0-9]{2}|[0-9a-f-]{36})$'),
    constraint form_turnaround_suppressed check (is_suppressed = (patients is null) and (not is_suppressed or num_nonnulls(assigned, signed, late, median_turnaround_hours) = 0))
);
comment on table published.form_turnaround is 'How long forms take from the assignment to the signature, in all and by template';
comment on column published.form_turnaround.organization_id is 'The clinic. Class: organization';
comment on column published.form_turnaround.dimension is 'clinic or template. Class: code';
comment on column published.form_turnaround.value is 'all, or the id of the template. Class: code';
comment on column published.form_turnaround.is_suppressed is 'Whether the figures are withheld, because they are about too few patients or others would follow from them. Class: flag';
comment on column published.form_turnaround.patients is 'Distinct patients, to the nearest 5. Class: number';
comment on column published.form_turnaround.assigned is 'Forms that were assigned, to the nearest 5. Class: number';
comment on column published.form_turnaround.signed is 'Those that were signed, to the nearest 5. Class: number';
comment on column published.form_turnaround.late is 'Those that were signed after they were due, to the nearest 5. Class: number';
comment on column published.form_turnaround.median_turnaround_hours is 'Median time from the assignment to the signature, whole hours. Class: number';

create table published.video_quality (
    organization_id uuid not null,
    dimension text not null,
    value text not null,
    is_suppressed boolean not null,
    patients integer,
    samples bigint,
    good bigint,
    warning bigint,
    bad bigint,
    freezes bigint,
    good_share double precision,
    median_round_trip_ms integer,
    p95_round_trip_ms integer,
    median_loss_permille integer,
    p95_loss_permille integer,
    constraint video_quality_pkey primary key (organization_id, dimension, value),
    constraint video_quality_dimension check (dimension = any (array['clinic', 'month', 'participant'])),
    constraint video_quality_value check (value ~ '^(all|reminded|not_reminded|patient|specialist|guest|unknown|[0-9]{1,3}|[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}[+]|[0-9]{4}-[0-9]{2}|[0-9a-f-]{36})$'),
    constraint video_quality_suppressed check (is_suppressed = (patients is null) and (not is_suppressed or num_nonnulls(samples, good, warning, bad, freezes, good_share, median_round_trip_ms, p95_round_trip_ms, median_loss_permille, p95_loss_permille) = 0))
);
comment on table published.video_quality is 'How the networks of video consultations did, by samples that are taken every 15 seconds while two people talk: in all, by month and by participant';
comment on column published.video_quality.organization_id is 'The clinic. Class: organization';
comment on column published.video_quality.dimension is 'clinic, month or participant. Class: code';
comment on column published.video_quality.value is 'all; the month of the sample, YYYY-MM; or whose network it was: patient, specialist, guest, or unknown where nobody was given the link. Class: code';
comment on column published.video_quality.is_suppressed is 'Whether the figures are withheld, because they are about too few patients or others would follow from them. Class: flag';
comment on column published.video_quality.patients is 'Distinct patients, to the nearest 5. Class: number';
comment on column published.video_quality.samples is 'Samples, to the nearest 5. Class: number';
comment on column published.video_quality.good is 'Those with a round trip of at most 300 ms and a loss of at most 3 %, to the nearest 5. Class: number';
comment on column published.video_quality.warning is 'Those beyond one of these, to the nearest 5. Class: number';
comment on column published.video_quality.bad is 'Those with a round trip of more than 800 ms or a loss of more than 10 %, to the nearest 5. The rest of the samples tells neither. Class: number';
comment on column published.video_quality.freezes is 'How often the picture stood still, to the nearest 5. Class: number';
comment on column published.video_quality.good_share is 'good by samples, as they stand here; 0 to 1. Class: number';
comment on column published.video_quality.median_round_trip_ms is 'Median of the round trip, to the nearest 5 ms. Class: number';
comment on column published.video_quality.p95_round_trip_ms is 'Round trip that 95 of 100 samples do not exceed, to the nearest 5 ms; withheld where few patients lie beyond it. Class: number';
comment on column published.video_quality.median_loss_permille is 'Median of the loss, the greater of sending and receiving, of a thousand packets, to the nearest 5. Class: number';
comment on column published.video_quality.p95_loss_permille is 'Loss, the greater of sending and receiving, of a thousand packets, that 95 of 100 samples do not exceed, to the nearest 5; withheld where few patients lie beyond it. Class: number';

create table published.video_sessions (
    organization_id uuid not null,
    dimension text not null,
    value text not null,
    is_suppressed boolean not null,
    patients integer,
    stays bigint,
    reconnects bigint,
    stay_minutes bigint,
    reconnect_rate double precision,
    median_stay_minutes integer,
    constraint video_sessions_pkey primary key (organization_id, dimension, value),
    constraint video_sessions_dimension check (dimension = any (array['clinic', 'month', 'participant'])),
    constraint video_sessions_value check (value ~ '^(all|reminded|not_reminded|patient|specialist|guest|unknown|[0-9]{1,3}|[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}[+]|[0-9]{4}-[0-9]{2}|[0-9a-f-]{36})$'),
    constraint video_sessions_suppressed check (is_suppressed = (patients is null) and (not is_suppressed or num_nonnulls(stays, reconnects, stay_minutes, reconnect_rate, median_stay_minutes) = 0))
);
comment on table published.video_sessions is 'Stays in video rooms: how many, how long, and how often somebody had to come back; in all, by month and by participant';
comment on column published.video_sessions.organization_id is 'The clinic. Class: organization';
comment on column published.video_sessions.dimension is 'clinic, month or participant. Class: code';
comment on column published.video_sessions.value is 'all; the month of the coming, YYYY-MM; or who stayed: patient, specialist, guest, or unknown where nobody was given the link. Class: code';
comment on column published.video_sessions.is_suppressed is 'Whether the figures are withheld, because they are about too few patients or others would follow from them. Class: flag';
comment on column published.video_sessions.patients is 'Distinct patients, to the nearest 5. Class: number';
comment on column published.video_sessions.stays is 'Stays, to the nearest 5. Class: number';
comment on column published.video_sessions.reconnects is 'Those of somebody who had been in the room of the same appointment before, to the nearest 5. Class: number';
comment on column published.video_sessions.stay_minutes is 'How long they took together, to the nearest 60 minutes. Class: number';
comment on column published.video_sessions.reconnect_rate is 'reconnects by stays, as they stand here; 0 to 1. Class: number';
comment on column published.video_sessions.median_stay_minutes is 'Median of their lengths, to the nearest 5 minutes. Class: number';

alter table published.freshness enable row level security;
alter table published.freshness force row level security;
create policy own_organization on published.freshness
    using (organization_id = (select public.analytics_organization()));
alter table published.progress enable row level security;
alter table published.progress force row level security;
create policy own_organization on published.progress
    using (organization_id = (select public.analytics_organization()));
alter table published.appointment_patterns enable row level security;
alter table published.appointment_patterns force row level security;
create policy own_organization on published.appointment_patterns
    using (organization_id = (select public.analytics_organization()));
alter table published.clinic_utilisation enable row level security;
alter table published.clinic_utilisation force row level security;
create policy own_organization on published.clinic_utilisation
    using (organization_id = (select public.analytics_organization()));
alter table published.exercise_completion enable row level security;
alter table published.exercise_completion force row level security;
create policy own_organization on published.exercise_completion
    using (organization_id = (select public.analytics_organization()));
alter table published.exercise_streaks enable row level security;
alter table published.exercise_streaks force row level security;
create policy own_organization on published.exercise_streaks
    using (organization_id = (select public.analytics_organization()));
alter table published.form_turnaround enable row level security;
alter table published.form_turnaround force row level security;
create policy own_organization on published.form_turnaround
    using (organization_id = (select public.analytics_organization()));
alter table published.video_quality enable row level security;
alter table published.video_quality force row level security;
create policy own_organization on published.video_quality
    using (organization_id = (select public.analytics_organization()));
alter table published.video_sessions enable row level security;
alter table published.video_sessions force row level security;
create policy own_organization on published.video_sessions
    using (organization_id = (select public.analytics_organization()));

grant select, insert, update, delete on all tables in schema published to carelog_system;
grant select on
    published.freshness,
    published.appointment_patterns,
    published.clinic_utilisation,
    published.exercise_completion,
    published.exercise_streaks,
    published.form_turnaround,
    published.video_quality,
    published.video_sessions
    to carelog_app, carelog_analyst;
