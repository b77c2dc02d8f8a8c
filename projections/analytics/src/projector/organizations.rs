//! How the rows of each organization are made, and how new they are.

use std::collections::HashMap;

use carelog_domain::OrganizationId;
use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::arrays::{Cells, check_written, each};
use crate::model::OrganizationRow;

pub(super) async fn load(
    tables: &mut PgConnection,
    ids: impl Iterator<Item = &OrganizationId>,
) -> Result<HashMap<OrganizationId, OrganizationRow>, ApplyError> {
    let rows = sqlx::query!(
        "
        select organization_id, pseudonym_epoch, small_cell_threshold, newest_event_at, last_position
        from analytics_organizations
        where organization_id = any($1)
        ",
        &ids.map(|id| id.uuid()).collect::<Vec<_>>()
    )
    .fetch_all(tables)
    .await?;
    let mut loaded = HashMap::new();
    for row in rows {
        let cells = Cells { table: "analytics_organizations", position: row.last_position };
        let organization_id = OrganizationId::new(row.organization_id);
        loaded.insert(
            organization_id,
            OrganizationRow {
                organization_id,
                pseudonym_epoch: row.pseudonym_epoch,
                small_cell_threshold: cells.number("small_cell_threshold", row.small_cell_threshold)?,
                newest_event_at: cells.exact("newest_event_at", row.newest_event_at)?,
                last_position: row.last_position,
            },
        );
    }
    Ok(loaded)
}

pub(super) async fn write(
    tables: &mut PgConnection,
    rows: &HashMap<OrganizationId, OrganizationRow>,
) -> Result<(), ApplyError> {
    let rows: Vec<&OrganizationRow> = rows.values().collect();
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "
        insert into analytics_organizations as t (
            organization_id, pseudonym_epoch, small_cell_threshold, newest_event_at, last_position)
        select * from unnest($1::uuid[], $2::integer[], $3::integer[], $4::timestamptz[], $5::bigint[])
        on conflict (organization_id) do update
        set small_cell_threshold = excluded.small_cell_threshold, newest_event_at = excluded.newest_event_at,
            last_position = excluded.last_position
        where t.last_position <= excluded.last_position
        ",
        &each(&rows, |r| r.organization_id.uuid()),
        &each(&rows, |r| r.pseudonym_epoch),
        &each(&rows, |r| i32::from(r.small_cell_threshold)),
        &each(&rows, |r| OffsetDateTime::from(r.newest_event_at)),
        &each(&rows, |r| r.last_position),
    )
    .execute(tables)
    .await?;
    check_written("analytics_organizations", rows.len(), done.rows_affected())
}
