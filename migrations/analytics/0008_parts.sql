-- Owned by the publication of figures. Views are published each at its own time: when enough has happened in the facts
-- that they are made of.

-- Whoever migrates owns the tables, and sees all clinics.
alter table published.progress no force row level security;
alter table published.freshness no force row level security;

alter table published.progress drop constraint progress_pkey;
alter table published.progress add column view text;
insert into published.progress (organization_id, view, position, published_at, small_cell_threshold)
select organization_id, views.view, position, published_at, small_cell_threshold
from published.progress
cross join unnest(array['appointment_patterns', 'clinic_utilisation', 'exercise_completion', 'exercise_streaks', 'form_turnaround', 'video_quality', 'video_sessions']) as views (view);
delete from published.progress where view is null;
alter table published.progress
    alter column view set not null,
    add constraint progress_pkey primary key (organization_id, view),
    add constraint progress_view check (view = any (array['appointment_patterns', 'clinic_utilisation', 'exercise_completion', 'exercise_streaks', 'form_turnaround', 'video_quality', 'video_sessions']));
comment on table published.progress is 'Up to where the figures of a view reach in a clinic''s log';
comment on column published.progress.view is 'The view: the name of its table. Class: code';

alter table published.freshness drop constraint freshness_pkey;
alter table published.freshness add column view text;
insert into published.freshness (organization_id, view, published_at, small_cell_threshold, newest_event_at)
select organization_id, views.view, published_at, small_cell_threshold, newest_event_at
from published.freshness
cross join unnest(array['appointment_patterns', 'clinic_utilisation', 'exercise_completion', 'exercise_streaks', 'form_turnaround', 'video_quality', 'video_sessions']) as views (view);
delete from published.freshness where view is null;
alter table published.freshness
    alter column view set not null,
    add constraint freshness_pkey primary key (organization_id, view),
    add constraint freshness_view check (view = any (array['appointment_patterns', 'clinic_utilisation', 'exercise_completion', 'exercise_streaks', 'form_turnaround', 'video_quality', 'video_sessions']));
comment on table published.freshness is 'From when the figures of each view are';
comment on column published.freshness.view is 'The view: the name of its table. Class: code';

alter table published.progress force row level security;
alter table published.freshness force row level security;

comment on column published.clinic_utilisation.bookable_minutes is 'Time set aside: the planned lengths of appointments that began, or whose time had come when the newest event was written, without those that were cancelled a day before or earlier, to the nearest 15 minutes. Class: number';
comment on column published.clinic_utilisation.delivered_minutes is 'Time spent in consultations that took place and had a planned length, to the nearest 15 minutes; how long one took is what was told, or from its start to its end. Class: number';
