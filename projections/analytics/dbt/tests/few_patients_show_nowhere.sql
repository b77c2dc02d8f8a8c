-- Cells that are shown though they are about fewer patients than the clinic's threshold. Numbers are to the nearest 5, so
-- that 11 may stand there as 10.
{% set views = ['appointment_patterns', 'clinic_utilisation', 'exercise_completion', 'exercise_streaks',
    'form_turnaround', 'video_quality', 'video_sessions'] %}
{% for view in views %}
select '{{ view }}' as view, c.dimension, c.value, c.patients, f.small_cell_threshold
from {{ source('published', view) }} c
join {{ source('published', 'freshness') }} f on f.organization_id = c.organization_id and f.view = '{{ view }}'
where not c.is_suppressed and c.patients < f.small_cell_threshold - 2
{{ 'union all' if not loop.last }}
{% endfor %}
