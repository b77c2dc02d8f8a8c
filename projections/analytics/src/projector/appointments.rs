//! The rows of appointments.

use carelog_domain::OrganizationId;
use carelog_domain::appointment::CancelledBy;
use carelog_event_log::runtime::ApplyError;
use carelog_vault::Pseudonym;
use sqlx::PgConnection;

use super::arrays::{Cells, check_written, columns, each, moment};
use crate::model::{AppointmentFact, Changes, Key, Rows};

pub(super) async fn load(
    tables: &mut PgConnection,
    keys: &[Key],
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

pub(super) async fn write(
    tables: &mut PgConnection,
    rows: &Changes<'_, AppointmentFact>,
) -> Result<(), ApplyError> {
    insert(tables, &rows.made).await?;
    update(tables, &rows.changed).await
}

async fn insert(tables: &mut PgConnection, rows: &[&AppointmentFact]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into appointment_facts (
            organization_id, position, last_position, appointment, patient, specialist, mode, origin, status,
            status_path, precision, booked_at, starts_at, starts_on, weekday, start_hour, lead_days,
            planned_minutes, reschedule_count, is_confirmed, is_reminded, punctuality_minutes, length_minutes,
            cancelled_by, cancel_notice_hours)
        select
            unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::uuid[]),
            unnest($5::uuid[]), unnest($6::uuid[]), unnest($7::text[]), unnest($8::text[]), unnest($9::text[]),
            string_to_array(unnest($10::text[]), ' '), unnest($11::text[]), unnest($12::timestamptz[]),
            unnest($13::timestamptz[]), unnest($14::date[]), unnest($15::smallint[]), unnest($16::smallint[]),
            unnest($17::integer[]), unnest($18::integer[]), unnest($19::integer[]), unnest($20::boolean[]),
            unnest($21::boolean[]), unnest($22::integer[]), unnest($23::integer[]), unnest($24::text[]),
            unnest($25::integer[])
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
    Ok(())
}

async fn update(tables: &mut PgConnection, rows: &[&AppointmentFact]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "
        update appointment_facts t
        set
            last_position = n.last_position, status = n.status, status_path = n.status_path,
            precision = n.precision, starts_at = n.starts_at, starts_on = n.starts_on, weekday = n.weekday,
            start_hour = n.start_hour, lead_days = n.lead_days, planned_minutes = n.planned_minutes,
            reschedule_count = n.reschedule_count, is_confirmed = n.is_confirmed, is_reminded = n.is_reminded,
            punctuality_minutes = n.punctuality_minutes, length_minutes = n.length_minutes,
            cancelled_by = n.cancelled_by, cancel_notice_hours = n.cancel_notice_hours
        from (
            select
                unnest($1::uuid[]) as organization_id, unnest($2::bigint[]) as position,
                unnest($3::bigint[]) as last_position, unnest($4::text[]) as status,
                string_to_array(unnest($5::text[]), ' ') as status_path, unnest($6::text[]) as precision,
                unnest($7::timestamptz[]) as starts_at, unnest($8::date[]) as starts_on,
                unnest($9::smallint[]) as weekday, unnest($10::smallint[]) as start_hour,
                unnest($11::integer[]) as lead_days, unnest($12::integer[]) as planned_minutes,
                unnest($13::integer[]) as reschedule_count, unnest($14::boolean[]) as is_confirmed,
                unnest($15::boolean[]) as is_reminded, unnest($16::integer[]) as punctuality_minutes,
                unnest($17::integer[]) as length_minutes, unnest($18::text[]) as cancelled_by,
                unnest($19::integer[]) as cancel_notice_hours
        ) n
        where t.organization_id = n.organization_id and t.position = n.position
            and t.last_position < n.last_position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.last_position),
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| path(r)) as _,
        &each(rows, |r| r.precision.as_str()) as _,
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
