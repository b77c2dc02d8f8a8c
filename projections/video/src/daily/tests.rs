//! What needs no server: names, tokens, refusals, addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::video_notice::NoticeKind;
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

/// Body and signature were made by another implementation: Python's `hmac` and `base64`.
const NOTICE: &[u8] = br#"{"version":"1.1.0","type":"participant.joined","id":"ptcpt-join-6497","payload":{"room":"appt-000000000000000000000000000000a1"},"event_ts":1772443800.123}"#;
const NOTICE_AT: &str = "1772443800";
const NOTICE_SIGNATURE: &str = "nUpryjfxbFt+Tx6pfQ2LBV2NEfNc5oWhOc+aRTjoRno=";

fn hook_key() -> HookKey {
    HookKey::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap()))
}

#[test]
fn a_notice_is_signed_over_the_timestamp_and_the_raw_bytes() {
    let now = at("2026-03-02T09:30:00Z");
    let key = hook_key();

    assert_eq!(key.to_base64(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    assert_eq!(key.sign(NOTICE_AT, NOTICE), NOTICE_SIGNATURE);
    assert_eq!(key.verify(Some(NOTICE_AT), Some(NOTICE_SIGNATURE), NOTICE, now), Ok(()));
    // The same JSON, written in another way.
    let rewritten = [&NOTICE[..1], b" ", &NOTICE[1..]].concat();
    let refused = key.verify(Some(NOTICE_AT), Some(NOTICE_SIGNATURE), &rewritten, now);
    assert_eq!(refused, Err(HookRefusal::WrongSignature));
}

#[test]
fn the_key_of_a_webhook_follows_from_the_account() {
    let key = HookKey::of(&account("key-of-a-domain").unwrap());

    assert_eq!(key.to_base64(), "nz3Zfx1VLlHf3Nbj6TvKbglO1rkaQ33iE6WG28BMuVs=");
    assert_ne!(key.to_base64(), HookKey::of(&account("another-key").unwrap()).to_base64());
}

#[test]
fn a_notice_that_is_unsigned_forged_or_late_is_refused() {
    let key = hook_key();
    let sent = at("2026-03-02T09:30:00Z");
    let shifted = |seconds: i64| sent.saturating_add_micros(seconds * 1_000_000);
    let verify = |timestamp, signature, now| key.verify(timestamp, signature, NOTICE, now);
    let signed = Some(NOTICE_SIGNATURE);

    for (timestamp, signature) in [(None, signed), (Some(NOTICE_AT), None), (None, None)] {
        assert_eq!(verify(timestamp, signature, sent), Err(HookRefusal::Unsigned));
    }
    let hex = "9d4a6bca37f16c5b7e4f1ea97d0d8b055d8d11f35ce685a139cf9a4538e8467a";
    for wrong in ["", "no base64!", hex, &NOTICE_SIGNATURE[..40], "AAAA"] {
        assert_eq!(verify(Some(NOTICE_AT), Some(wrong), sent), Err(HookRefusal::WrongSignature), "{wrong}");
    }
    assert_eq!(verify(Some("1772443801"), signed, sent), Err(HookRefusal::WrongSignature));
    for fine in [-300, 0, 300] {
        assert_eq!(verify(Some(NOTICE_AT), signed, shifted(fine)), Ok(()), "{fine}");
    }
    for late in [-301, 301, 86_400] {
        assert_eq!(verify(Some(NOTICE_AT), signed, shifted(late)), Err(HookRefusal::OutsideWindow), "{late}");
    }
    let odd = key.sign("soon", NOTICE);
    assert_eq!(verify(Some("soon"), Some(&odd), sent), Err(HookRefusal::OutsideWindow));
}

#[test]
fn a_notice_names_its_kind_and_a_room_of_ours_or_none() {
    let read = |kind: &str, payload: Value| {
        let body =
            json!({ "version": "1", "type": kind, "id": "x", "payload": payload, "event_ts": 1_772_443_800 });
        HookNotice::read(body.to_string().as_bytes()).unwrap()
    };
    let room = "appt-000000000000000000000000000000a1";

    let notice = HookNotice::read(NOTICE).unwrap();
    assert_eq!((notice.id.as_str(), notice.kind), ("ptcpt-join-6497", NoticeKind::ParticipantJoined));
    assert_eq!((notice.room, notice.sent_at), (Some((APPOINTMENT, 1)), at("2026-03-02T09:30:00.123Z")));
    let ready = read("recording.ready-to-download", json!({ "room_name": format!("{room}-2") }));
    assert_eq!((ready.kind, ready.room), (NoticeKind::RecordingReady, Some((APPOINTMENT, 2))));
    assert_eq!(read("transcript.started", json!({})).kind, NoticeKind::Other);
    for foreign in
        ["lobby", "appt-", "appt-a1", "appt-000000000000000000000000000000A1", &format!("{room}-1")]
    {
        assert_eq!(read("meeting.started", json!({ "room": foreign })).room, None, "{foreign}");
    }
    for wrong in ["", "[]", "{}", r#"{"type":"x","id":"","payload":{},"event_ts":1}"#, r#"{"test":"test"}"#] {
        assert_eq!(HookNotice::read(wrong.as_bytes()), Err(HookRefusal::Malformed), "{wrong}");
    }
}

#[test]
fn a_stay_is_told_in_whole_seconds() {
    let session_id = Uuid::from_u128(7);
    let of = |payload: Value| HookStay::read(json!({ "payload": payload }).to_string().as_bytes());
    let joined =
        json!({ "session_id": session_id, "user_id": Uuid::from_u128(9), "joined_at": 1_772_443_800.9 });

    let stay = of(joined).unwrap();

    assert_eq!(
        (stay.session_id, stay.participant_id),
        (session_id, Some(ParticipantId::new(Uuid::from_u128(9))))
    );
    assert_eq!((stay.joined_at, stay.duration_seconds), (at("2026-03-02T09:30:00Z"), None));
    let left =
        json!({ "session_id": session_id, "user_id": "hipaa", "joined_at": 1_772_443_800, "duration": 61.7 });
    let stay = of(left).unwrap();
    assert_eq!((stay.participant_id, stay.duration_seconds), (None, Some(61)));
    for wrong in [
        json!({}),
        json!({ "session_id": "x", "joined_at": 1 }),
        json!({ "session_id": session_id, "joined_at": 1e300 }),
    ] {
        assert_eq!(of(wrong), None);
    }
}
