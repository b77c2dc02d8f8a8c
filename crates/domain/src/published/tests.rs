//! Nothing sent without an example, and no example of anything else.

use super::*;

#[test]
fn every_type_that_is_sent_has_an_example_and_no_other_has_one() {
    for &event_type in EventType::ALL {
        let of = example(event_type).map(|event| event.event_type());

        let is_received = EventType::received().any(|received| received == event_type);
        assert_eq!(of, is_received.then_some(event_type), "{event_type}");
    }
}

#[test]
fn ids_are_of_version_7_and_of_the_example_moment() {
    let (seconds, _) = example_id(1).get_timestamp().unwrap().to_unix();

    assert_eq!(i64::try_from(seconds).unwrap(), example_moment().unix_seconds());
    assert_eq!(example_moment().to_string(), "2026-03-02T09:30:00.000000Z");
}
