//! Reading one's own write: a command's answer carries a token, and a read may ask to wait until it shows.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_event_log::LogPosition;
use carelog_event_log::runtime::{Projector, lag};
use http::StatusCode;
use sqlx::PgPool;
use tokio::time::Instant;

use super::Api;
use super::problem::Problem;
use crate::databases::Databases;

/// Longest wait for a projector.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A read model that a read can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Current state.
    Records,
    /// Subscriptions and deliveries.
    Webhooks,
    /// Video rooms.
    Video,
    /// The audit trail.
    Trail,
}

impl View {
    const fn projector(self) -> &'static str {
        match self {
            Self::Records => carelog_records::Records::NAME,
            Self::Webhooks => carelog_webhooks::WebhooksProjector::NAME,
            Self::Video => carelog_video::VideoProjector::NAME,
            Self::Trail => carelog_audit::Audit::NAME,
        }
    }

    const fn pool(self, databases: &Databases) -> &PgPool {
        match self {
            Self::Records | Self::Webhooks | Self::Video => &databases.core_system,
            Self::Trail => &databases.audit_system,
        }
    }
}

/// The text of a place in the log.
pub(super) fn token(place: LogPosition) -> String {
    let mut bytes = [0; 10];
    let (lane, position) = bytes.split_at_mut(2);
    lane.copy_from_slice(&place.lane.to_be_bytes());
    position.copy_from_slice(&place.position.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a token.
///
/// # Errors
/// When it is none of ours.
pub(super) fn parse(token: &str) -> Result<LogPosition, Problem> {
    let bytes: Option<[u8; 10]> = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| bytes.try_into().ok());
    let Some([a, b, position @ ..]) = bytes else {
        return Err(Problem::invalid_query("wait_for: expected the position of a command's answer"));
    };
    Ok(LogPosition { lane: i16::from_be_bytes([a, b]), position: i64::from_be_bytes(position) })
}

/// Waits until a projector has passed a place.
///
/// # Errors
/// When it does not in time, or cannot be asked.
pub(super) async fn wait(api: &Api, place: LogPosition, view: View) -> Result<(), Problem> {
    if passes(api, place, view).await? {
        return Ok(());
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_yet_visible").retry_after(1))
}

/// Waits until a projector has passed a place; tells whether it has before the longest wait was over.
///
/// # Errors
/// When there is no such place, or the database does not answer.
pub(super) async fn passes(api: &Api, place: LogPosition, view: View) -> Result<bool, Problem> {
    if api.log().lanes().all(|lane| lane != place.lane) {
        return Err(Problem::invalid_query("wait_for: there is no such place"));
    }
    // A token is a client's text: nobody waits for what is not there yet.
    let head = *api.log().head(place.lane).borrow();
    api.log().press(LogPosition { position: place.position.min(head), ..place });
    let deadline = Instant::now() + LONGEST_WAIT;
    let mut pause = FIRST_PAUSE;
    loop {
        if has_passed(api, place, view).await? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn has_passed(api: &Api, place: LogPosition, view: View) -> Result<bool, Problem> {
    let mut connection = view.pool(&api.system.databases).acquire().await?;
    let lags = lag(api.log(), &mut connection).await?;
    Ok(lags.iter().any(|lag| {
        lag.projector == view.projector() && lag.lane == place.lane && lag.position >= place.position
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_its_place() {
        let place = LogPosition { lane: 3, position: 1 << 40 };

        assert_eq!(parse(&token(place)).unwrap(), place);
        for wrong in ["", "AA", "not base64!", &format!("{}AA", token(place))] {
            assert_eq!(parse(wrong).unwrap_err().code(), "invalid_query");
        }
    }
}
