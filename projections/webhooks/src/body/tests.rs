//! Old facts go out as new ones; the catalogue's tests look at everything else.

use carelog_domain::EventType;

use super::*;
use crate::catalogue::example_event;

const NAMED: Upcaster = Upcaster {
    event_type: EventType::PatientRegistered,
    from_version: 0,
    lift: |mut facts| {
        facts["birth_year"] = facts["year"].take();
        facts.as_object_mut().unwrap().remove("year");
        facts
    },
};

#[test]
fn facts_of_an_old_version_go_out_in_the_newest() {
    let newest = example_event(EventType::PatientRegistered).unwrap();
    let old = RecordedEvent { schema_version: 0, facts: br#"{"year":1964}"#[..].into(), ..newest.clone() };

    let lifted = Published::of(&[NAMED], &old);

    assert_eq!((lifted.version, &*lifted.facts), (newest.schema_version, &*newest.facts));
}

#[test]
fn facts_that_nothing_lifts_keep_their_version() {
    let newest = example_event(EventType::PatientRegistered).unwrap();
    let old = RecordedEvent { schema_version: 0, ..newest };

    let published = Published::of(&[], &old);

    assert_eq!((published.version, &*published.facts), (0, &*old.facts));
}
