//! A clinic and its integrations.

use std::collections::HashSet;

use carelog_domain::organization::{IntegrationKind, OrganizationSettings};
use carelog_domain::{OrganizationId, StreamKind};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::cells::{Cells, QueryError, sealed, stamp};
use crate::model::{IntegrationKey, IntegrationRecord, OrganizationRecord, Rows};

/// Selects rows; the tail says which.
macro_rules! select_organizations {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, recording_enabled, small_cell_threshold, waiting_room_minutes, version, \
             lane, position, created_position, created_at, occurred_at, updated_at, personal, \
             personal_key_id, personal_version, personal_event_id, personal_event_type, \
             personal_schema_version from organizations "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "organizations", row: row.organization_id };
            records.push(OrganizationRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    settings: OrganizationSettings {
                recording_enabled: row.recording_enabled,
                small_cell_threshold: cells.count("small_cell_threshold", row.small_cell_threshold)?,
                waiting_room_minutes: cells.count("waiting_room_minutes", row.waiting_room_minutes)?,
            },
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, Organization, row.organization_id, None),
            });
        }
        records
    }};
}

/// Selects rows; the tail says which.
macro_rules! select_integrations {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, integration, status, removed_at, version, lane, position, created_position, \
             created_at, occurred_at, updated_at, personal, personal_key_id, personal_version, \
             personal_event_id, personal_event_type, personal_schema_version from organization_integrations "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "organization_integrations", row: row.organization_id };
            records.push(IntegrationRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    integration: cells.name("integration", &row.integration)?,
                    status: cells.name("status", &row.status)?,
                    removed_at: cells.optional_moment("removed_at", row.removed_at)?,
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, Organization, row.organization_id, None),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_organizations<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<OrganizationId>,
) -> BoxFuture<'a, Result<Rows<OrganizationId, OrganizationRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let ids: Vec<Uuid> = keys.iter().map(|key| key.uuid()).collect();
        let rows = select_organizations!(tables, "where organization_id = any($1::uuid[])", &ids);
        Ok(Rows::loaded(rows, |row| row.organization_id))
    })
}

/// The rows that a page builds upon.
pub(crate) fn load_integrations<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<IntegrationKey>,
) -> BoxFuture<'a, Result<Rows<IntegrationKey, IntegrationRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let organizations: Vec<Uuid> = keys.iter().map(|key| key.0.uuid()).collect();
        let integrations: Vec<&str> = keys.iter().map(|key| key.1.as_str()).collect();
        let rows = select_integrations!(
            tables,
            "where (organization_id, integration) in (select * from unnest($1::uuid[], $2::text[]))",
            &organizations,
            &integrations as _
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.integration)))
    })
}

/// The ids of organizations after `after`, in their order, with the moment each was registered. For the operator: it
/// looks across organizations.
///
/// # Errors
/// When the database fails.
pub fn list_organizations(
    connection: &mut PgConnection,
    after: Option<Uuid>,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<(OrganizationId, OffsetDateTime)>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            "
            select organization_id, created_at
            from organizations
            where $1::uuid is null or organization_id > $1
            order by organization_id
            limit $2
            ",
            after,
            limit
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|row| (OrganizationId::new(row.organization_id), row.created_at)).collect())
    })
}

/// A clinic.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_organization(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<Option<OrganizationRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_organizations!(connection, "where organization_id = $1", organization_id.uuid());
        Ok(rows.into_iter().next())
    })
}

/// One integration of a clinic.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_integration(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    integration: IntegrationKind,
) -> BoxFuture<'_, Result<Option<IntegrationRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_integrations!(
            connection,
            "where organization_id = $1 and integration = $2",
            organization_id.uuid(),
            integration.as_str()
        );
        Ok(rows.into_iter().next())
    })
}

/// Every integration that a clinic ever had, in the order of names.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_integrations(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<Vec<IntegrationRecord>, QueryError>> {
    Box::pin(async move {
        Ok(select_integrations!(
            connection,
            "where organization_id = $1 order by integration",
            organization_id.uuid()
        ))
    })
}
