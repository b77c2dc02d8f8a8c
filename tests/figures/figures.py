"""What the views of appointments have to show of a history, worked out by DuckDB from the file alone.

Prints, for each clinic, what each value of each dimension amounts to, as JSON. Nothing of Carelog is used.
"""

import json
import sys

import duckdb

history = duckdb.read_csv(sys.argv[1], all_varchar=True)
duckdb.sql(
    """
    create table appointments as
    select Neighbourhood as clinic, PatientId as patient, SMS_received = '1' as reminded, No_show = 'Yes' as missed,
        AppointmentDay::date as held, date_diff('day', ScheduledDay::timestamp::date, AppointmentDay::date) as lead
    from history
    where AppointmentDay::date >= ScheduledDay::timestamp::date
    """
)
duckdb.sql(
    """
    create table cells as
    select *, 'clinic' as dimension, 'all' as value from appointments
    union all
    select *, 'weekday', isodow(held)::varchar from appointments
    union all
    select *, 'lead_time', case when lead = 0 then '0' when lead <= 2 then '1-2' when lead <= 6 then '3-6'
        when lead <= 13 then '7-13' when lead <= 29 then '14-29' else '30+' end from appointments
    union all
    select *, 'reminder', if(reminded, 'reminded', 'not_reminded') from appointments
    """
)
rows = duckdb.sql(
    """
    select clinic, dimension, value, count(distinct patient), count(*), count(*) filter (not missed),
        count(*) filter (missed), count(*) filter (reminded), avg(missed::integer), avg((lead = 0)::integer)
    from cells group by all order by all
    """
).fetchall()
clinics = {}
for clinic, dimension, value, *figures in rows:
    clinics.setdefault(clinic, {})[f"{dimension} {value}"] = figures
print(json.dumps(list(clinics.values())))
