use super::*;

#[test]
fn authorization_and_x_headers_are_taken_in_any_case() {
    let headers = ExtraHeaders::parse([("Authorization", "Bearer s3cret"), ("X-Tenant", "7")]).unwrap();
    let pairs: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(pairs, [("authorization", b"Bearer s3cret".as_slice()), ("x-tenant", b"7")]);
    assert_eq!(format!("{headers:?}"), r#"["authorization", "x-tenant"]"#);
}

#[test]
fn headers_that_steer_describe_or_sign_are_refused() {
    for name in [
        "host",
        "connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "content-type",
        "content-length",
        "cookie",
        "webhook-id",
        "webhook-signature",
        "ce-id",
        "user-agent",
        "accept-encoding",
        "",
        "x y",
        "x-\r\nhost",
    ] {
        let refused = ExtraHeaders::parse([(name, "1")]).unwrap_err();
        assert_eq!(refused, HeaderRefused::Name { name: name.to_owned() });
    }
}

#[test]
fn values_cannot_break_the_line_or_grow_without_bound() {
    let long = "a".repeat(MAX_VALUE_BYTES + 1);
    for value in ["a\r\nhost: b", "a\nb", "a\0b", long.as_str()] {
        let refused = ExtraHeaders::parse([("x-a", value)]).unwrap_err();
        assert_eq!(refused, HeaderRefused::Value { name: HeaderName::from_static("x-a") });
    }
}

#[test]
fn a_name_stands_once_and_the_set_is_small() {
    let twice = ExtraHeaders::parse([("x-a", "1"), ("X-A", "2")]).unwrap_err();
    assert_eq!(twice, HeaderRefused::Twice { name: HeaderName::from_static("x-a") });
    let names: Vec<String> = (0..=MAX_HEADERS).map(|n| format!("x-{n}")).collect();
    let many = ExtraHeaders::parse(names.iter().map(|name| (name.as_str(), "1"))).unwrap_err();
    assert_eq!(many, HeaderRefused::TooMany);
}
