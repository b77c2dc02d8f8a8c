//! The sealer: appends each event's leaf to its organization's tree.
//!
//! It believes nothing that is stored beside an event: leaf data and hash are made anew, and a leaf that is not the
//! one that was written with the event, or a place that is not the next one of its organization, stops the lane and
//! raises an alarm. So does everything that it cannot apply: nothing is ever skipped.

mod growth;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use carelog_event_log::RecordedEvent;
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use self::growth::Growth;
pub use self::growth::SealError;

/// The projector of the trees. It wants nothing done.
#[derive(Clone, Debug)]
pub struct Sealer {
    log_name: Arc<str>,
}

impl Sealer {
    /// Seals the log of this name, which stands in every leaf.
    pub fn new(log_name: &str) -> Self {
        Self { log_name: log_name.into() }
    }
}

impl Projector for Sealer {
    type Intent = ();
    type Memory = ();

    const NAME: &'static str = "sealer";

    const SCHEMA: ProjectionSchema = ProjectionSchema {
        name: "proof",
        sql: include_str!("../../../migrations/audit/0003_proof.sql"),
        tables: &["trees", "tree_leaves", "tree_tiles"],
    };

    const ON_POISON: OnPoison = OnPoison::Stop;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn is_pressing(&self, _: &RecordedEvent) -> bool {
        false
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        (): &'a mut (),
        page: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<()>, ApplyError>> {
        Box::pin(async move {
            let mut growth = Growth::of(&self.log_name, page).map_err(ApplyError::poison)?;
            let edges = store::edges(tables, &growth.organizations()).await?;
            growth.append(edges).map_err(ApplyError::poison)?;
            store::insert_leaves(tables, &growth).await?;
            store::complete_tiles(tables, &growth).await?;
            store::save_edges(tables, &growth).await?;
            Ok(Vec::new())
        })
    }
}
