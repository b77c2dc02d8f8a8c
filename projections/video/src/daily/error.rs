//! Why Daily did not do what it was asked to.

use std::time::{Duration, SystemTime};

use carelog_domain::video_room::RoomFailure;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

/// Longest `Retry-After` that is obeyed.
const LONGEST_HOLD: Duration = Duration::from_mins(15);

/// Why a request did not succeed. Texts of Daily are not kept: they may quote what was sent.
#[derive(Debug, thiserror::Error)]
pub enum DailyError {
    /// The key is not valid, or not for this.
    #[error("daily refuses the organization's key ({status})")]
    Credentials {
        /// The status.
        status: StatusCode,
    },
    /// The request cannot be granted as it is; for a room that is to be made, also because its name is taken.
    #[error("daily refuses the request ({status})")]
    Refused {
        /// The status.
        status: StatusCode,
    },
    /// There is no such room, or it has expired.
    #[error("daily knows no such room")]
    NotFound,
    /// Too many requests, as Daily or our own pace has it. Nothing was done.
    #[error("daily is asked too often")]
    RateLimited {
        /// How long Daily wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Daily failed; whether it did what was asked for is not known.
    #[error("daily failed ({status})")]
    Server {
        /// The status.
        status: StatusCode,
        /// How long Daily wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// No connection: nothing was asked.
    #[error("daily cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The request went out, and no whole answer came back in time.
    #[error("daily gave no answer")]
    NoAnswer(#[source] Option<reqwest::Error>),
    /// A success whose body is none.
    #[error("daily's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

/// The body of a refusal.
#[derive(Debug, Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
}

impl DailyError {
    /// What a refusal means. The stable code in the body decides where the status says too little: a missing
    /// `Authorization` header is a 400.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        match refusal.error.as_str() {
            "authentication-error" | "authorization-header-error" | "forbidden-error" => {
                Self::Credentials { status }
            }
            "rate-limit-error" => Self::RateLimited { retry_after: retry_after(headers) },
            "not-found" => Self::NotFound,
            _ => match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Credentials { status },
                StatusCode::NOT_FOUND => Self::NotFound,
                StatusCode::TOO_MANY_REQUESTS => Self::RateLimited { retry_after: retry_after(headers) },
                status if status.is_server_error() => {
                    Self::Server { status, retry_after: retry_after(headers) }
                }
                status => Self::Refused { status },
            },
        }
    }

    /// How the log tells it.
    pub const fn failure(&self) -> RoomFailure {
        match self {
            Self::Credentials { .. } => RoomFailure::Credentials,
            Self::Refused { .. } | Self::NotFound => RoomFailure::Refused,
            Self::RateLimited { .. } => RoomFailure::RateLimited,
            Self::Unreachable(_) | Self::Server { .. } => RoomFailure::Unavailable,
            Self::NoAnswer(_) | Self::Unreadable(_) => RoomFailure::Unknown,
        }
    }

    /// How long Daily wants to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Server { retry_after, .. } => *retry_after,
            Self::Credentials { .. }
            | Self::Refused { .. }
            | Self::NotFound
            | Self::Unreachable(_)
            | Self::NoAnswer(_)
            | Self::Unreadable(_) => None,
        }
    }
}

/// Seconds, or a date, which counts from the answer's own `Date` so that no clock of ours is asked.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let now = headers.get(header::DATE)?.to_str().ok()?;
        at.duration_since(httpdate::parse_http_date(now).unwrap_or(SystemTime::UNIX_EPOCH)).ok()?
    };
    Some(asked.min(LONGEST_HOLD))
}
