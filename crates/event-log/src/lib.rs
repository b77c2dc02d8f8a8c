//! The event log and everything that reads it in order.
//!
//! # Main types
//! [`EventLog`] appends and reads. [`Scope`] and [`EventLog::execute`] run a command of an aggregate through
//! cqrs-es. [`RecordedEvent`] is an event as it lies in the log.
//!
//! # Guarantees
//! - In each lane, positions run from 1 without a gap, and whoever sees a position sees all before it. A batch
//!   takes `last visible position + 1 … + n` under the primary key `(lane, position)`, so a position can only
//!   be taken by somebody who saw its predecessor committed. The lane's lock saves wasted work, no more.
//! - The same holds for each organization's sequence numbers and each stream's versions.
//! - An acknowledged command is committed with `synchronous_commit = on`.
//! - Events are never changed or removed: the run-time role has no right to, and a trigger refuses.
//!
//! # Non-goals
//! It decides nothing (that is `carelog-domain`) and derives nothing (that are the projections).
//!
//! Start reading at `store.rs`, then `append/batcher.rs`, then `runtime`.

mod append;
mod clock;
pub mod effects;
mod history;
mod leaf;
mod log;
mod network;
pub mod read;
mod recorded;
pub mod runtime;
mod sealing;
mod store;
mod tail;
mod warm;

pub use append::{
    AppendError, AppendRequest, Appended, Idempotency, KnownAnswer, NewEvent, Premise, Verdict,
};
pub use clock::{Clock, SystemClock, derived_id, new_id};
pub use history::HistoryError;
pub use log::{EventLog, OpenError};
pub use network::Network;
pub use read::ReadError;
pub use recorded::{Lane, LogPosition, Position, RecordedEvent, SealedPart, StreamKey};
pub use sealing::{SealError, SealedPlace};
pub use store::{ExecuteError, Executed, Expected, LoadedAggregate, Scope, ScopedLog};

/// Brings the database `core` to the newest schema.
pub static CORE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/core");
