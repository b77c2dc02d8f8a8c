//! Whether what comes of an attempt can be written down.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Before another attempt is risked after an outcome that could not be recorded.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

/// Keeps a process from sending what it cannot record, such as while the log's disk is full: after the first outcome that
/// the log did not take, one attempt at a time is risked to find out, with pauses, until an outcome is recorded. Those of
/// attempts that are unknown are recorded without sending anything, and tell as well.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// When the next attempt is risked; nothing while the log takes what it is given.
    next: Mutex<Option<Instant>>,
}

impl Recording {
    /// Whether an attempt may begin now.
    pub(crate) fn may_begin(&self, now: Instant) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        match *next {
            None => true,
            Some(at) if now < at => false,
            Some(_) => {
                *next = Some(now + PAUSE);
                true
            }
        }
    }

    /// The log took an outcome.
    pub(crate) fn succeeded(&self) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The log did not take one.
    pub(crate) fn failed(&self, now: Instant) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_outcome_that_was_not_recorded_one_attempt_is_risked_at_a_time() {
        let (recording, start) = (Recording::default(), Instant::now());
        assert!(recording.may_begin(start) && recording.may_begin(start));

        recording.failed(start);
        assert!(!recording.may_begin(start));
        assert!(recording.may_begin(start + PAUSE));
        assert!(!recording.may_begin(start + PAUSE));

        recording.succeeded();
        assert!(recording.may_begin(start + PAUSE) && recording.may_begin(start + PAUSE));
    }
}
