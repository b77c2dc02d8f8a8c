use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PACE: Pace = Pace::STANDARD;

#[test]
fn the_first_delivery_of_a_quiet_subscription_starts_at_once() {
    let quiet = TickState { tick_index: 3, started: 50 };
    let budget = PACE.admit(24_999, quiet, 1);
    assert_eq!(budget, Budget { start_now: 1, waiting: 0, state: TickState { tick_index: 4, started: 1 } });
}

#[test]
fn what_exceeds_the_budget_waits_for_the_following_ticks() {
    let budget = PACE.admit(12_345, TickState::default(), 170);
    assert_eq!((budget.start_now, budget.waiting), (50, 120));
    let due: Vec<_> = PACE.due_ticks(12_345, budget.state, budget.waiting).collect();
    assert_eq!(
        due,
        [
            DueTick { tick_index: 3, due_ms: 15_000, count: 50 },
            DueTick { tick_index: 4, due_ms: 20_000, count: 50 },
            DueTick { tick_index: 5, due_ms: 25_000, count: 20 },
        ]
    );
}

#[test]
fn given_a_state_ahead_of_the_clock_nothing_starts_and_its_remainder_is_used_first() {
    let ahead = TickState { tick_index: 7, started: 48 };
    let budget = PACE.admit(12_345, ahead, 5);
    assert_eq!(budget, Budget { start_now: 0, waiting: 5, state: ahead });
    let counts: Vec<_> = PACE.due_ticks(12_345, ahead, 5).map(|due| (due.tick_index, due.count)).collect();
    assert_eq!(counts, [(7, 2), (8, 3)]);
}

#[test]
fn a_pace_that_never_starts_anything_is_refused() {
    assert_eq!(Pace::new(Duration::ZERO, 50), None);
    assert_eq!(Pace::new(Duration::from_secs(5), 0), None);
    assert_eq!(Pace::new(Duration::from_secs(5), 50), Some(Pace::STANDARD));
}

proptest! {
    #[test]
    fn no_tick_ever_starts_more_than_its_limit(
        limit in 1_u32..80,
        steps in prop::collection::vec((0_u64..20_000, 0_u32..200), 1..60),
    ) {
        let pace = Pace::new(Duration::from_secs(5), limit).unwrap();
        let (mut now_ms, mut state) = (1_700_000_000_000, TickState::default());
        let mut started = BTreeMap::<u64, u32>::new();
        for (pause_ms, wanted) in steps {
            now_ms += pause_ms;
            let budget = pace.admit(now_ms, state, wanted);
            state = budget.state;
            *started.entry(pace.tick_at(now_ms)).or_default() += budget.start_now;
            let tick_is_spent = started[&pace.tick_at(now_ms)] == limit;
            prop_assert!(budget.waiting == 0 || tick_is_spent, "waits only when the tick is spent");
        }
        prop_assert!(started.values().all(|&count| count <= limit));
    }

    #[test]
    fn all_that_waits_becomes_due_in_order_and_within_the_limit(
        limit in 1_u32..80, now_ms in 0_u64..1_000_000, ahead in 0_u64..10, spent in 0_u32..80, waiting in 0_u32..2_000,
    ) {
        let pace = Pace::new(Duration::from_secs(5), limit).unwrap();
        let state = TickState { tick_index: pace.tick_at(now_ms) + ahead, started: spent.min(limit) };
        let due: Vec<_> = pace.due_ticks(now_ms, state, waiting).collect();
        prop_assert_eq!(due.iter().map(|due| due.count).sum::<u32>(), waiting);
        prop_assert!(due.iter().all(|due| due.count > 0 && due.due_ms > now_ms));
        prop_assert!(due.windows(2).all(|pair| pair[0].tick_index < pair[1].tick_index));
        for tick in due {
            let before = if tick.tick_index == state.tick_index { state.started } else { 0 };
            prop_assert!(before + tick.count <= limit);
        }
    }
}
