//! Specialists by id, and lists of them.

use std::collections::HashSet;

use carelog_domain::{OrganizationId, SpecialistId, StreamKind};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::cells::{Cells, QueryError, sealed, stamp};
use super::page::{Page, columns, prefer_custom_plans};
use crate::model::{RowKey, Rows, SpecialistRecord, SpecialistStatus};

/// Selects rows; the tail says which.
macro_rules! select_specialists {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, specialist_id, status, profession, deactivation_reason, deactivated_at, \
             version, lane, position, created_position, created_at, occurred_at, updated_at, personal, \
             personal_key_id, personal_version, personal_event_id, personal_event_type, \
             personal_schema_version from specialists "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "specialists", row: row.specialist_id };
            records.push(SpecialistRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    specialist_id: SpecialistId::new(row.specialist_id),
                    status: cells.name("status", &row.status)?,
                    profession: cells.name("profession", &row.profession)?,
                    deactivation_reason: cells.optional_name("deactivation_reason", row.deactivation_reason.as_deref())?,
                    deactivated_at: cells.optional_moment("deactivated_at", row.deactivated_at)?,
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, Specialist, row.specialist_id, None),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_specialists<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<RowKey>,
) -> BoxFuture<'a, Result<Rows<RowKey, SpecialistRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let (organizations, ids) = columns(keys);
        let rows = select_specialists!(
            tables,
            "where (organization_id, specialist_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.specialist_id.uuid())))
    })
}

/// One specialist.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_specialist(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    specialist_id: SpecialistId,
) -> BoxFuture<'_, Result<Option<SpecialistRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_specialists!(
            connection,
            "where organization_id = $1 and specialist_id = $2",
            organization_id.uuid(),
            specialist_id.uuid()
        );
        Ok(rows.into_iter().next())
    })
}

/// Specialists of an organization, the newest first.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_specialists(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    status: Option<SpecialistStatus>,
    page: Page,
) -> BoxFuture<'_, Result<Vec<SpecialistRecord>, QueryError>> {
    Box::pin(async move {
        prefer_custom_plans(connection).await?;
        Ok(select_specialists!(
            connection,
            "where organization_id = $1
           and created_position < $2
           and ($4::text is null or status = $4)
         order by created_position desc
         limit $3",
            organization_id.uuid(),
            page.before(),
            page.limit(),
            status.map(SpecialistStatus::as_str) as _
        ))
    })
}
