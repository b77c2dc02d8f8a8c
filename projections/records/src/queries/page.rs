//! Which part of a list is wanted.

use std::collections::HashSet;

use carelog_event_log::Position;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::RowKey;

/// Rows of one page of a list, at most.
pub const MAX_LIMIT: u16 = 500;

/// A part of a list that runs from the newest row to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only rows made before this position: the cursor of the part before.
    pub before: Option<Position>,
    /// So many rows, [`MAX_LIMIT`] at most.
    pub limit: u16,
}

impl Page {
    pub(super) fn before(self) -> Position {
        self.before.unwrap_or(Position::MAX)
    }

    pub(super) fn limit(self) -> i64 {
        i64::from(self.limit.min(MAX_LIMIT))
    }
}

/// A statement with optional filters has another best plan for each set of filters, so the plan that fits none of
/// them in particular must not be kept. Holds until the transaction ends.
pub(super) fn prefer_custom_plans(connection: &mut PgConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!("select set_config('plan_cache_mode', 'force_custom_plan', true)")
            .fetch_one(connection)
            .await?;
        Ok(())
    })
}

/// Keys, column by column.
pub(super) fn columns(keys: &HashSet<RowKey>) -> (Vec<Uuid>, Vec<Uuid>) {
    keys.iter().map(|(organization_id, id)| (organization_id.uuid(), *id)).unzip()
}
