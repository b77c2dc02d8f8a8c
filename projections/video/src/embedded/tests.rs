//! Links and credentials, against fixed vectors and every alteration.

use carelog_domain::{AppointmentId, OrganizationId, ParticipantId, Timestamp};
use uuid::Uuid;

use super::*;

const CLAIMS: LinkClaims = LinkClaims {
    organization_id: OrganizationId::new(Uuid::from_u128(1)),
    appointment_id: AppointmentId::new(Uuid::from_u128(2)),
    participant_id: ParticipantId::new(Uuid::from_u128(3)),
    link: 0x0102,
};

fn secret(byte: u8) -> LinkSecret {
    LinkSecret::from_bytes([byte; 32])
}

#[test]
fn a_link_comes_back_as_it_was_signed_and_shows_itself_to_nobody() {
    let link = RoomLink::sign(&secret(1), CLAIMS);

    let read = RoomLink::read(link.reveal()).unwrap();

    assert_eq!(read.claims(), CLAIMS);
    assert!(read.is_signed_by(&secret(1)));
    assert!(!read.is_signed_by(&secret(2)), "another organization's secret");
    assert!(!format!("{link:?}{read:?}").contains(link.reveal()));
}

#[test]
fn a_link_that_was_altered_anywhere_is_refused() {
    let text = RoomLink::sign(&secret(1), CLAIMS).reveal().to_owned();
    for place in 0..text.len() {
        for other in ["A", "_"] {
            let mut altered = text.clone();
            altered.replace_range(place..=place, other);
            let is_taken = RoomLink::read(&altered).is_some_and(|link| link.is_signed_by(&secret(1)));
            assert!(altered == text || !is_taken, "at {place}");
        }
    }
    for wrong in ["", "AAAA", &text[1..], &format!("{text}AAAA"), &"A".repeat(100_000), "ä"] {
        assert!(RoomLink::read(wrong).is_none());
    }
}

#[test]
fn credentials_of_a_relay_are_those_that_coturn_expects() {
    let urls = ["stun:relay.example:3478", "turn:relay.example:3478", "turns:relay.example:5349"];
    let relays = Relays {
        urls: urls.map(str::to_owned).to_vec(),
        secret: Some(RelaySecret::from("north".to_owned())),
        is_relay_only: false,
    };
    let until: Timestamp = "2026-03-02T10:15:00Z".parse().unwrap();

    let servers = relays.servers_for(CLAIMS.participant_id, until);

    let [stun, turn] = &servers[..] else { panic!("two: {servers:?}") };
    assert_eq!((&stun.urls[..], &stun.username, &stun.credential), (&relays.urls[..1], &None, &None));
    assert_eq!(turn.urls, relays.urls[1..]);
    assert_eq!(turn.username.as_deref(), Some("1772446500:00000000-0000-0000-0000-000000000003"));
    assert_eq!(turn.credential.as_deref(), Some("Bg4mSFcbdj41Xke4Id1+WOjxsYw="));
    assert!(!format!("{relays:?}{servers:?}").contains("north"));
    assert!(!format!("{servers:?}").contains("Bg4mSFcbdj41Xke4Id1+WOjxsYw="));
}

#[test]
fn a_relay_without_a_secret_is_not_told_of() {
    let relays = Relays { urls: vec!["turn:relay.example".to_owned()], secret: None, is_relay_only: true };

    assert_eq!(relays.servers_for(CLAIMS.participant_id, Timestamp::MAX), []);
}
