//! A thin client of Daily's REST API (<https://docs.daily.co/reference/rest-api>): rooms, and the tokens that open them.
//!
//! An organization brings an account of its own, which is a key and a domain. Requests are paced for each of them, as
//! far as one process can see; the ledger of effects paces all processes together. Daily knows no idempotency key:
//! whoever does not know what became of a request asks for the room by its name, which follows from the appointment.
//! Nothing is retried here.

mod account;
mod client;
mod error;
mod hook;
mod limiter;
mod meeting;
mod metrics;
mod recording;
mod room;
#[cfg(test)]
mod tests;
mod token;
mod webhook;

pub use self::account::DailyAccount;
pub use self::client::{DailyApi, DailyApiError, DailyDomain};
pub use self::error::DailyError;
pub use self::hook::{HookKey, HookNotice, HookRefusal, HookStay, PROBE, SIGNATURE_HEADER, TIMESTAMP_HEADER};
pub use self::recording::{DailyRecording, DailyRecordingStatus, RecordingKind};
pub use self::room::{Room, RoomName, RoomSpec};
pub use self::token::{MeetingToken, TokenClaims};
pub use self::webhook::HookState;
