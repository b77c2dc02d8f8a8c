//! The rows of files.

use carelog_domain::file::{FileDeletion, StorageEncryption, UploadFailure};
use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrays::{Seals, Stamps, check_written, each, moment};
use crate::model::FileRecord;

pub(super) async fn write_files(tables: &mut PgConnection, rows: &[&FileRecord]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into files as t (
            organization_id, file_id, patient_id, form_id, kind, content_type, size_bytes, content_sha256,
            part_bytes, status, upload_expires_at, stored_at, encryption, failure, deletion, version, lane,
            position, created_position, created_at, occurred_at, updated_at, personal, personal_key_id,
            personal_version, personal_event_id, personal_event_type, personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[],
            $8::bytea[], $9::bigint[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::text[],
            $14::text[], $15::text[], $16::bigint[], $17::smallint[], $18::bigint[], $19::bigint[],
            $20::timestamptz[], $21::timestamptz[], $22::timestamptz[], $23::bytea[], $24::uuid[],
            $25::bigint[], $26::uuid[], $27::text[], $28::smallint[])
        on conflict (organization_id, file_id) do update
        set status = excluded.status, stored_at = excluded.stored_at, encryption = excluded.encryption,
            failure = excluded.failure, deletion = excluded.deletion, version = excluded.version,
            position = excluded.position, occurred_at = excluded.occurred_at, updated_at = excluded.updated_at
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.file_id.uuid()),
        &each(rows, |r| r.patient_id.map(Uuid::from)) as _,
        &each(rows, |r| r.form_id.map(Uuid::from)) as _,
        &each(rows, |r| r.kind.as_str()) as _,
        &each(rows, |r| r.content_type.as_str()) as _,
        &each(rows, |r| r.size_bytes),
        &each(rows, |r| r.content_sha256.bytes().as_slice()) as _,
        &each(rows, |r| r.part_bytes) as _,
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| moment(r.upload_expires_at)),
        &each(rows, |r| r.stored_at.map(moment)) as _,
        &each(rows, |r| r.encryption.map(StorageEncryption::as_str)) as _,
        &each(rows, |r| r.failure.map(UploadFailure::as_str)) as _,
        &each(rows, |r| r.deletion.map(FileDeletion::as_str)) as _,
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
    check_written("files", rows.len(), done.rows_affected())
}
