//! The rows of appointments.

use carelog_domain::appointment::{CancellationReason, CancelledBy, ConfirmationChannel, RescheduleReason};
use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrays::{Seals, Stamps, check_written, each, moment};
use crate::model::AppointmentRecord;

pub(super) async fn write_appointments(
    tables: &mut PgConnection,
    rows: &[&AppointmentRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into appointments as t (
            organization_id, appointment_id, patient_id, specialist_id, status, starts_at, ends_at,
            starts_at_precision, mode, confirmation_channel, confirmed_at, onboarded_at, started_at,
            ended_at, duration_minutes, reschedule_count, reschedule_reason, cancelled_by,
            cancellation_reason, version, lane, position, created_position, created_at, occurred_at,
            updated_at, personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
            personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[],
            $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[],
            $13::timestamptz[], $14::timestamptz[], $15::integer[], $16::integer[], $17::text[],
            $18::text[], $19::text[], $20::bigint[], $21::smallint[], $22::bigint[], $23::bigint[],
            $24::timestamptz[], $25::timestamptz[], $26::timestamptz[], $27::bytea[], $28::uuid[],
            $29::bigint[], $30::uuid[], $31::text[], $32::smallint[])
        on conflict (organization_id, appointment_id) do update
        set status = excluded.status, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
            confirmation_channel = excluded.confirmation_channel, confirmed_at = excluded.confirmed_at,
            onboarded_at = excluded.onboarded_at, started_at = excluded.started_at,
            ended_at = excluded.ended_at, duration_minutes = excluded.duration_minutes,
            reschedule_count = excluded.reschedule_count,
            reschedule_reason = excluded.reschedule_reason, cancelled_by = excluded.cancelled_by,
            cancellation_reason = excluded.cancellation_reason, version = excluded.version,
            position = excluded.position, occurred_at = excluded.occurred_at,
            updated_at = excluded.updated_at, personal = excluded.personal,
            personal_key_id = excluded.personal_key_id, personal_version = excluded.personal_version,
            personal_event_id = excluded.personal_event_id,
            personal_event_type = excluded.personal_event_type,
            personal_schema_version = excluded.personal_schema_version
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.appointment_id.uuid()),
        &each(rows, |r| r.patient_id.uuid()),
        &each(rows, |r| r.specialist_id.map(Uuid::from)) as _,
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| moment(r.starts_at)),
        &each(rows, |r| r.ends_at.map(moment)) as _,
        &each(rows, |r| r.starts_at_precision.as_str()) as _,
        &each(rows, |r| r.mode.as_str()) as _,
        &each(rows, |r| r.confirmation_channel.map(ConfirmationChannel::as_str)) as _,
        &each(rows, |r| r.confirmed_at.map(moment)) as _,
        &each(rows, |r| r.onboarded_at.map(moment)) as _,
        &each(rows, |r| r.started_at.map(moment)) as _,
        &each(rows, |r| r.ended_at.map(moment)) as _,
        &each(rows, |r| r.duration_minutes.map(i32::from)) as _,
        &each(rows, |r| i32::from(r.reschedule_count)),
        &each(rows, |r| r.reschedule_reason.map(RescheduleReason::as_str)) as _,
        &each(rows, |r| r.cancelled_by.map(CancelledBy::as_str)) as _,
        &each(rows, |r| r.cancellation_reason.map(CancellationReason::as_str)) as _,
        &stamps.version,
        &stamps.lane,
        &stamps.position,
        &stamps.created_position,
        &stamps.created_at,
        &stamps.occurred_at,
        &stamps.updated_at,
        &seals.bytes as _,
        &seals.key_id as _,
        &seals.version as _,
        &seals.event_id as _,
        &seals.event_type as _,
        &seals.schema_version as _,
    )
    .execute(tables)
    .await?;
    check_written("appointments", rows.len(), done.rows_affected())
}
