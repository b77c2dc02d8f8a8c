//! The rows of forms.

use carelog_domain::form::{Signatory, VoidReason};
use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrays::{Seals, Stamps, check_written, each, moment};
use crate::model::FormRecord;

pub(super) async fn write_forms(tables: &mut PgConnection, rows: &[&FormRecord]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into forms as t (
            organization_id, form_id, patient_id, template_id, template_version, appointment_id, due_at,
            status, answer_count, saved_at, content_sha256, signed_by, signed_at, void_reason, voided_at,
            version, lane, position, created_position, created_at, occurred_at, updated_at, personal,
            personal_key_id, personal_version, personal_event_id, personal_event_type,
            personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::integer[], $6::uuid[], $7::timestamptz[],
            $8::text[], $9::integer[], $10::timestamptz[], $11::bytea[], $12::text[], $13::timestamptz[],
            $14::text[], $15::timestamptz[], $16::bigint[], $17::smallint[], $18::bigint[], $19::bigint[],
            $20::timestamptz[], $21::timestamptz[], $22::timestamptz[], $23::bytea[], $24::uuid[],
            $25::bigint[], $26::uuid[], $27::text[], $28::smallint[])
        on conflict (organization_id, form_id) do update
        set status = excluded.status, answer_count = excluded.answer_count,
            saved_at = excluded.saved_at, content_sha256 = excluded.content_sha256,
            signed_by = excluded.signed_by, signed_at = excluded.signed_at,
            void_reason = excluded.void_reason, voided_at = excluded.voided_at,
            version = excluded.version, position = excluded.position,
            occurred_at = excluded.occurred_at, updated_at = excluded.updated_at,
            personal = excluded.personal, personal_key_id = excluded.personal_key_id,
            personal_version = excluded.personal_version,
            personal_event_id = excluded.personal_event_id,
            personal_event_type = excluded.personal_event_type,
            personal_schema_version = excluded.personal_schema_version
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.form_id.uuid()),
        &each(rows, |r| r.patient_id.uuid()),
        &each(rows, |r| r.template_id.uuid()),
        &each(rows, |r| i32::from(r.template_version)),
        &each(rows, |r| r.appointment_id.map(Uuid::from)) as _,
        &each(rows, |r| r.due_at.map(moment)) as _,
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| i32::from(r.answer_count)),
        &each(rows, |r| r.saved_at.map(moment)) as _,
        &each(rows, |r| r.content_sha256.as_ref().map(|digest| digest.bytes().as_slice())) as _,
        &each(rows, |r| r.signed_by.map(Signatory::as_str)) as _,
        &each(rows, |r| r.signed_at.map(moment)) as _,
        &each(rows, |r| r.void_reason.map(VoidReason::as_str)) as _,
        &each(rows, |r| r.voided_at.map(moment)) as _,
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
    check_written("forms", rows.len(), done.rows_affected())
}
