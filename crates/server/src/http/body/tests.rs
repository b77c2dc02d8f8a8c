use carelog_domain::appointment::AppointmentMode;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[expect(dead_code, reason = "only its presence matters")]
    count: u8,
    #[expect(dead_code, reason = "only its shape matters")]
    mode: Option<AppointmentMode>,
    #[serde(default)]
    #[expect(dead_code, reason = "only its shape matters")]
    list: Vec<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    #[expect(dead_code, reason = "only its shape matters")]
    at: carelog_domain::Timestamp,
}

fn refusal(body: &str) -> (u16, &'static str, String) {
    let problem = parse::<Sample>(body.as_bytes()).unwrap_err();
    (problem.status().as_u16(), problem.code(), format!("{problem:?}"))
}

#[test]
fn what_is_no_json_is_told_apart_from_what_does_not_fit() {
    for body in ["{", "nonsense", "{\"count\": 1} trailing", "\u{1}"] {
        let (status, code, _) = refusal(body);
        assert_eq!((status, code), (400, "malformed_json"), "{body}");
    }
    for body in ["", "[]", "[1, null, []]", "null", "{\"count\": 256}", "{\"count\": 1, \"mode\": \"dance\"}"]
    {
        let (status, code, _) = refusal(body);
        assert_eq!((status, code), (422, "invalid_body"), "{body}");
    }
}

#[test]
fn a_pointer_leads_to_what_is_wrong() {
    let cases = [
        ("{}", "\"/count\""),
        ("{\"count\": 1, \"color\": 2}", "\"/color\""),
        ("{\"count\": \"x\"}", "\"/count\""),
        (
            "{\"count\": 1, \"list\": [{\"at\": \"2026-01-01T00:00:00Z\"}, {\"at\": \"noon\"}]}",
            "\"/list/1/at\"",
        ),
        ("{\"count\": 1, \"list\": [{}]}", "\"/list/0/at\""),
    ];
    for (body, pointer) in cases {
        let (_, _, text) = refusal(body);
        assert!(text.contains(pointer), "{body}: {text}");
    }
}

#[test]
fn a_refusal_never_quotes_a_value() {
    for body in [
        "{\"count\": \"Ada Lovelace\"}",
        "{\"count\": 1, \"mode\": \"Ada Lovelace\"}",
        "{\"count\": 1, \"list\": [{\"at\": \"Ada Lovelace\"}]}",
        "{\"count\": 1, \"list\": \"Ada Lovelace expected\"}",
        "{\"count\": \"I expected Ada Lovelace\", \"list\": []}",
    ] {
        let (_, _, text) = refusal(body);
        assert!(!text.contains("Ada"), "{text}");
    }
}

#[test]
fn json_goes_by_several_names() {
    let named = |name: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, name.parse().unwrap());
        is_json(&headers)
    };

    assert!(named("application/json; charset=utf-8") && named("application/merge-patch+json"));
    assert!(
        !named("text/plain") && !named("application/x-www-form-urlencoded") && !is_json(&HeaderMap::new())
    );
}
