-- The use of the time set aside, by month, beside the month before; what is withheld is left out.
with months as (
    select
        to_date(value, 'YYYY-MM') as month,
        patients,
        bookable_minutes,
        delivered_minutes,
        utilisation
    from {{ source('published', 'clinic_utilisation') }}
    where dimension = 'month' and not is_suppressed
)

select
    m.month,
    m.patients,
    m.bookable_minutes,
    m.delivered_minutes,
    m.utilisation,
    m.utilisation - b.utilisation as utilisation_change
from months m
left join months b on b.month = m.month - interval '1 month'
