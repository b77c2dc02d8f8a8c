use proptest::prelude::*;
use standardwebhooks::Webhook;

use super::*;

/// Secret, id, timestamp, body, signature: the published vectors of Standard Webhooks and its libraries.
const VECTORS: [(&str, &str, i64, &str, &str); 3] = [
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        r#"{"email":"test@example.com","username":"test_user"}"#,
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1_731_705_121,
        r#"{"event_type":"ping","data":{"success":true}}"#,
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
];

fn secret(byte: u8) -> WebhookSecret {
    WebhookSecret::from_random([byte; 32])
}

/// The key of the second vector has 18 bytes, fewer than a [`WebhookSecret`] may have, so the vectors enter
/// below that type.
#[test]
fn the_published_vectors_are_reproduced() {
    for (text, id, timestamp, body, expected) in VECTORS {
        let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = sign_with_keys([key.as_slice()].into_iter(), id, timestamp, body.as_bytes());
        assert_eq!(signed, expected, "{id}");
    }
}

#[test]
fn a_rotation_signs_with_each_secret_in_order() {
    let both = sign(&[secret(1), secret(2)], "evt", 5, b"{}");
    let one_by_one = [sign(&[secret(1)], "evt", 5, b"{}"), sign(&[secret(2)], "evt", 5, b"{}")];
    assert_eq!(both, one_by_one.join(" "));
    assert_eq!(both.capacity(), 96);
}

#[test]
fn each_part_of_the_signed_content_matters() {
    let whole = sign(&[secret(1)], "evt", 5, b"{}");
    assert_ne!(whole, sign(&[secret(2)], "evt", 5, b"{}"));
    assert_ne!(whole, sign(&[secret(1)], "evu", 5, b"{}"));
    assert_ne!(whole, sign(&[secret(1)], "evt", 6, b"{}"));
    assert_ne!(whole, sign(&[secret(1)], "evt", 5, b"{ }"));
}

proptest! {
    #[test]
    fn the_official_library_accepts_what_we_sign(
        key in prop::collection::vec(any::<u8>(), 24..=64),
        id in "[a-zA-Z0-9_-]{1,40}",
        body in any::<String>(),
        other in any::<[u8; 32]>(),
    ) {
        let secrets = [WebhookSecret::from_random(other), WebhookSecret::from_bytes(key).unwrap()];
        let now = time::UtcDateTime::now().unix_timestamp();
        let mut headers = http::HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", now.into());
        headers.insert("webhook-signature", sign(&secrets, &id, now, body.as_bytes()).parse().unwrap());

        let library = Webhook::new(&secrets[1].reveal()).unwrap();
        prop_assert!(library.verify(body.as_bytes(), &headers).is_ok());
        let tampered = format!("{body} ");
        prop_assert!(library.verify(tampered.as_bytes(), &headers).is_err());
    }
}
