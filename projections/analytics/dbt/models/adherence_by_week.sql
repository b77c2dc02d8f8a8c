-- What was done of the exercises of each week of the treatment plans; what is withheld is left out.
select
    value::integer as programme_week,
    patients,
    assigned_sessions,
    completed_sessions,
    skipped_sessions,
    completion_rate
from {{ source('published', 'exercise_completion') }}
where dimension = 'programme_week' and not is_suppressed
