//! The staff of a clinic.

use std::collections::HashSet;

use carelog_domain::{MemberId, OrganizationId, StreamKind};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::cells::{Cells, QueryError, sealed, stamp};
use super::page::{Page, columns, prefer_custom_plans};
use crate::model::{MemberRecord, MemberStatus, RowKey, Rows};

/// Selects rows; the tail says which.
macro_rules! select_members {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, member_id, status, role, removed_at, version, lane, position, \
             created_position, created_at, occurred_at, updated_at, personal, personal_key_id, \
             personal_version, personal_event_id, personal_event_type, personal_schema_version from organization_members "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "organization_members", row: row.member_id };
            records.push(MemberRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    member_id: MemberId::new(row.member_id),
                    status: cells.name("status", &row.status)?,
                    role: cells.name("role", &row.role)?,
                    removed_at: cells.optional_moment("removed_at", row.removed_at)?,
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, Organization, row.organization_id, None),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_members<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<RowKey>,
) -> BoxFuture<'a, Result<Rows<RowKey, MemberRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let (organizations, ids) = columns(keys);
        let rows = select_members!(
            tables,
            "where (organization_id, member_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.member_id.uuid())))
    })
}

/// One member of the staff.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_member(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    member_id: MemberId,
) -> BoxFuture<'_, Result<Option<MemberRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_members!(
            connection,
            "where organization_id = $1 and member_id = $2",
            organization_id.uuid(),
            member_id.uuid()
        );
        Ok(rows.into_iter().next())
    })
}

/// The staff of an organization, the newest first.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_members(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    status: Option<MemberStatus>,
    page: Page,
) -> BoxFuture<'_, Result<Vec<MemberRecord>, QueryError>> {
    Box::pin(async move {
        prefer_custom_plans(connection).await?;
        Ok(select_members!(
            connection,
            "where organization_id = $1
           and created_position < $2
           and ($4::text is null or status = $4)
         order by created_position desc
         limit $3",
            organization_id.uuid(),
            page.before(),
            page.limit(),
            status.map(MemberStatus::as_str) as _
        ))
    })
}
