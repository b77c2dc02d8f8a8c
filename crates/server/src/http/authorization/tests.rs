use std::collections::BTreeSet;

use super::*;
use crate::http::openapi;

#[test]
fn every_route_has_one_rule_and_every_rule_a_route() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let routes: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.starts_with("/v1/"))
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .filter(|key| ["get", "post", "put", "patch", "delete"].contains(&key.as_str()))
                .map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let rules: BTreeSet<(String, String)> =
        RULES.iter().map(|rule| (rule.method.to_owned(), rule.path.to_owned())).collect();

    assert_eq!(routes, rules);
    assert_eq!(rules.len(), RULES.len(), "a route stands twice in the table");
}

#[test]
fn analysts_and_partners_reach_no_records() {
    for rule in RULES {
        let Allows::Keys(scope, roles) = rule.allows else { continue };
        let is_about_people = [
            "/v1/patients",
            "/v1/appointments",
            "/v1/forms",
            "/v1/files",
            "/v1/specialists",
            "/v1/members",
            "/v1/records",
        ]
        .iter()
        .any(|path| rule.path.starts_with(path));
        if is_about_people {
            assert!(!roles.contains(&Analyst) && !roles.contains(&Partner), "{scope} {rule:?}");
        }
    }
}

#[test]
fn an_unknown_route_is_nobodys() {
    assert_eq!(allows("GET", "/v1/secrets"), None);
    assert_eq!(allows("PATCH", "/v1/patients"), None);
}
