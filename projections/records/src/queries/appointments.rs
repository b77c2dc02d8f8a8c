//! Appointments by id, and lists of them.

use std::collections::HashSet;

use carelog_domain::appointment::AppointmentStatus;
use carelog_domain::{AppointmentId, OrganizationId, PatientId, SpecialistId, StreamKind, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::cells::{Cells, QueryError, sealed, stamp};
use super::page::{Page, columns, prefer_custom_plans};
use crate::model::{AppointmentRecord, RowKey, Rows};

/// Which appointments are wanted; everything that is given has to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppointmentFilter {
    /// How far they have come.
    pub status: Option<AppointmentStatus>,
    /// For whom.
    pub patient_id: Option<PatientId>,
    /// With whom.
    pub specialist_id: Option<SpecialistId>,
    /// Those that begin at this moment or later.
    pub starts_from: Option<Timestamp>,
    /// Those that begin before this moment.
    pub starts_before: Option<Timestamp>,
}

/// Selects rows; the tail says which.
macro_rules! select_appointments {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, appointment_id, patient_id, specialist_id, status, starts_at, ends_at, \
             starts_at_precision, mode, confirmation_channel, confirmed_at, onboarded_at, started_at, \
             ended_at, duration_minutes, reschedule_count, reschedule_reason, cancelled_by, \
             cancellation_reason, erased_at, version, lane, position, created_position, created_at, \
             occurred_at, updated_at, personal, personal_key_id, personal_version, personal_event_id, \
             personal_event_type, personal_schema_version from appointments "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "appointments", row: row.appointment_id };
            records.push(AppointmentRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    appointment_id: AppointmentId::new(row.appointment_id),
                    patient_id: PatientId::new(row.patient_id),
                    specialist_id: row.specialist_id.map(SpecialistId::new),
                    status: cells.name("status", &row.status)?,
                    starts_at: cells.moment("starts_at", row.starts_at)?,
                    ends_at: cells.optional_moment("ends_at", row.ends_at)?,
                    starts_at_precision: cells.name("starts_at_precision", &row.starts_at_precision)?,
                    mode: cells.name("mode", &row.mode)?,
                    confirmation_channel: cells.optional_name("confirmation_channel", row.confirmation_channel.as_deref())?,
                    confirmed_at: cells.optional_moment("confirmed_at", row.confirmed_at)?,
                    onboarded_at: cells.optional_moment("onboarded_at", row.onboarded_at)?,
                    started_at: cells.optional_moment("started_at", row.started_at)?,
                    ended_at: cells.optional_moment("ended_at", row.ended_at)?,
                    duration_minutes: cells.optional_count("duration_minutes", row.duration_minutes)?,
                    reschedule_count: cells.count("reschedule_count", row.reschedule_count)?,
                    reschedule_reason: cells.optional_name("reschedule_reason", row.reschedule_reason.as_deref())?,
                    cancelled_by: cells.optional_name("cancelled_by", row.cancelled_by.as_deref())?,
                    cancellation_reason: cells.optional_name("cancellation_reason", row.cancellation_reason.as_deref())?,
                    erased_at: cells.optional_moment("erased_at", row.erased_at)?,
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, Appointment, row.appointment_id, Some(PatientId::new(row.patient_id))),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_appointments<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<RowKey>,
) -> BoxFuture<'a, Result<Rows<RowKey, AppointmentRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let (organizations, ids) = columns(keys);
        let rows = select_appointments!(
            tables,
            "where (organization_id, appointment_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.appointment_id.uuid())))
    })
}

/// One appointment.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_appointment(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    appointment_id: AppointmentId,
) -> BoxFuture<'_, Result<Option<AppointmentRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_appointments!(
            connection,
            "where organization_id = $1 and appointment_id = $2",
            organization_id.uuid(),
            appointment_id.uuid()
        );
        Ok(rows.into_iter().next())
    })
}

/// Appointments of an organization, the newest booking first.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_appointments<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a AppointmentFilter,
    page: Page,
) -> BoxFuture<'a, Result<Vec<AppointmentRecord>, QueryError>> {
    Box::pin(async move {
        prefer_custom_plans(connection).await?;
        Ok(select_appointments!(
            connection,
            "where organization_id = $1
           and created_position < $2
           and ($4::text is null or status = $4)
           and ($5::uuid is null or patient_id = $5)
           and ($6::uuid is null or specialist_id = $6)
           and ($7::timestamptz is null or starts_at >= $7)
           and ($8::timestamptz is null or starts_at < $8)
         order by created_position desc
         limit $3",
            organization_id.uuid(),
            page.before(),
            page.limit(),
            filter.status.map(AppointmentStatus::as_str) as _,
            filter.patient_id.map(Uuid::from) as _,
            filter.specialist_id.map(Uuid::from) as _,
            filter.starts_from.map(OffsetDateTime::from) as _,
            filter.starts_before.map(OffsetDateTime::from) as _
        ))
    })
}
