-- How video consultations went, by month: networks and stays; what is withheld is left out.
select
    to_date(q.value, 'YYYY-MM') as month,
    q.patients,
    q.samples,
    q.good_share,
    q.median_round_trip_ms,
    q.p95_round_trip_ms,
    q.median_loss_permille,
    s.stays,
    s.reconnect_rate,
    s.median_stay_minutes
from {{ source('published', 'video_quality') }} q
left join {{ source('published', 'video_sessions') }} s
    on s.organization_id = q.organization_id and s.dimension = q.dimension and s.value = q.value
    and not s.is_suppressed
where q.dimension = 'month' and not q.is_suppressed
