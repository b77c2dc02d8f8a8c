//! Runs projectors: one unit of work per projector, version and lane.
//!
//! A unit owns its checkpoint through a lease row whose epoch every update must match, reads pages of its lane,
//! and writes what it folded together with the new checkpoint in one transaction. It wakes when this process
//! appends, when another one says so (a coalesced NOTIFY outside any append), and by polling.
//!
//! The kinds of consumers are told apart by type. A [`Projector`] gets a connection to its own tables and
//! returns *intents*, plain values; it has no way to cause an effect. A [`Reactor`] turns intents into entries
//! of the ledger of effects, in the same transaction; the runtime drops the intents of a rebuild before any
//! reactor sees them. Workers take effects from the ledger ([`crate::effects`]) and report through the log.

mod checkpoint;
mod lag;
mod page_end;
mod projector;
mod quarantine;
mod rebuild;
mod transaction;
mod unit;
mod wake;

pub use lag::{Lag, lag};
pub use page_end::{EffectColumns, PageEnd, PageEndRow};
pub use projector::{ApplyError, OnPoison, ProjectionSchema, Projector, Reaction, Reactor};
pub use quarantine::{Quarantined, discard, quarantined, retry};
pub use rebuild::{Progress, RebuildError, RebuildScope, cancel_rebuild, drop_leftovers, rebuild};
pub use unit::{Runtime, Step, Unit, UnitError};
pub use wake::follow_other_processes;
