//! Lanes that stand still before an event in quarantine.

use std::collections::HashMap;

use carelog_domain::Timestamp;
use carelog_event_log::{Lane, Position};

/// Until a lane is looked at again: at first, doubled each time, and at most; microseconds.
const FIRST_PAUSE_MICROS: i64 = 1_000_000;
const LONGEST_PAUSE_MICROS: i64 = 60_000_000;

/// Before which event each of them stands, and when it is looked at again.
#[derive(Debug, Default)]
pub(super) struct Holds(HashMap<Lane, Hold>);

#[derive(Clone, Copy, Debug)]
struct Hold {
    before: Position,
    pause_micros: i64,
    look_at: Timestamp,
}

impl Holds {
    /// Whether it is too early to look at a lane again.
    pub(super) fn are_waiting(&self, lane: Lane, now: Timestamp) -> bool {
        self.0.get(&lane).is_some_and(|hold| now < hold.look_at)
    }

    /// Notes that a lane stands before an event. Says whether it did not before.
    pub(super) fn note(&mut self, lane: Lane, before: Position, now: Timestamp) -> bool {
        let known = self.0.get(&lane).filter(|hold| hold.before == before);
        let is_new = known.is_none();
        let pause_micros =
            known.map_or(FIRST_PAUSE_MICROS, |hold| (hold.pause_micros * 2).min(LONGEST_PAUSE_MICROS));
        let look_at = now.saturating_add_micros(pause_micros);
        self.0.insert(lane, Hold { before, pause_micros, look_at });
        is_new
    }

    /// The lane goes on.
    pub(super) fn release(&mut self, lane: Lane) {
        self.0.remove(&lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: i64) -> Timestamp {
        "2026-03-01T00:00:00Z".parse::<Timestamp>().unwrap().saturating_add_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_lane_that_stays_before_an_event_is_looked_at_ever_more_rarely_and_the_event_is_new_once() {
        let mut holds = Holds::default();
        let mut looks = Vec::new();

        for now in 0..=240 {
            if !holds.are_waiting(1, second(now)) {
                looks.push((now, holds.note(1, 7, second(now))));
            }
        }

        let later = [1, 3, 7, 15, 31, 63, 123, 183].map(|at| (at, false));
        assert_eq!(looks, [&[(0, true)], later.as_slice()].concat());
    }

    #[test]
    fn a_lane_that_went_on_and_one_that_stands_elsewhere_begin_again() {
        let mut holds = Holds::default();
        holds.note(1, 7, second(0));
        holds.note(1, 7, second(1));

        assert!(!holds.are_waiting(2, second(1)), "other lanes wait for nothing");
        assert!(holds.note(1, 9, second(3)), "another event");
        assert!(!holds.are_waiting(1, second(4)));
        holds.release(1);
        assert!(!holds.are_waiting(1, second(3)));
        assert!(holds.note(1, 9, second(3)), "the same event, again");
    }
}
