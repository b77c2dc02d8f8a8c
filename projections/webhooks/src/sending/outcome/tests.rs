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
fn only_the_two_known_controls_are_read() {
    assert_eq!(DeliveryControl::parse("disable"), Some(DeliveryControl::Disable));
    assert_eq!(DeliveryControl::parse(" abort-message "), Some(DeliveryControl::AbortMessage));
    for value in ["", "Disable", "abort", "disable, abort-message"] {
        assert_eq!(DeliveryControl::parse(value), None, "{value:?}");
    }
}
