use super::*;

#[test]
fn the_status_decides_the_kind() {
    for (codes, kind) in [
        (&[200, 202, 204, 299][..], OutcomeKind::Success),
        (&[301, 302, 303, 307, 308], OutcomeKind::Redirect),
        (&[199, 300, 304, 400, 401, 404, 410, 415, 429, 500, 599, 999], OutcomeKind::HttpStatus),
    ] {
        for &code in codes {
            assert_eq!(kind_of_status(StatusCode::from_u16(code).unwrap()), kind, "{code}");
        }
    }
}

#[test]
fn a_body_of_any_bytes_becomes_a_storable_text_of_at_most_a_kibibyte() {
    let text = |bytes: &'static [u8]| {
        ResponseBody { prefix: Bytes::from_static(bytes), end: BodyEnd::Complete }.text()
    };
    assert_eq!(text(b"ok"), "ok");
    assert_eq!(text(b"a\0b\xffc"), "a\u{fffd}b\u{fffd}c");
    assert!(text(&[0xff; 1024]).len() <= 1024);
    assert!(text(&[0; 1024]).len() <= 1024);
}

#[test]
fn only_the_two_known_controls_are_read() {
    assert_eq!(DeliveryControl::parse("disable"), Some(DeliveryControl::Disable));
    assert_eq!(DeliveryControl::parse(" abort-message "), Some(DeliveryControl::AbortMessage));
    for value in ["", "Disable", "abort", "disable, abort-message"] {
        assert_eq!(DeliveryControl::parse(value), None, "{value:?}");
    }
}
