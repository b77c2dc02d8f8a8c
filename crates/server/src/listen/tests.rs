use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::forward::Forwarded;
use super::pull::Message;
use super::*;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A message of long ago, signed as Standard Webhooks says.
fn message() -> Message {
    serde_json::from_value(json!({
        "id": "00000000-0000-0000-0000-000000000007",
        "event": "form.signed",
        "sequence": 42,
        "recorded_at": "2026-03-02T09:30:00.000000Z",
        "headers": { "webhook-id": "msg", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA" },
        "body": "{\"event\":\"form.signed\"}",
    }))
    .unwrap()
}

#[test]
fn without_a_secret_nothing_is_said_to_be_verified() {
    let secrets = [Webhook::new(SECRET).unwrap(), Webhook::new(OTHER).unwrap()];

    assert_eq!(Signature::of(&message(), &[]), Signature::NotChecked);
    assert_eq!(Signature::of(&message(), &secrets), Signature::Refused);
    assert_eq!(message().headers.len(), 3);
    let missing = Message { headers: HeaderMap::new(), ..message() };
    assert_eq!(Signature::of(&missing, &secrets), Signature::Refused);
}

#[test]
fn a_report_tells_people_and_programs_the_same() {
    let message = message();
    let forwarded = Some(Forwarded { outcome: Ok(StatusCode::NO_CONTENT), milliseconds: 3 });
    let report = Report { message: &message, signature: Signature::Refused, forwarded };

    let line = "2026-03-02T09:30:00.000000Z  form.signed                  \
                00000000-0000-0000-0000-000000000007  #42     SIGNATURE REFUSED  -> 204 in 3 ms";
    assert_eq!(report.line(), line);
    let told: Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(told["forward"], json!({ "status": 204, "ms": 3 }));
    assert_eq!((&told["signature"], &told["message"]["event"]), (&json!("refused"), &json!("form.signed")));

    let mut summary = Summary::default();
    summary.add(&report);
    assert_eq!(summary.to_string(), "1 messages, 0 verified, 1 refused; 1 handed on, 1 of them accepted");
}
