-- Shares that are none.
select 'weekday ' || weekday as cell from {{ ref('attendance_by_weekday') }} where no_show_rate not between 0 and 1
union all
select 'week ' || programme_week from {{ ref('adherence_by_week') }} where completion_rate not between 0 and 1
union all
select 'month ' || month from {{ ref('video_by_month') }}
where good_share not between 0 and 1 or reconnect_rate not between 0 and 1
