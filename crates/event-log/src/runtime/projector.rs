//! What a projection brings along, and what the runtime does with it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::page_end::PageEnd;
use crate::effects::{Effect, Limits, Wish};
use crate::recorded::{Position, RecordedEvent};

/// Folds events into tables of its own.
pub trait Projector: Send + Sync + 'static {
    /// What it wants done for an event; a plain value. `()` for projectors that want nothing.
    type Intent: Send + 'static;

    /// What a unit remembers of its lane's rows from one page to the next. Only the unit that holds the lane's lease
    /// writes them, so that they stay as it left them; with the lease, or after a failure, the memory ends. `()` for
    /// projectors that remember nothing.
    type Memory: Default + Send + Sync + 'static;

    /// The name in checkpoints, metrics and on the command line.
    const NAME: &'static str;

    /// The tables.
    const SCHEMA: ProjectionSchema;

    /// What happens to an event that cannot be applied.
    const ON_POISON: OnPoison;

    /// How long after a page further events may wait for company, unless one of them is pressing. A page costs its
    /// transaction, however little is in it. The first event after a quiet time never waits.
    const PATIENCE: Duration;

    /// Whether somebody waits for what this event leads to.
    fn is_pressing(&self, event: &RecordedEvent) -> bool;

    /// Applies a page of one lane, in order. The connection is inside the transaction that will also move the
    /// checkpoint, and unqualified names mean the tables of the version being written.
    ///
    /// Writes are set-based: a statement for a page, or for each table of a page, not for each event.
    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        memory: &'a mut Self::Memory,
        page: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<Self::Intent>, ApplyError>>;

    /// Applies a page and ends it in one statement, outside any transaction, where what it takes is in memory and one
    /// statement is enough. The effects that are leased to this process come back; nothing when the page was not
    /// touched, so that [`Self::apply`] has to.
    fn apply_at_once<'a>(
        &'a self,
        _tables: &'a mut PgConnection,
        _memory: &'a mut Self::Memory,
        _page: &'a [Arc<RecordedEvent>],
        _end: &'a PageEnd<'a>,
    ) -> BoxFuture<'a, Result<Option<Vec<Effect>>, ApplyError>> {
        Box::pin(async { Ok(None) })
    }

    /// A page was committed whose events stand in `memory`: the moment to count what is counted once. Never called while
    /// tables are built anew.
    fn committed(&self, memory: &mut Self::Memory) {
        let _ = memory;
    }

    /// Brings tables that were built anew to the state in which those that serve are: what has been removed from these
    /// because its time was over, and not because of an event. Called once, before the swap.
    fn tidy<'a>(&'a self, tables: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ApplyError>> {
        let _ = tables;
        Box::pin(async { Ok(()) })
    }

    /// Lets what was made of an organization's rows follow when rows that were built anew have taken their place: called
    /// in the transaction of that. After a rebuild of everything, the version of the projection is another one.
    fn replaced<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        organization_id: OrganizationId,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        let _ = (tables, organization_id);
        Box::pin(async { Ok(()) })
    }

    /// Whether tables that were built anew may take the place of those that serve: called in the transaction of the
    /// swap, once they hold whatever those were made of. An error leaves those that serve in their place.
    fn check_rebuilt<'a>(&'a self, tables: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ApplyError>> {
        let _ = tables;
        Box::pin(async { Ok(()) })
    }
}

/// What happens to an event that cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPoison {
    /// It and the later events of its stream are set aside in order; other streams go on.
    Quarantine,
    /// The lane stops and an alarm is raised: nothing may ever be skipped.
    Stop,
}

/// The tables of a projection.
#[derive(Clone, Copy, Debug)]
pub struct ProjectionSchema {
    /// The schema that serves; a rebuild writes to one beside it and swaps the names.
    pub name: &'static str,
    /// The migrations that create and change the tables, oldest first, with unqualified names. The text of each after the
    /// line `-- tables` is run by a rebuild in its own schema; the text after `-- indexes` only once the tables are filled.
    pub sql: &'static [&'static str],
    /// Every table, each with a column `organization_id`.
    pub tables: &'static [&'static str],
}

impl ProjectionSchema {
    /// The statements that create empty tables, migration by migration.
    pub fn tables_sql(&self) -> impl Iterator<Item = &'static str> {
        self.parts().map(|(tables, _)| tables)
    }

    /// The statements that create secondary indexes, migration by migration.
    pub fn indexes_sql(&self) -> impl Iterator<Item = &'static str> {
        self.parts().map(|(_, indexes)| indexes)
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.sql.iter().map(|sql| {
            let after = sql.split_once("\n-- tables\n").map_or("", |(_, after)| after);
            after.split_once("\n-- indexes\n").unwrap_or((after, ""))
        })
    }
}

/// Why a page was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The database failed; another try may succeed.
    #[error("the projection's database failed")]
    Transient(#[source] sqlx::Error),
    /// An event cannot be applied, now or later.
    #[error("an event cannot be applied")]
    Poison(#[source] Box<dyn Error + Send + Sync>),
}

impl ApplyError {
    /// An event that cannot be applied.
    pub fn poison(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Poison(Box::new(source))
    }
}

/// It names a column, and no constraint.
const NOT_NULL_VIOLATION: &str = "23502";

/// A refused value is the event's fault; anything else is the database's. A missing table or right (class 42) is no
/// event's fault either, nor is a missing partition (which says that no constraint was violated): it would set every
/// stream aside.
impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        let refuses_values = error.as_database_error().is_some_and(|refusal| {
            let code = refusal.code().unwrap_or_default();
            match code.get(..2) {
                Some("22" | "P0") => true,
                Some("23") => refusal.constraint().is_some() || code == NOT_NULL_VIOLATION,
                _ => false,
            }
        });
        if refuses_values || matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
            Self::Poison(Box::new(error))
        } else {
            Self::Transient(error)
        }
    }
}

impl From<carelog_domain::CodecError> for ApplyError {
    fn from(error: carelog_domain::CodecError) -> Self {
        Self::poison(error)
    }
}

/// Turns what a projector wants into effects. It only names them: the runtime writes them into the ledger, in the
/// transaction that moves the checkpoint.
pub trait Reactor<I>: Send + Sync + 'static {
    /// The name in the ledger.
    fn name(&self) -> &'static str;

    /// How many fresh effects the worker of this process can take right now; that many are handed to it without
    /// going through the ledger again.
    fn room(&self) -> usize;

    /// What bounds the effects under way.
    fn limits(&self) -> Limits;

    /// What an intent asks for.
    fn wish(&self, intent: I) -> Wish;

    /// Takes the fresh effects that were written and are leased to this process.
    fn committed(&self, effects: Vec<Reaction>);
}

/// A fresh effect in the hands of this process.
#[derive(Clone, Debug)]
pub struct Reaction {
    /// The effect, leased.
    pub effect: Effect,
    /// The event that it follows from.
    pub event: Arc<RecordedEvent>,
}

/// The last position of a page.
pub(super) fn end_of(page: &[Arc<RecordedEvent>]) -> Option<Position> {
    page.last().map(|event| event.position)
}
