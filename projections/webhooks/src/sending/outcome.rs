//! What came of one attempt.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use carelog_domain::webhook_delivery::{AttemptDetail, Phases};
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// The kinds of outcome: those of the log.
pub use carelog_domain::webhook_delivery::AttemptOutcome as OutcomeKind;

/// One attempt, closed.
#[derive(Clone, Debug)]
pub struct AttemptOutcome {
    pub kind: OutcomeKind,
    /// Present whenever a head arrived.
    pub status: Option<StatusCode>,
    /// From the start of the name lookup to the end of the body.
    pub duration: Duration,
    /// The parts of that.
    pub phases: Phases,
    /// Those response headers that help to understand a failure, by name; of a redirect's target the host alone.
    pub headers: Vec<(&'static str, String)>,
    pub body: ResponseBody,
    /// The receiver's `Retry-After`, not yet clamped.
    pub retry_after: Option<Duration>,
    /// The receiver's `webhook-delivery`.
    pub control: Option<DeliveryControl>,
    /// What exactly was wrong, where the kind does not tell.
    pub detail: Option<AttemptDetail>,
}

/// The beginning of the response body. `Debug` shows its length alone: receivers echo personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseBody {
    /// At most 1 KiB, as it came.
    pub prefix: Bytes,
    /// How many bytes were read.
    pub read_bytes: usize,
    pub end: BodyEnd,
}

/// How reading the response body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyEnd {
    /// No head arrived, so there is no body.
    Absent,
    Complete,
    /// More than is read arrived; the connection was dropped.
    CutOff,
    /// The connection broke or the framing was wrong.
    Broken,
    /// The deadline passed while it arrived.
    TimedOut,
}

/// What a receiver may ask for in the `webhook-delivery` response header (proposed for Standard Webhooks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryControl {
    /// `disable`: send nothing more to this subscription.
    Disable,
    /// `abort-message`: make no further attempt of this delivery.
    AbortMessage,
}

/// The kind of an attempt whose head arrived. A redirect is not followed: the signed body would go to a host nobody
/// checked.
pub fn kind_of_status(status: StatusCode) -> OutcomeKind {
    match status.as_u16() {
        200..=299 => OutcomeKind::Success,
        301 | 302 | 303 | 307 | 308 => OutcomeKind::Redirect,
        _ => OutcomeKind::HttpStatus,
    }
}

impl AttemptOutcome {
    /// An attempt that brought no head.
    pub const fn without_head(kind: OutcomeKind, detail: Option<AttemptDetail>, duration: Duration) -> Self {
        Self {
            kind,
            status: None,
            duration,
            phases: Phases { lookup_ms: None, connect_ms: None, wait_ms: None, body_ms: None },
            headers: Vec::new(),
            body: ResponseBody { prefix: Bytes::new(), read_bytes: 0, end: BodyEnd::Absent },
            retry_after: None,
            control: None,
            detail,
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseBody({} bytes kept, {:?})", self.prefix.len(), self.end)
    }
}

impl DeliveryControl {
    pub(super) fn parse(value: &str) -> Option<Self> {
        match value.trim() {
            "disable" => Some(Self::Disable),
            "abort-message" => Some(Self::AbortMessage),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
