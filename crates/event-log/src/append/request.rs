//! What is asked of a batcher, and what it answers.

use std::sync::Arc;

use carelog_domain::{Circumstances, EventId, EventType, PatientId, Sealed, StreamKind, Timestamp};
use uuid::Uuid;

use crate::recorded::{LogPosition, SealedPart, StreamKey};

/// The events of one command, already encoded and sealed.
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// Where they go.
    pub stream: StreamKey,
    /// The version that the decision was made on; 0 for a new stream.
    pub expected_version: i64,
    /// Another stream that the decision rests on.
    pub premise: Option<Premise>,
    /// Who, why, and as part of what.
    pub circumstances: Circumstances,
    /// Sealed network address and user agent; stored with the first event.
    pub network: Option<Sealed>,
    /// The caller's key against a second execution.
    pub idempotency: Option<Idempotency>,
    /// At least one event, in order.
    pub events: Vec<NewEvent>,
    /// Whether nobody waits for the answer, so that the batch may wait a moment for more commands.
    pub can_wait: bool,
}

/// Another stream of the same organization that a decision rests on, as it was read. What was decided is appended only if
/// that stream has not moved since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Premise {
    /// The stream.
    pub stream: StreamKey,
    /// Its version when it was read; 0 where there was none.
    pub version: i64,
}

/// An event on its way into the log.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id, made by the caller.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The patient whom it is about.
    pub subject: Option<PatientId>,
    /// Canonical JSON of the facts.
    pub facts: Arc<[u8]>,
    /// The sealed personal part.
    pub personal: Option<SealedPart>,
}

/// A caller's key for one wish, and what the wish was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// 1 to 255 characters, unique in the organization.
    pub key: String,
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
}

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Committed.
    Accepted(Appended),
    /// Somebody else appended to the stream first; nothing was written.
    Conflict {
        /// The stream's version now.
        current_version: i64,
    },
    /// The stream that the decision rests on has moved since it was read; nothing was written.
    PremiseMoved,
    /// The idempotency key was used before; nothing was written.
    Known(KnownAnswer),
}

/// Where the events of an accepted command came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The stream's version after the command.
    pub version: i64,
    /// The place of the last event.
    pub position: LogPosition,
    /// How many events were written.
    pub event_count: i32,
}

/// The first answer that was given under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAnswer {
    /// SHA-256 of the first request.
    pub fingerprint: [u8; 32],
    /// The kind of the stream that was written to.
    pub stream_kind: StreamKind,
    /// The stream that was written to.
    pub stream_id: Uuid,
    /// Where its events came to stand.
    pub appended: Appended,
}

/// Why a batch could not be written. Nothing is known to be stored.
#[derive(Debug, thiserror::Error, Clone)]
pub enum AppendError {
    /// The database did not answer, or refused; the whole batch was tried several times.
    #[error("the event log cannot be written at present")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// Carelog is stopping.
    #[error("the event log is closing")]
    Closing,
    /// A stored value does not parse.
    #[error("log.{table}.{column} holds a value that does not parse")]
    Stored {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}
