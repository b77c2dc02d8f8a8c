use std::collections::HashMap;
use std::sync::Arc;

use carelog_domain::access::{AccessEvent, AccessTrailQueried};
use carelog_domain::{Actor, Circumstances, CorrelationId, Event, EventId, OrganizationId, Timestamp};
use carelog_event_log::{RecordedEvent, StreamKey};
use uuid::Uuid;

use super::growth::{Growth, SealError, Stored};
use crate::proof::{Edge, leaf_hash};

const LOG: &str = "carelog-test";

fn organization(number: u128) -> OrganizationId {
    OrganizationId::new(Uuid::from_u128(number))
}

fn event(organization_id: OrganizationId, sequence: i64) -> RecordedEvent {
    let fact: Event =
        AccessEvent::TrailQueried(AccessTrailQueried { patient_id: None, entry_count: 3 }).into();
    let encoded = fact.encode().unwrap();
    let mut event = RecordedEvent {
        lane: 1,
        position: sequence,
        organization_sequence: sequence,
        stream: StreamKey { organization_id, kind: encoded.event_type.stream_kind(), id: Uuid::from_u128(7) },
        version: sequence,
        event_id: EventId::new(Uuid::from_u128(sequence.unsigned_abs().into())),
        event_type: encoded.event_type,
        schema_version: encoded.event_type.schema_version(),
        occurred_at: Timestamp::UNIX_EPOCH,
        recorded_at: Timestamp::UNIX_EPOCH,
        circumstances: Circumstances::of(Actor::SYSTEM, CorrelationId::new(Uuid::from_u128(3))),
        subject: None,
        facts: Arc::from(encoded.facts),
        personal: None,
        network: None,
        leaf_hash: [0; 32],
    };
    event.leaf_hash = leaf_hash(&event.leaf_data(LOG)).0;
    event
}

fn page(events: Vec<RecordedEvent>) -> Vec<Arc<RecordedEvent>> {
    events.into_iter().map(Arc::new).collect()
}

#[test]
fn each_organization_has_a_tree_of_its_own() {
    let (one, two) = (organization(1), organization(2));
    let mut growth =
        Growth::of(LOG, &page(vec![event(one, 1), event(two, 1), event(one, 2), event(one, 3)])).unwrap();

    growth.append(HashMap::new(), &HashMap::new()).unwrap();

    let sizes: Vec<_> = growth.trees.iter().map(|(id, tree)| (*id, tree.edge.size())).collect();
    assert_eq!(sizes, [(one, 3), (two, 1)]);
}

#[test]
fn pages_of_any_length_give_the_same_tree() {
    let one = organization(1);
    let events: Vec<_> = (1..=40).map(|sequence| event(one, sequence)).collect();
    let mut whole = Growth::of(LOG, &page(events.clone())).unwrap();
    whole.append(HashMap::new(), &HashMap::new()).unwrap();

    let mut stored = HashMap::new();
    for part in events.chunks(7) {
        let mut growth = Growth::of(LOG, &page(part.to_vec())).unwrap();
        growth.append(stored, &HashMap::new()).unwrap();
        let edge: &Edge = &growth.trees[&one].edge;
        let size = i64::try_from(edge.size()).unwrap();
        stored = HashMap::from([(one, Stored { size, edge: edge.to_bytes() })]);
    }

    assert_eq!(stored[&one].edge, whole.trees[&one].edge.to_bytes());
}

#[test]
fn given_an_event_that_was_changed_when_sealed_then_the_alarm_names_it() {
    let one = organization(1);
    let changes: [fn(&mut RecordedEvent); 6] = [
        |event| event.facts = Arc::from(br#"{"entry_count":4}"#.as_slice()),
        |event| event.recorded_at = Timestamp::from_unix_micros(1).unwrap(),
        |event| event.circumstances.actor = Actor::OPERATOR,
        |event| event.version = 9,
        |event| event.stream.id = Uuid::from_u128(8),
        |event| event.leaf_hash[31] ^= 1,
    ];
    for change in changes {
        let mut forged = event(one, 2);
        change(&mut forged);

        let sealed = Growth::of(LOG, &page(vec![event(one, 1), forged]));

        let expected = SealError::LeafChanged {
            organization_id: one,
            sequence: 2,
            event_id: EventId::new(Uuid::from_u128(2)),
        };
        assert_eq!(sealed.err(), Some(expected));
    }
}

#[test]
fn given_an_event_that_is_missing_or_repeated_when_sealed_then_the_alarm_names_it() {
    let one = organization(1);
    for (sequences, found) in [([1, 3], 3), ([1, 1], 1)] {
        let events = sequences.map(|sequence| event(one, sequence)).to_vec();
        let mut growth = Growth::of(LOG, &page(events)).unwrap();

        let sealed = growth.append(HashMap::new(), &HashMap::new());

        assert_eq!(sealed, Err(SealError::Gap { organization_id: one, expected: 2, found }));
    }
}

#[test]
fn given_a_damaged_edge_when_sealed_then_the_alarm_names_the_tree() {
    let one = organization(1);
    let mut growth = Growth::of(LOG, &page(vec![event(one, 3)])).unwrap();

    let sealed =
        growth.append(HashMap::from([(one, Stored { size: 2, edge: vec![0; 64] })]), &HashMap::new());

    assert!(matches!(sealed, Err(SealError::Edge { organization_id, .. }) if organization_id == one));
}
