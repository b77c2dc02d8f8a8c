//! The rows of specialists.

use carelog_domain::specialist::DeactivationReason;
use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;

use super::arrays::{Seals, Stamps, check_written, each, moment};
use crate::model::SpecialistRecord;

pub(super) async fn write_specialists(
    tables: &mut PgConnection,
    rows: &[&SpecialistRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into specialists as t (
            organization_id, specialist_id, status, profession, deactivation_reason, deactivated_at,
            version, lane, position, created_position, created_at, occurred_at, updated_at, personal,
            personal_key_id, personal_version, personal_event_id, personal_event_type,
            personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[],
            $8::smallint[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::timestamptz[],
            $13::timestamptz[], $14::bytea[], $15::uuid[], $16::bigint[], $17::uuid[], $18::text[],
            $19::smallint[])
        on conflict (organization_id, specialist_id) do update
        set status = excluded.status, deactivation_reason = excluded.deactivation_reason,
            deactivated_at = excluded.deactivated_at, version = excluded.version,
            position = excluded.position, occurred_at = excluded.occurred_at,
            updated_at = excluded.updated_at, personal = excluded.personal,
            personal_key_id = excluded.personal_key_id, personal_version = excluded.personal_version,
            personal_event_id = excluded.personal_event_id,
            personal_event_type = excluded.personal_event_type,
            personal_schema_version = excluded.personal_schema_version
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.specialist_id.uuid()),
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| r.profession.as_str()) as _,
        &each(rows, |r| r.deactivation_reason.map(DeactivationReason::as_str)) as _,
        &each(rows, |r| r.deactivated_at.map(moment)) as _,
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
    check_written("specialists", rows.len(), done.rows_affected())
}
