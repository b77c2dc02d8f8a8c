//! How many requests a domain may make: <https://docs.daily.co/reference/rest-api/rate-limits>.

use std::collections::VecDeque;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

/// Most requests: 100 in 5 s.
const ORDINARY: (usize, Duration) = (100, Duration::from_secs(5));
/// Lists and deletions of rooms: 50 in 30 s.
const SLOW: (usize, Duration) = (50, Duration::from_secs(30));

/// The requests of a domain in sliding windows. Refused ones do not count.
#[derive(Debug, Default)]
pub(super) struct Limits {
    ordinary: VecDeque<Instant>,
    slow: VecDeque<Instant>,
}

impl Limits {
    /// Takes a request; says for how many seconds to stay away where there are too many.
    pub(super) fn take(&mut self, method: &Method, path: &[&str], now: Instant) -> Result<(), u64> {
        let is_slow = (method == Method::GET && path == ["rooms"]) || method == Method::DELETE;
        let (taken, (most, window)) =
            if is_slow { (&mut self.slow, SLOW) } else { (&mut self.ordinary, ORDINARY) };
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
