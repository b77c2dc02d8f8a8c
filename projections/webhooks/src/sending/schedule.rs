//! When the next attempt is made: at once, then after 60 s × 11ⁿ (1 min, 11 min, 2 h 1 min, 22 h 11 min).
//!
//! Five attempts in about 24 hours. The waits carry ±20 % jitter, so that deliveries which failed together do
//! not return together. All functions are pure: the seed and the time come from the caller.

use std::time::{Duration, UNIX_EPOCH};

/// Attempts made in all, the first one included.
pub const MAX_ATTEMPTS: u32 = 5;

const FIRST_WAIT_MS: u64 = 60_000;
const GROWTH: u64 = 11;
/// A receiver cannot ask for a longer pause than this.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

const MILLION: u64 = 1_000_000;
const JITTER_PPM: u64 = 200_000;

/// A factor between 0.8 and 1.2, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    factor_ppm: u64,
}

impl Jitter {
    /// Exactly the scheduled wait.
    pub const NONE: Self = Self { factor_ppm: MILLION };

    /// Spreads any seed, such as a hash of delivery and attempt or a random number, over the whole range.
    pub const fn from_seed(seed: u64) -> Self {
        Self { factor_ppm: MILLION - JITTER_PPM + seed % (2 * JITTER_PPM + 1) }
    }

    const fn apply(self, wait_ms: u64) -> Duration {
        Duration::from_millis(wait_ms * self.factor_ppm / MILLION)
    }
}

/// The wait after attempt number `failed_attempt` (counted from 1) failed; `None` when it was the last.
///
/// Zero stands for "none was made yet" and answers at once.
pub const fn next_delay(failed_attempt: u32, jitter: Jitter) -> Option<Duration> {
    match failed_attempt {
        0 => Some(Duration::ZERO),
        1..MAX_ATTEMPTS => Some(jitter.apply(FIRST_WAIT_MS * GROWTH.pow(failed_attempt - 1))),
        _ => None,
    }
}

/// [`next_delay`], lengthened as the receiver asked: `retry_after` counts when it lies between the scheduled
/// slot and 24 h, and is pulled to the nearer of the two otherwise.
pub fn retry_delay(failed_attempt: u32, jitter: Jitter, retry_after: Option<Duration>) -> Option<Duration> {
    let slot = next_delay(failed_attempt, jitter)?;
    Some(retry_after.map_or(slot, |asked| asked.min(MAX_RETRY_AFTER).max(slot)))
}

/// Reads `Retry-After` (RFC 9110 §10.2.3): whole seconds, or an HTTP date relative to `now_secs` (unix
/// seconds). A date in the past is a wait of zero; anything else, such as `-1` or `1e99`, is no wish at all.
pub fn parse_retry_after(value: &str, now_secs: i64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits beyond u64 are still a number, only an absurd one: the clamp deals with it.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let date_secs = i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    Some(Duration::from_secs(u64::try_from(date_secs.saturating_sub(now_secs)).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
