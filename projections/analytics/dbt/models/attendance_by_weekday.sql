-- How many patients come, by the weekday of the appointment; what is withheld is left out.
select
    value::integer as weekday,
    patients,
    appointments,
    completed,
    no_shows,
    no_show_rate,
    median_punctuality_minutes,
    median_length_minutes
from {{ source('published', 'appointment_patterns') }}
where dimension = 'weekday' and not is_suppressed
