//! What needs no server: names, tokens, refusals, addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::video_room::{RoomFailure, RoomWindow};
use carelog_domain::{AppointmentId, OrganizationId, ParticipantId, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const APPOINTMENT: AppointmentId = AppointmentId::new(Uuid::from_u128(0xa1));

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window() -> RoomWindow {
    RoomWindow { opens_at: at("2026-03-02T09:15:00Z"), expires_at: at("2026-03-02T10:15:00Z") }
}

fn account(key: &str) -> Result<DailyAccount, (String, &'static str)> {
    let settings = BTreeMap::from([("api_key".to_owned(), key.to_owned())]);
    DailyAccount::from_settings(OrganizationId::new(Uuid::from_u128(1)), &settings)
}

#[test]
fn names_follow_from_the_appointment_and_fit_the_rules() {
    let first = RoomName::of(APPOINTMENT, 1);
    let second = RoomName::of(APPOINTMENT, 2);

    assert_eq!(first.as_str(), "appt-000000000000000000000000000000a1");
    assert_eq!(second.as_str(), "appt-000000000000000000000000000000a1-2");
    let longest = RoomName::of(APPOINTMENT, u16::MAX);
    assert!(longest.as_str().len() <= 128);
    assert!(longest.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
}

#[test]
fn a_room_is_described_with_nothing_outside_its_place() {
    let spec = RoomSpec { name: RoomName::of(APPOINTMENT, 1), window: window() };
    let properties = json!({
        "nbf": 1_772_442_900, "exp": 1_772_446_500, "eject_at_room_exp": true,
        "enforce_unique_user_ids": true, "max_participants": 6, "enable_chat": false,
    });

    let created = serde_json::to_value(spec.to_create()).unwrap();
    let updated = serde_json::to_value(spec.to_update()).unwrap();

    assert_eq!(created["name"], spec.name.as_str());
    assert_eq!((&created["privacy"], &created["properties"]), (&json!("private"), &properties));
    assert_eq!(updated, json!({ "privacy": "private", "properties": properties }));
}

#[test]
fn a_room_is_as_it_should_be_only_with_its_window_and_private() {
    let spec = RoomSpec { name: RoomName::of(APPOINTMENT, 1), window: window() };
    let room = |privacy: &str, nbf: Option<i64>, exp: Option<i64>| -> Room {
        let config = json!({ "nbf": nbf, "exp": exp });
        serde_json::from_value(json!({ "name": "n", "url": "u", "privacy": privacy, "config": config }))
            .unwrap()
    };
    let (nbf, exp) = (Some(1_772_442_900), Some(1_772_446_500));

    assert!(spec.is_kept_by(&room("private", nbf, exp)));
    for other in [room("public", nbf, exp), room("private", None, exp), room("private", nbf, Some(7))] {
        assert!(!spec.is_kept_by(&other));
    }
}

/// The signature was made by another implementation: Python's `hmac` over the same text.
#[test]
fn a_token_is_a_json_web_token_that_names_room_and_end() {
    let name = RoomName::of(APPOINTMENT, 1);
    let claims = TokenClaims {
        domain_id: "7a1e6f0c-2f4e-4a7e-9d1a-5f5b1f4c0001",
        room: &name,
        participant_id: ParticipantId::new(Uuid::from_u128(9)),
        is_owner: true,
        window: window(),
        issued_at: at("2026-03-02T09:20:00Z"),
    };

    let token = MeetingToken::sign(&account("key-of-a-domain").unwrap(), &claims).unwrap();

    let parts: Vec<&str> = token.reveal().split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let read =
        |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    assert_eq!(read(header), json!({ "alg": "HS256", "typ": "JWT" }));
    assert_eq!(
        read(payload),
        json!({
            "r": "appt-000000000000000000000000000000a1", "d": "7a1e6f0c-2f4e-4a7e-9d1a-5f5b1f4c0001",
            "iat": 1_772_443_200, "nbf": 1_772_442_900, "exp": 1_772_446_500,
            "ud": "00000000-0000-0000-0000-000000000009", "o": true, "ejt": true,
        })
    );
    assert_eq!(signature, SIGNATURE);
    assert!(token.reveal().len() < 2_048, "Daily takes no longer ones");
    assert_eq!(format!("{token:?}"), "MeetingToken(redacted)");
}

const SIGNATURE: &str = "DaTAo4lBpTZaSNto559FOhlUQSJBTxGO1erXSrFgGuA";

#[test]
fn a_key_is_visible_ascii_and_the_only_setting() {
    assert!(account("0123abc").is_ok());
    for wrong in ["", "with space", "zeilen\numbruch", "schlüssel", &"x".repeat(257)] {
        assert_eq!(account(wrong).unwrap_err().0, "api_key", "{wrong:?}");
    }
    let settings = BTreeMap::from([("apikey".to_owned(), "x".to_owned())]);
    let organization_id = OrganizationId::new(Uuid::from_u128(1));
    assert_eq!(DailyAccount::from_settings(organization_id, &settings).unwrap_err().0, "apikey");
    assert!(!format!("{:?}", account("topsecret").unwrap()).contains("topsecret"));
}

#[test]
fn refusals_are_told_apart_by_their_code_before_their_status() {
    let of = |status: u16, code: &str| {
        let body = json!({ "error": code, "info": "text that changes" }).to_string();
        DailyError::of(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes()).failure()
    };

    assert_eq!(of(401, "authentication-error"), RoomFailure::Credentials);
    assert_eq!(of(400, "authorization-header-error"), RoomFailure::Credentials);
    assert_eq!(of(403, "forbidden-error"), RoomFailure::Credentials);
    assert_eq!(of(400, "invalid-request-error"), RoomFailure::Refused);
    assert_eq!(of(400, "json-parsing-error"), RoomFailure::Refused);
    assert_eq!(of(429, "rate-limit-error"), RoomFailure::RateLimited);
    assert_eq!(of(500, "server-error"), RoomFailure::Unavailable);
    assert_eq!(of(503, "a code of the future"), RoomFailure::Unavailable);
    assert_eq!(of(302, ""), RoomFailure::Refused);
    let expired = br#"{"error":"not-found","info":"deleted","deleted":true}"#;
    let gone = DailyError::of(StatusCode::NOT_FOUND, &HeaderMap::new(), expired);
    assert!(matches!(gone, DailyError::NotFound));
    let no_json = DailyError::of(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>");
    assert!(matches!(no_json, DailyError::Server { .. }));
}

#[test]
fn retry_after_is_read_in_both_forms_and_bounded() {
    let of = |retry_after: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_str(retry_after).unwrap());
        headers.insert("date", HeaderValue::from_static("Mon, 02 Mar 2026 09:00:00 GMT"));
        DailyError::of(StatusCode::TOO_MANY_REQUESTS, &headers, b"").retry_after()
    };

    assert_eq!(of("7"), Some(Duration::from_secs(7)));
    assert_eq!(of("Mon, 02 Mar 2026 09:00:30 GMT"), Some(Duration::from_secs(30)));
    assert_eq!(of("86400"), Some(Duration::from_mins(15)));
    assert_eq!(of("soon"), None);
}

#[test]
fn a_key_never_goes_in_the_clear_over_a_network() {
    for fine in ["https://api.daily.co/v1", "https://api.daily.co/v1/", "http://127.0.0.1:8099/v1"] {
        assert!(DailyApi::new(fine).is_ok(), "{fine}");
    }
    for wrong in
        ["http://api.daily.co/v1", "ftp://x", "daily", "https://u:p@api.daily.co/v1", "https://x/?a=b"]
    {
        assert!(matches!(DailyApi::new(wrong), Err(DailyApiError::Url)), "{wrong}");
    }
}
