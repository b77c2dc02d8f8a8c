//! Texts, precision and bounds of timestamps.

use proptest::prelude::*;
use time::macros::datetime;

use super::*;

#[test]
fn text_has_six_fractional_digits_in_utc() {
    let moment: Timestamp = "2026-01-31T10:30:00.5+01:00".parse().unwrap();

    assert_eq!(moment.to_string(), "2026-01-31T09:30:00.500000Z");
    assert_eq!(serde_json::to_string(&moment).unwrap(), r#""2026-01-31T09:30:00.500000Z""#);
}

#[test]
fn digits_finer_than_microseconds_are_cut_off() {
    let after = Timestamp::try_from(datetime!(2026-01-31 09:30:00.123456789 UTC)).unwrap();
    let before_epoch = Timestamp::try_from(datetime!(1969-12-31 23:59:59.999999999 UTC)).unwrap();

    assert_eq!(after.to_string(), "2026-01-31T09:30:00.123456Z");
    assert_eq!(before_epoch.unix_micros(), -1);
    assert_eq!(before_epoch.unix_seconds(), -1);
}

#[test]
fn bounds_are_the_years_0000_to_9999() {
    assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00.000000Z");
    assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
    for outside in [Timestamp::MIN.0 - 1, Timestamp::MAX.0 + 1, i64::MIN, i64::MAX] {
        assert_eq!(Timestamp::from_unix_micros(outside), Err(TimestampError));
    }
}

#[test]
fn adding_stops_at_the_bounds() {
    let moment = Timestamp::UNIX_EPOCH;

    assert_eq!(moment.saturating_add_micros(i64::MAX), Timestamp::MAX);
    assert_eq!(moment.saturating_add_micros(i64::MIN), Timestamp::MIN);
    assert_eq!(moment.saturating_add_micros(7).micros_since(moment), 7);
}

#[test]
fn other_texts_are_refused() {
    for text in ["", "2026-01-31", "2026-01-31T09:30:00", "2026-02-30T00:00:00Z", "now"] {
        assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text}");
    }
    assert!(serde_json::from_str::<Timestamp>("17").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_and_database_value_give_the_same_moment(micros in Timestamp::MIN.0..=Timestamp::MAX.0) {
        let moment = Timestamp::from_unix_micros(micros).unwrap();

        prop_assert_eq!(moment.unix_micros(), micros);
        prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        prop_assert_eq!(Timestamp::try_from(OffsetDateTime::from(moment)).unwrap(), moment);
        prop_assert_eq!(moment.to_string().len(), "2026-01-31T09:30:00.000000Z".len());
    }

    #[test]
    fn texts_sort_like_moments(a in Timestamp::MIN.0..=Timestamp::MAX.0, b in Timestamp::MIN.0..=Timestamp::MAX.0) {
        prop_assert_eq!(Timestamp(a).cmp(&Timestamp(b)), Timestamp(a).to_string().cmp(&Timestamp(b).to_string()));
    }
}
