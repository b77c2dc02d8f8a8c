//! Files by id, lists of them, and those whose upload is late.

use std::collections::HashSet;

use carelog_domain::file::{FileKind, FileStatus};
use carelog_domain::{FileId, FormId, OrganizationId, PatientId, StreamKind, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::cells::{Cells, QueryError, sealed, stamp};
use super::page::{Page, columns, prefer_custom_plans};
use crate::model::{FileRecord, RowKey, Rows};

/// Which files are wanted; everything that is given has to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// How far they have come.
    pub status: Option<FileStatus>,
    /// What they are for.
    pub kind: Option<FileKind>,
    /// Whom they are about.
    pub patient_id: Option<PatientId>,
    /// The form that they belong to.
    pub form_id: Option<FormId>,
}

/// Selects rows; the tail says which.
macro_rules! select_files {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, file_id, patient_id, form_id, kind, content_type, size_bytes, content_sha256, \
             part_bytes, status, upload_expires_at, stored_at, encryption, failure, deletion, erased_at, \
             version, lane, position, created_position, created_at, occurred_at, updated_at, personal, \
             personal_key_id, personal_version, personal_event_id, personal_event_type, \
             personal_schema_version from files "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "files", row: row.file_id };
            let patient_id = row.patient_id.map(PatientId::new);
            records.push(FileRecord {
                organization_id: OrganizationId::new(row.organization_id),
                file_id: FileId::new(row.file_id),
                patient_id,
                form_id: row.form_id.map(FormId::new),
                kind: cells.name("kind", &row.kind)?,
                content_type: cells.name("content_type", &row.content_type)?,
                size_bytes: row.size_bytes,
                content_sha256: cells.digest("content_sha256", &row.content_sha256)?,
                part_bytes: row.part_bytes,
                status: cells.name("status", &row.status)?,
                upload_expires_at: cells.moment("upload_expires_at", row.upload_expires_at)?,
                stored_at: cells.optional_moment("stored_at", row.stored_at)?,
                encryption: cells.optional_name("encryption", row.encryption.as_deref())?,
                failure: cells.optional_name("failure", row.failure.as_deref())?,
                deletion: cells.optional_name("deletion", row.deletion.as_deref())?,
                erased_at: cells.optional_moment("erased_at", row.erased_at)?,
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, File, row.file_id, patient_id),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_files<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<RowKey>,
) -> BoxFuture<'a, Result<Rows<RowKey, FileRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let (organizations, ids) = columns(keys);
        let rows = select_files!(
            tables,
            "where (organization_id, file_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.file_id.uuid())))
    })
}

/// One file.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_file(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    file_id: FileId,
) -> BoxFuture<'_, Result<Option<FileRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_files!(
            connection,
            "where organization_id = $1 and file_id = $2",
            organization_id.uuid(),
            file_id.uuid()
        );
        Ok(rows.into_iter().next())
    })
}

/// Files of an organization, the newest first.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_files<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a FileFilter,
    page: Page,
) -> BoxFuture<'a, Result<Vec<FileRecord>, QueryError>> {
    Box::pin(async move {
        prefer_custom_plans(connection).await?;
        Ok(select_files!(
            connection,
            "where organization_id = $1
           and created_position < $2
           and ($4::text is null or status = $4)
           and ($5::text is null or kind = $5)
           and ($6::uuid is null or patient_id = $6)
           and ($7::uuid is null or form_id = $7)
         order by created_position desc
         limit $3",
            organization_id.uuid(),
            page.before(),
            page.limit(),
            filter.status.map(FileStatus::as_str) as _,
            filter.kind.map(FileKind::as_str) as _,
            filter.patient_id.map(Uuid::from) as _,
            filter.form_id.map(Uuid::from) as _
        ))
    })
}

/// Files whose upload should have been complete before a moment, of every organization, the latest last.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_late_uploads(
    connection: &mut PgConnection,
    before: Timestamp,
    limit: u16,
) -> BoxFuture<'_, Result<Vec<FileRecord>, QueryError>> {
    Box::pin(async move {
        Ok(select_files!(
            connection,
            "where status = 'requested' and upload_expires_at < $1 order by upload_expires_at limit $2",
            OffsetDateTime::from(before),
            i64::from(limit)
        ))
    })
}

/// Files that are about an erased patient and still there or awaited, of every organization.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_files_of_erased(
    connection: &mut PgConnection,
    limit: u16,
) -> BoxFuture<'_, Result<Vec<FileRecord>, QueryError>> {
    Box::pin(async move {
        Ok(select_files!(
            connection,
            "where status in ('requested', 'stored')
           and (organization_id, patient_id) in (
               select p.organization_id, p.patient_id from patients p where p.erased_at is not null)
         order by organization_id, file_id
         limit $1",
            i64::from(limit)
        ))
    })
}

/// Which of these files of an organization are there or awaited.
///
/// # Errors
/// When the database fails.
pub fn files_alive<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    ids: &'a [Uuid],
) -> BoxFuture<'a, Result<HashSet<FileId>, QueryError>> {
    Box::pin(async move {
        let rows = sqlx::query_scalar!(
            "
            select file_id
            from files
            where organization_id = $1 and file_id = any($2) and status in ('requested', 'stored')
            ",
            organization_id.uuid(),
            ids
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(FileId::new).collect())
    })
}

/// Whether any file of an organization lies in its storage, or is expected there.
///
/// # Errors
/// When the database fails.
pub fn has_files(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<bool, QueryError>> {
    Box::pin(async move {
        let found = sqlx::query_scalar!(
            r#"
            select exists (
                select from files where organization_id = $1 and status in ('requested', 'stored')) as "found!"
            "#,
            organization_id.uuid()
        )
        .fetch_one(connection)
        .await?;
        Ok(found)
    })
}

/// Every organization that ever asked for an upload.
///
/// # Errors
/// When the database fails.
pub fn organizations_with_files(
    connection: &mut PgConnection,
) -> BoxFuture<'_, Result<Vec<OrganizationId>, QueryError>> {
    Box::pin(async move {
        let rows = sqlx::query_scalar!("select distinct organization_id from files order by organization_id")
            .fetch_all(connection)
            .await?;
        Ok(rows.into_iter().map(OrganizationId::new).collect())
    })
}

/// Which of these files, given by organization and id, were stored or ended.
///
/// # Errors
/// When the database fails.
pub fn files_settled<'a>(
    connection: &'a mut PgConnection,
    files: &'a [(OrganizationId, FileId)],
) -> BoxFuture<'a, Result<HashSet<FileId>, QueryError>> {
    Box::pin(async move {
        let (organizations, ids): (Vec<_>, Vec<_>) =
            files.iter().map(|(organization_id, id)| (organization_id.uuid(), id.uuid())).unzip();
        let rows = sqlx::query_scalar!(
            "
            select file_id
            from files
            where (organization_id, file_id) in (select * from unnest($1::uuid[], $2::uuid[]))
              and status <> 'requested'
            ",
            &organizations,
            &ids
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(FileId::new).collect())
    })
}
