//! The rows of appointments.

use std::collections::HashSet;

use carelog_domain::OrganizationId;
use carelog_domain::appointment::CancelledBy;
use carelog_event_log::runtime::ApplyError;
use carelog_vault::Pseudonym;
use sqlx::PgConnection;

use super::arrays::{Cells, check_written, columns, each, moment};
use crate::model::{AppointmentFact, Key, Rows};

pub(super) async fn load(
    tables: &mut PgConnection,
    keys: &HashSet<Key>,
) -> Result<Rows<AppointmentFact>, ApplyError> {
    if keys.is_empty() {
        return Ok(Rows::default());
    }
    let (organizations, pseudonyms) = columns(keys);
    let rows = sqlx::query!(
        "
        select organization_id, position, last_position, appointment, patient, specialist,
            mode, origin, status, status_path, precision, booked_at, starts_at, starts_on,
            weekday, start_hour, lead_days, planned_minutes, reschedule_count, is_confirmed,
            is_reminded, punctuality_minutes, length_minutes, cancelled_by,
            cancel_notice_hours
        from appointment_facts
        where (organization_id, appointment) in (select * from unnest($1::uuid[], $2::uuid[]))
        ",
        &organizations,
        &pseudonyms
    )
    .fetch_all(tables)
    .await?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in rows {
        let cells = Cells { table: "appointment_facts", position: row.position };
        let fact = AppointmentFact {
            organization_id: OrganizationId::new(row.organization_id),
            position: row.position,
            last_position: row.last_position,
            appointment: Pseudonym::stored(row.appointment),
            patient: Pseudonym::stored(row.patient),
            specialist: row.specialist.map(Pseudonym::stored),
            mode: cells.name("mode", &row.mode)?,
            origin: cells.name("origin", &row.origin)?,
            status: cells.name("status", &row.status)?,
            status_path: row
                .status_path
                .iter()
                .map(|name| cells.name("status_path", name))
                .collect::<Result<_, _>>()?,
            precision: cells.name("precision", &row.precision)?,
            booked_at: cells.coarse("booked_at", row.booked_at)?,
            starts_at: cells.coarse("starts_at", row.starts_at)?,
            starts_on: row.starts_on,
            weekday: cells.number("weekday", row.weekday)?,
            start_hour: row.start_hour.map(|hour| cells.number("start_hour", hour)).transpose()?,
            lead_days: row.lead_days,
            planned_minutes: row.planned_minutes,
            reschedule_count: row.reschedule_count,
            is_confirmed: row.is_confirmed,
            is_reminded: row.is_reminded,
            punctuality_minutes: row.punctuality_minutes,
            length_minutes: row.length_minutes,
            cancelled_by: row.cancelled_by.map(|name| cells.name("cancelled_by", &name)).transpose()?,
            cancel_notice_hours: row.cancel_notice_hours,
        };
        loaded.push(((fact.organization_id, fact.appointment), fact));
    }
    Ok(Rows::loaded(loaded))
}

pub(super) async fn write(tables: &mut PgConnection, rows: &[&AppointmentFact]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "
        insert into appointment_facts as t (
            organization_id, position, last_position, appointment, patient, specialist, mode, origin,
            status, status_path, precision, booked_at, starts_at, starts_on, weekday, start_hour,
            lead_days, planned_minutes, reschedule_count, is_confirmed, is_reminded,
            punctuality_minutes, length_minutes, cancelled_by, cancel_notice_hours)
        select
            organization_id, position, last_position, appointment, patient, specialist, mode, origin, status,
            string_to_array(status_path, ' '), precision, booked_at, starts_at, starts_on, weekday, start_hour,
            lead_days, planned_minutes, reschedule_count, is_confirmed, is_reminded, punctuality_minutes,
            length_minutes, cancelled_by, cancel_notice_hours
        from unnest(
            $1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[],
            $14::date[], $15::smallint[], $16::smallint[], $17::integer[], $18::integer[],
            $19::integer[], $20::boolean[], $21::boolean[], $22::integer[], $23::integer[],
            $24::text[], $25::integer[])
            as n (organization_id, position, last_position, appointment, patient, specialist, mode, origin, status,
            status_path, precision, booked_at, starts_at, starts_on, weekday, start_hour, lead_days, planned_minutes,
            reschedule_count, is_confirmed, is_reminded, punctuality_minutes, length_minutes, cancelled_by, cancel_notice_hours)
        on conflict (organization_id, position) do update
        set
            last_position = excluded.last_position, status = excluded.status,
            status_path = excluded.status_path, precision = excluded.precision,
            starts_at = excluded.starts_at, starts_on = excluded.starts_on, weekday = excluded.weekday,
            start_hour = excluded.start_hour, lead_days = excluded.lead_days,
            planned_minutes = excluded.planned_minutes, reschedule_count = excluded.reschedule_count,
            is_confirmed = excluded.is_confirmed, is_reminded = excluded.is_reminded,
            punctuality_minutes = excluded.punctuality_minutes,
            length_minutes = excluded.length_minutes, cancelled_by = excluded.cancelled_by,
            cancel_notice_hours = excluded.cancel_notice_hours
        where t.last_position < excluded.last_position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.last_position),
        &each(rows, |r| r.appointment.uuid()),
        &each(rows, |r| r.patient.uuid()),
        &each(rows, |r| r.specialist.map(Pseudonym::uuid)) as _,
        &each(rows, |r| r.mode.as_str()) as _,
        &each(rows, |r| r.origin.as_str()) as _,
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| path(r)) as _,
        &each(rows, |r| r.precision.as_str()) as _,
        &each(rows, |r| moment(r.booked_at)),
        &each(rows, |r| moment(r.starts_at)),
        &each(rows, |r| r.starts_on),
        &each(rows, |r| i16::from(r.weekday)),
        &each(rows, |r| r.start_hour.map(i16::from)) as _,
        &each(rows, |r| r.lead_days),
        &each(rows, |r| r.planned_minutes) as _,
        &each(rows, |r| r.reschedule_count),
        &each(rows, |r| r.is_confirmed),
        &each(rows, |r| r.is_reminded),
        &each(rows, |r| r.punctuality_minutes) as _,
        &each(rows, |r| r.length_minutes) as _,
        &each(rows, |r| r.cancelled_by.map(CancelledBy::as_str)) as _,
        &each(rows, |r| r.cancel_notice_hours) as _,
    )
    .execute(tables)
    .await?;
    check_written("appointment_facts", rows.len(), done.rows_affected())
}

/// Arrays of arrays cannot be taken apart row by row, so the path travels as one text.
fn path(fact: &AppointmentFact) -> String {
    let names: Vec<&str> = fact.status_path.iter().map(|status| status.as_str()).collect();
    names.join(" ")
}
