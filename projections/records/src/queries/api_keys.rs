//! API keys: the one that a caller presents, and those of a clinic.

use std::collections::HashSet;

use carelog_domain::{ApiKeyId, MemberId, OrganizationId, PatientId, SpecialistId};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::cells::{Cells, QueryError, stamp};
use super::page::{Page, columns};
use crate::model::{ApiKeyRecord, RowKey, Rows};

/// Selects rows; the tail says which.
macro_rules! select_api_keys {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, api_key_id, secret_sha256, role, scopes, specialist_id, member_id, \
             patient_id, expires_at, revoked_at, version, lane, position, created_position, created_at, \
             occurred_at, updated_at from api_keys "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "api_keys", row: row.api_key_id };
            records.push(ApiKeyRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    api_key_id: ApiKeyId::new(row.api_key_id),
                    secret_sha256: cells.digest("secret_sha256", &row.secret_sha256)?,
                    role: cells.name("role", &row.role)?,
                    scopes: cells.names("scopes", &row.scopes)?,
                    specialist_id: row.specialist_id.map(SpecialistId::new),
                    member_id: row.member_id.map(MemberId::new),
                    patient_id: row.patient_id.map(PatientId::new),
                    expires_at: cells.optional_moment("expires_at", row.expires_at)?,
                    revoked_at: cells.optional_moment("revoked_at", row.revoked_at)?,
                stamp: stamp!(cells, row),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_api_keys<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<RowKey>,
) -> BoxFuture<'a, Result<Rows<RowKey, ApiKeyRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let (organizations, ids) = columns(keys);
        let rows = select_api_keys!(
            tables,
            "where (organization_id, api_key_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.api_key_id.uuid())))
    })
}

/// The key that a caller presents. It says itself which organization it belongs to, so this is asked through the
/// system's connection. Ids are random; should two clinics ever hold the same one, the older key keeps it.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn find_api_key(
    connection: &mut PgConnection,
    api_key_id: ApiKeyId,
) -> BoxFuture<'_, Result<Option<ApiKeyRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_api_keys!(
            connection,
            "where api_key_id = $1 order by created_at, organization_id limit 1",
            api_key_id.uuid()
        );
        Ok(rows.into_iter().next())
    })
}

/// The keys of an organization, the newest first, revoked and expired ones included.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_api_keys(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    page: Page,
) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, QueryError>> {
    Box::pin(async move {
        Ok(select_api_keys!(
            connection,
            "where organization_id = $1 and created_position < $2 order by created_position desc limit $3",
            organization_id.uuid(),
            page.before(),
            page.limit()
        ))
    })
}
