//! The sealer: appends each event's leaf to its organization's tree.
//!
//! It believes nothing that is stored beside an event: leaf data and hash are made anew, and a leaf that is not the
//! one that was written with the event, or a place that is not the next one of its organization, stops the lane and
//! raises an alarm. So does everything that it cannot apply: nothing is ever skipped. A tree goes on only where the log
//! still has the event of its last leaf, and grows only into what was signed of it: a log that was set back is noticed
//! even after it has grown again.

mod growth;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use carelog_event_log::{EventLog, Lane, RecordedEvent, read};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;

pub use self::growth::SealError;
use self::growth::{Growth, NewLeaf, Tree};
use crate::meta;
use crate::proof::Hash;
use crate::signer::SignerError;

/// Why a tree that no lane has leaves for cannot grow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrowError {
    #[error("the trees cannot be written")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Appends leaves to one tree, each with its place from 1 and its moment. Unqualified names have to mean the tables of
/// `proof`.
pub(crate) async fn grow(
    tables: &mut PgConnection,
    organization_id: OrganizationId,
    leaves: Vec<(i64, OffsetDateTime, Hash)>,
) -> Result<(), GrowError> {
    let leaves = leaves.into_iter();
    let leaves =
        leaves.map(|(sequence, recorded_at, hash)| NewLeaf { sequence, recorded_at, hash }).collect();
    let tree = Tree { leaves, ..Tree::default() };
    let mut growth = Growth { trees: BTreeMap::from([(organization_id, tree)]) };
    let edges = store::edges(tables, &growth.organizations()).await?;
    growth.append(edges, &HashMap::new())?;
    store::insert_leaves(tables, &growth).await?;
    store::complete_tiles(tables, &growth).await?;
    store::save_edges(tables, &growth).await?;
    Ok(())
}

/// The projector of the trees. It wants nothing done.
#[derive(Clone, Debug)]
pub struct Sealer {
    log: EventLog,
    origin: Arc<str>,
}

impl Sealer {
    /// Seals a log. `origin` is the first part of the names under which its trees are signed.
    pub fn new(log: &EventLog, origin: &str) -> Self {
        Self { log: log.clone(), origin: origin.into() }
    }

    /// Looks whether the log still has the last event of each tree.
    async fn check_past(
        &self,
        tables: &mut PgConnection,
        lane: Lane,
        growth: &Growth,
    ) -> Result<(), ApplyError> {
        let ends = growth.ends();
        if ends.is_empty() {
            return Ok(());
        }
        let sealed = store::leaf_hashes(tables, &ends).await?;
        let mut log = self.log.pool().acquire().await.map_err(ApplyError::Transient)?;
        let stored = read::leaf_hashes(&mut log, lane, &ends).await.map_err(ApplyError::Transient)?;
        growth::compare(&ends, &sealed, &stored).map_err(ApplyError::poison)
    }
}

impl Projector for Sealer {
    type Intent = ();
    type Memory = ();

    const NAME: &'static str = "sealer";

    const SCHEMA: ProjectionSchema = ProjectionSchema {
        name: "proof",
        sql: &[include_str!("../../../migrations/audit/0003_proof.sql")],
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
            let Some(lane) = page.first().map(|event| event.lane) else { return Ok(Vec::new()) };
            let mut growth = Growth::of(self.log.name(), page).map_err(ApplyError::poison)?;
            let edges = store::edges(tables, &growth.organizations()).await?;
            let signed = store::signed_ahead(tables, &self.origin, &growth.organizations()).await?;
            growth.append(edges, &signed).map_err(ApplyError::poison)?;
            self.check_past(tables, lane, &growth).await?;
            store::insert_leaves(tables, &growth).await?;
            store::complete_tiles(tables, &growth).await?;
            store::save_edges(tables, &growth).await?;
            Ok(Vec::new())
        })
    }

    fn check_rebuilt<'a>(&'a self, tables: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            if let Some((organization_id, signed, found)) =
                store::smaller_than_signed(tables, &self.origin).await?
            {
                return Err(ApplyError::poison(SealError::Shrunk { organization_id, signed, found }));
            }
            // No event leads to the log of checkpoints: without this it would be missing until it grows again.
            match meta::grow_rebuilt(tables).await {
                Ok(()) => Ok(()),
                Err(SignerError::Database(error)) => Err(ApplyError::Transient(error)),
                Err(error) => Err(ApplyError::poison(error)),
            }
        })
    }
}
