"""Judges the published figures of appointments by the file that was imported, with DuckDB. Nothing of Carelog is used.

Takes the file and, as JSON, the facts by all that is published of them, and what is published. The facts have to be those
of the file, none withheld. Every figure that is shown has to be what the file says, rounded; be about enough patients, none of whom makes up more than four fifths; and so has everything that follows from what is
shown by subtraction, along a dimension and within a cell. Prints how much was looked at, as JSON.
"""

import hashlib
import json
import sys
import uuid

import duckdb

history, made, threshold = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3])
facts, published = made["facts"], made["published"]


def organization(clinic):
    digest = bytearray(hashlib.sha256(b"carelog.import.organization.v1\0" + clinic.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


rows = duckdb.read_csv(history, all_varchar=True)
duckdb.sql(
    """
    create table appointments as
    select Neighbourhood as clinic, PatientId as patient, SMS_received = '1' as reminded, No_show = 'Yes' as missed,
        AppointmentDay::date as held, date_diff('day', ScheduledDay::timestamp::date, AppointmentDay::date) as lead
    from rows
    where AppointmentDay::date >= ScheduledDay::timestamp::date
    """
)
duckdb.sql("create table clinics (clinic varchar, id varchar)")
clinics = duckdb.sql("select distinct clinic from appointments").fetchall()
duckdb.executemany("insert into clinics values (?, ?)", [(clinic, organization(clinic)) for (clinic,) in clinics])
duckdb.sql(
    """
    create table cells as
    with cells as (
        select *, 'clinic' as dimension, 'all' as value from appointments
        union all
        select *, 'weekday', isodow(held)::varchar from appointments
        union all
        select *, 'lead_time', case when lead = 0 then '0' when lead <= 2 then '1-2' when lead <= 6 then '3-6'
            when lead <= 13 then '7-13' when lead <= 29 then '14-29' else '30+' end from appointments
        union all
        select *, 'reminder', if(reminded, 'reminded', 'not_reminded') from appointments
    )
    select id, dimension, value, patient, count(*) as appointments, count(*) filter (not missed) as completed,
        count(*) filter (missed) as no_shows
    from cells join clinics using (clinic)
    group by all
    """
)
FACT = ["organization_id", "weekday", "lead_days", "is_reminded", "status", "appointments", "patients"]
expected = duckdb.sql(
    """
    select id, isodow(held), lead, reminded, if(missed, 'no_show', 'completed'), count(*), count(distinct patient)
    from appointments join clinics using (clinic)
    group by all
    """
).fetchall()
assert sorted(expected) == sorted(tuple(fact[name] for name in FACT) for fact in facts), "the facts are not the file's"

MEASURES = ["appointments", "completed", "no_shows"]
PARTS = ["completed", "no_shows"]
truth = {}
for organization_id, dimension, value, patient, *counts in duckdb.sql("select * from cells").fetchall():
    cell = truth.setdefault(organization_id, {}).setdefault(dimension, {}).setdefault(value, {})
    cell[patient] = dict(zip(MEASURES, counts))


def rounded(count):
    return max((count + 2) // 5 * 5, 5) if count else 0


def check(what, group):
    """A group, as how much each patient has of it, is nobody or enough."""
    group = [count for count in group.values() if count]
    assert not group or (len(group) >= threshold and max(group) * 5 <= sum(group) * 4), f"{what}: {group}"


def together(groups):
    union = {}
    for group in groups:
        for patient, count in group.items():
            union[patient] = union.get(patient, 0) + count
    return union


def of(cell, measure):
    return {patient: counts[measure] for patient, counts in cell.items()}


looked = {"facts": len(facts), "shares": 0, "clinics": 0, "cells": 0, "withheld": 0, "figures": 0, "hidden_figures": 0}
shown = {}
for row in published:
    shown.setdefault(row["organization_id"], {}).setdefault(row["dimension"], {})[row["value"]] = row
assert shown.keys() == truth.keys(), "every clinic is published, and no other"
for organization_id, dimensions in truth.items():
    looked["clinics"] += 1
    there = shown[organization_id]
    assert there.keys() == dimensions.keys()
    total = there["clinic"]["all"]
    for dimension, values in dimensions.items():
        assert there[dimension].keys() == values.keys()
        for value, cell in values.items():
            row, what = there[dimension][value], f"{organization_id} {dimension} {value}"
            looked["cells"] += 1
            looked["withheld"] += row["is_suppressed"]
            assert row["is_suppressed"] == (row["appointments"] is None), what
            for measure in MEASURES:
                if row[measure] is None:
                    looked["hidden_figures"] += 1
                    continue
                looked["figures"] += 1
                assert row[measure] == rounded(sum(of(cell, measure).values())), f"{what} {measure}"
                check(f"{what} {measure}", of(cell, measure))
            if row["is_suppressed"]:
                assert all(row[name] is None for name in MEASURES + ["patients", "no_show_rate"]), what
                continue
            assert row["patients"] == rounded(len(cell)), what
            # Nobody cancels in this file; and what became of appointments is shown whole, or not at all.
            cancelled = None if row["completed"] is None else 0
            assert row["cancelled"] == row["late_cancels"] == cancelled, what
            assert (row["no_shows"] is None) == (row["completed"] is None), what
            rest = {
                patient: counts["appointments"] - sum(counts[part] for part in PARTS if row[part] is not None)
                for patient, counts in cell.items()
            }
            check(f"{what}, less the parts that are shown", rest)
            if row["no_show_rate"] is not None:
                assert abs(row["no_show_rate"] - row["no_shows"] / (row["no_shows"] + row["completed"])) < 1e-12
        for measure in MEASURES:
            if total[measure] is not None:
                hidden = [of(cell, measure) for value, cell in values.items() if there[dimension][value][measure] is None]
                check(f"{organization_id} {dimension}, less the values whose {measure} are shown", together(hidden))
    for name, dimension, value in [("reminded", "reminder", "reminded"), ("same_day_share", "lead_time", "0")]:
        hidden = value in there[dimension] and there[dimension][value]["is_suppressed"]
        assert not hidden or total[name] is None, f"{name} repeats a cell that is hidden"
        if total[name] is not None:
            cell = dimensions[dimension].get(value, {})
            share = rounded(sum(of(cell, "appointments").values())) / (1 if name == "reminded" else total["appointments"])
            assert abs(total[name] - share) < 1e-12, f"{organization_id} {name}: {total[name]}, not {share}"
            looked["shares"] += 1
        crossed = [row for dimension, rows in there.items() if dimension != "clinic" for row in rows.values()]
        assert all(row[name] is None for row in crossed), f"{name} crosses two dimensions"
print(json.dumps(looked))
