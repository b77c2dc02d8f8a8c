use proptest::prelude::*;

use super::*;

const MINUTE: u64 = 60;
/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOV_1994: i64 = 784_111_777;

fn waits(jitter: Jitter) -> Vec<Duration> {
    (1..).map_while(|attempt| next_delay(attempt, jitter)).collect()
}

#[test]
fn the_waits_grow_elevenfold_from_a_minute_and_end_after_five_attempts() {
    let expected = [1, 11, 121, 1331].map(|minutes| Duration::from_secs(minutes * MINUTE));
    assert_eq!(waits(Jitter::NONE), expected);
    assert_eq!(next_delay(0, Jitter::NONE), Some(Duration::ZERO));
    assert_eq!(next_delay(u32::MAX, Jitter::NONE), None);
}

#[test]
fn the_seeds_reach_both_ends_of_the_jitter() {
    assert_eq!(next_delay(1, Jitter::from_seed(0)), Some(Duration::from_secs(48)));
    assert_eq!(next_delay(1, Jitter::from_seed(400_000)), Some(Duration::from_secs(72)));
    assert_eq!(Jitter::from_seed(200_000), Jitter::NONE);
}

#[test]
fn retry_after_is_clamped_between_the_slot_and_a_day() {
    let slot = Duration::from_mins(1);
    let day = Duration::from_hours(24);
    let after = |secs| retry_delay(1, Jitter::NONE, Some(Duration::from_secs(secs)));
    assert_eq!(after(0), Some(slot));
    assert_eq!(after(61), Some(Duration::from_secs(61)));
    assert_eq!(after(u64::MAX), Some(day));
    assert_eq!(retry_delay(1, Jitter::NONE, None), Some(slot));
    assert_eq!(retry_delay(MAX_ATTEMPTS, Jitter::NONE, Some(slot)), None);
    let longest = Jitter::from_seed(400_000);
    assert_eq!(retry_delay(4, longest, Some(day)), next_delay(4, longest), "the slot is longer than a day");
}

#[test]
fn retry_after_is_read_as_seconds_or_as_any_http_date() {
    for (value, secs) in [
        ("120", 120),
        (" 0 ", 0),
        ("99999999999999999999999", u64::MAX),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
        ("Sun Nov  6 08:50:37 1994", 60),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 0),
    ] {
        assert_eq!(parse_retry_after(value, NOV_1994), Some(Duration::from_secs(secs)), "{value}");
    }
}

#[test]
fn anything_else_in_retry_after_is_ignored() {
    for value in
        ["", " ", "-1", "+1", "1e99", "1.5", "soon", "inf", "0x10", "٣", "Sun, 99 Nov 1994 08:49:37 GMT"]
    {
        assert_eq!(parse_retry_after(value, NOV_1994), None, "{value:?}");
    }
}

proptest! {
    #[test]
    fn every_wait_stays_within_a_fifth_of_its_slot(attempt in 1..MAX_ATTEMPTS, seed: u64) {
        let slot = next_delay(attempt, Jitter::NONE).unwrap();
        let wait = next_delay(attempt, Jitter::from_seed(seed)).unwrap();
        prop_assert!(wait >= slot * 8 / 10 && wait <= slot * 12 / 10);
    }

    #[test]
    fn the_five_attempts_span_a_day_give_or_take_a_fifth(seeds: [u64; 4]) {
        let total: Duration = (1..).zip(seeds).map(|(n, seed)| next_delay(n, Jitter::from_seed(seed)).unwrap()).sum();
        let exact: Duration = waits(Jitter::NONE).iter().sum();
        prop_assert!(total >= exact * 8 / 10 && total <= exact * 12 / 10);
    }

    #[test]
    fn a_wish_never_shortens_a_wait_nor_stretches_it_beyond_a_day(attempt in 1..MAX_ATTEMPTS, seed: u64, secs: u64) {
        let slot = next_delay(attempt, Jitter::from_seed(seed)).unwrap();
        let wait = retry_delay(attempt, Jitter::from_seed(seed), Some(Duration::from_secs(secs))).unwrap();
        prop_assert!(wait >= slot && wait <= slot.max(MAX_RETRY_AFTER));
    }

    #[test]
    fn no_header_value_makes_the_reader_panic(value: String, now: i64) {
        let _ = parse_retry_after(&value, now);
    }
}
