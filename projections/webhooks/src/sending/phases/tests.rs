//! Which part is shown for which marks.

use super::*;

struct Minute(Instant);

impl Minute {
    fn at(&self, ms: u64) -> Instant {
        self.0 + Duration::from_millis(ms)
    }

    fn marks(&self, lookup: (Option<u64>, Option<u64>), connect: (Option<u64>, Option<u64>)) -> Marks {
        let at = |ms: Option<u64>| ms.map(|ms| self.at(ms));
        Marks {
            lookup_began: at(lookup.0),
            lookup_ended: at(lookup.1),
            connect_began: at(connect.0),
            connect_ended: at(connect.1),
        }
    }
}

type Parts = (Option<u32>, Option<u32>, Option<u32>, Option<u32>);

fn parts(phases: Phases) -> Parts {
    (phases.lookup_ms, phases.connect_ms, phases.wait_ms, phases.body_ms)
}

#[test]
fn the_last_part_is_the_one_in_which_an_attempt_ended() {
    let minute = Minute(Instant::now());
    for (name, marks, head, expected) in [
        (
            "new connection",
            minute.marks((Some(1), Some(4)), (Some(1), Some(10))),
            Some(30),
            (Some(3), Some(6), Some(20), Some(70)),
        ),
        (
            "an address in the URL",
            minute.marks((None, None), (Some(2), Some(10))),
            Some(30),
            (None, Some(8), Some(20), Some(70)),
        ),
        (
            "kept connection",
            minute.marks((None, None), (None, None)),
            Some(30),
            (None, None, Some(30), Some(70)),
        ),
        (
            "a kept one came free meanwhile",
            minute.marks((Some(1), Some(4)), (Some(1), None)),
            Some(30),
            (None, None, Some(30), Some(70)),
        ),
        (
            "no answer",
            minute.marks((Some(1), Some(4)), (Some(1), Some(10))),
            None,
            (Some(3), Some(6), Some(90), None),
        ),
        (
            "no answer on a kept one",
            minute.marks((None, None), (None, None)),
            None,
            (None, None, Some(100), None),
        ),
        (
            "no connection",
            minute.marks((Some(1), Some(4)), (Some(1), None)),
            None,
            (Some(3), Some(96), None, None),
        ),
        ("no name", minute.marks((Some(1), None), (Some(1), None)), None, (Some(99), None, None, None)),
    ] {
        let phases = marks.phases(minute.0, head.map(|ms| minute.at(ms)), minute.at(100));
        assert_eq!(parts(phases), expected, "{name}");
    }
}
