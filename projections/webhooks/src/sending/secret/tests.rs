use super::*;

#[test]
fn a_random_secret_is_read_back_from_its_text() {
    let secret = WebhookSecret::from_random([7; 32]);
    let again = WebhookSecret::parse(&secret.reveal()).unwrap();
    assert_eq!(again.reveal_bytes(), [7; 32]);
    assert!(secret.reveal().starts_with("whsec_"));
}

#[test]
fn a_text_without_the_prefix_is_refused() {
    assert_eq!(
        WebhookSecret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap_err(),
        SecretError::MissingPrefix
    );
}

#[test]
fn other_alphabets_missing_padding_and_blanks_are_refused() {
    for encoded in
        ["__--_-_-_-_-_-_-_-_-_-_-_-_-_-_-", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", " AAAA", "AAAA\n"]
    {
        let text = format!("whsec_{encoded}");
        assert_eq!(WebhookSecret::parse(&text).unwrap_err(), SecretError::InvalidBase64, "{encoded:?}");
    }
}

#[test]
fn only_24_to_64_bytes_are_a_secret() {
    for bytes in [0, 23, 65, 1000] {
        assert_eq!(
            WebhookSecret::from_bytes(vec![1; bytes]).unwrap_err(),
            SecretError::WrongLength { bytes }
        );
    }
    for bytes in [24, 32, 64] {
        assert_eq!(WebhookSecret::from_bytes(vec![1; bytes]).unwrap().reveal_bytes().len(), bytes);
    }
}

#[test]
fn debug_output_holds_nothing_of_the_secret() {
    let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    assert_eq!(format!("{secret:?}"), "WebhookSecret(redacted)");
}
