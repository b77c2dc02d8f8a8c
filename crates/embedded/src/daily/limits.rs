//! How many requests a domain may make: <https://docs.daily.co/reference/rest-api/rate-limits>.

use std::collections::VecDeque;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

/// Most requests of an account, and in which time.
pub const REQUESTS_ALLOWED: (usize, Duration) = (100, Duration::from_secs(5));
/// Most lists and deletions of an account, and in which time.
pub const SLOW_REQUESTS_ALLOWED: (usize, Duration) = (50, Duration::from_secs(30));
/// Beginning a recording: 5 in 5 s.
const RECORDING: (usize, Duration) = (5, Duration::from_secs(5));

/// The requests of a domain in sliding windows. Refused ones do not count.
#[derive(Debug, Default)]
pub(super) struct Limits {
    ordinary: VecDeque<Instant>,
    slow: VecDeque<Instant>,
    recording: VecDeque<Instant>,
}

impl Limits {
    /// Takes a request; says for how many seconds to stay away where there are too many.
    pub(super) fn take(&mut self, method: &Method, path: &[&str], now: Instant) -> Result<(), u64> {
        let is_list = method == Method::GET && matches!(path, ["rooms" | "recordings" | "meetings" | "logs"]);
        let (taken, (most, window)) = match path {
            ["rooms", _, "recordings", "start"] => (&mut self.recording, RECORDING),
            _ if is_list || method == Method::DELETE => (&mut self.slow, SLOW_REQUESTS_ALLOWED),
            _ => (&mut self.ordinary, REQUESTS_ALLOWED),
        };
        while taken.front().is_some_and(|first| now.duration_since(*first) >= window) {
            taken.pop_front();
        }
        match taken.front() {
            Some(first) if taken.len() >= most => {
                Err(window.saturating_sub(now.duration_since(*first)).as_secs() + 1)
            }
            _ => {
                taken.push_back(now);
                Ok(())
            }
        }
    }
}
