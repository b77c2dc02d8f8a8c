//! Examines a Carelog: whether what is written down is whole, and whether the projections say the same as the log.
//!
//! Each file examines one area with statements of its own, which share nothing with the code that wrote the rows,
//! and each check says how much it looked at and what it found. Nothing is changed. All checks of a database see
//! one snapshot of it, so a system can be examined while it runs; the trail is read first, so that the log is never
//! older than what is compared with it.
//!
//! | file | invariant of the design |
//! |---|---|
//! | `order.rs` | lanes, organization sequences and stream versions run from 1 without a gap, and the heads are true |
//! | `answers.rs` | an answer that was given under an idempotency key has its events |
//! | `leaves.rs` | the leaf of an event is that of what is stored |
//! | `guards.rs` | nobody can change the log, and its next events have a place |
//! | `projectors.rs` | checkpoints and leases are sane; quarantined events are listed |
//! | `records.rs`, `trail.rs` | no projector skipped, repeated or reordered |
//! | `rooms.rs` | the same for video rooms; an effect waits for the end of each open one |
//! | `trees.rs` | each organization's tree has the leaf of every event, and the tiles and root of its leaves |
//! | `meta.rs` | the log of checkpoints has what was signed, in one history of each organization |
//! | `deliveries.rs` | each announced event has one delivery per matching subscription, with an end or a due time |
//!
//! Counts come from aggregates, which a log of millions of events bears; window functions run only over what a count
//! has already shown to be damaged, to name the first place, and over the few events of subscriptions.

mod answers;
pub mod command;
mod deliveries;
mod guards;
mod leaves;
mod meta;
mod order;
mod projectors;
mod records;
mod replays;
mod rooms;
#[cfg(test)]
mod tests;
mod trail;
mod trees;

use carelog_event_log::ReadError;
use serde::Serialize;
use sqlx::{Executor, PgPool, Postgres, Transaction};

pub use self::leaves::Leaves;

use crate::databases::Databases;

/// Damaged places that one check names; their number beyond it does not matter any more.
const MAX_NAMED: i64 = 20;

/// What one check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What has to be true.
    pub name: &'static str,
    /// How many things were looked at.
    pub checked: i64,
    /// Places where it is not true; at most 20 are named.
    pub damage: Vec<String>,
    /// What a person may want to know, though nothing is damaged.
    pub notes: Vec<String>,
}

/// Why a Carelog cannot be examined. That says nothing about whether it is damaged.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// A database did not answer, or lacks a table.
    #[error("the databases cannot be examined")]
    Database(#[from] sqlx::Error),
    /// Events cannot be read.
    #[error("the events cannot be read")]
    Read(#[from] ReadError),
}

impl Finding {
    fn new(name: &'static str, checked: i64, damage: Vec<String>) -> Self {
        Self { name, checked, damage, notes: Vec::new() }
    }

    fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes: [self.notes, notes].concat(), ..self }
    }

    /// Whether what has to be true is.
    pub fn is_ok(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Runs every check.
///
/// # Errors
/// When a check cannot be made. Damage is no error but a finding.
pub async fn examine(databases: &Databases, leaves: Leaves) -> Result<Vec<Finding>, DoctorError> {
    let mut audit = snapshot(&databases.audit_system).await?;
    let trail = trail::read(&mut audit).await?;
    let trees = trees::read(&mut audit).await?;
    let grown = trees::grown(&mut audit).await?;
    let meta = meta::checkpoints(&mut audit).await?;
    let audit_checkpoints = projectors::read(&mut audit).await?;
    drop(audit);
    let mut analytics = snapshot(&databases.analytics_system).await?;
    let analytics_checkpoints = projectors::read(&mut analytics).await?;
    let held_copies = projectors::held_copies(&mut analytics).await?;
    drop(analytics);

    let mut core = snapshot(&databases.core_system).await?;
    let heads = order::heads(&mut core).await?;
    let core_checkpoints = projectors::read(&mut core).await?;
    Ok(vec![
        order::lanes(&mut core).await?,
        order::organizations(&mut core).await?,
        order::streams(&mut core).await?,
        answers::answers(&mut core).await?,
        leaves::leaves(&mut core, &heads, leaves).await?,
        guards::triggers(&mut core).await?,
        guards::partitions(&mut core).await?,
        guards::rights(&mut core).await?,
        projectors::checkpoints("core checkpoints and leases are sane", &core_checkpoints, &heads),
        projectors::checkpoints("audit checkpoints and leases are sane", &audit_checkpoints, &heads),
        projectors::checkpoints("analytics checkpoints and leases are sane", &analytics_checkpoints, &heads)
            .with_notes(held_copies),
        records::records(&mut core).await?,
        trail::trail(&mut core, &trail).await?,
        trees::leaves(&mut core, &trees).await?,
        grown,
        meta,
        deliveries::matching(&mut core).await?,
        deliveries::progress(&mut core).await?,
        deliveries::due(&mut core).await?,
        deliveries::queues(&mut core).await?,
        deliveries::closed(&mut core).await?,
        deliveries::attempts(&mut core).await?,
        replays::replays(&mut core).await?,
        rooms::rooms(&mut core).await?,
        rooms::looks(&mut core).await?,
    ])
}

/// A transaction that sees the database as it is now and changes nothing.
async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin_with("begin isolation level repeatable read read only").await?;
    // The aggregates hold a group for each stream.
    tx.execute("set local work_mem to '128MB'").await?;
    // Whole tables are looked at, however long that takes.
    tx.execute("set local statement_timeout to 0").await?;
    Ok(tx)
}
