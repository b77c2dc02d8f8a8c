//! Which parts of the console a key opens.

use carelog_domain::Role;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::authorization::{Allows, allows};

/// Where a part begins, and the route that it cannot do without.
const WEBHOOKS: Section =
    Section { home: "/console/webhooks", title: "Webhooks", route: "/v1/webhook-subscriptions" };
const ANALYTICS: Section =
    Section { home: "/console/analytics", title: "Analytics", route: "/v1/analytics/{view}" };

const TRAIL: Section = Section { home: "/console/trail", title: "Trail", route: "/v1/trail/replay" };

/// A part of the console.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) home: &'static str,
    pub(super) title: &'static str,
    route: &'static str,
}

/// Those that a key opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sections {
    webhooks: bool,
    analytics: bool,
    #[serde(default)]
    trail: bool,
}

impl Sections {
    /// Of whoever `GET /v1/me` describes.
    pub(super) fn of(me: &Value) -> Self {
        let role = me.get("role").and_then(Value::as_str).and_then(|role| role.parse::<Role>().ok());
        let scopes = me.get("scopes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let opens = |section: Section| match allows("GET", section.route) {
            Some(Allows::Keys(scope, roles)) => {
                role.is_some_and(|role| roles.contains(&role))
                    && scopes.iter().any(|own| own == scope.as_str())
            }
            Some(Allows::AnyKey) => true,
            Some(Allows::Operator) | None => false,
        };
        Self { webhooks: opens(WEBHOOKS), analytics: opens(ANALYTICS), trail: opens(TRAIL) }
    }

    /// In the order of the navigation.
    pub(super) fn opened(self) -> impl Iterator<Item = Section> {
        let all = [(self.webhooks, WEBHOOKS), (self.analytics, ANALYTICS), (self.trail, TRAIL)];
        all.into_iter().filter(|(is_open, _)| *is_open).map(|(_, section)| section)
    }

    /// Whether the trail is one of them.
    pub(super) const fn opens_trail(self) -> bool {
        self.trail
    }

    /// Where a visitor begins. Whoever may see nothing is told so there.
    pub(super) fn home(self) -> &'static str {
        self.opened().next().unwrap_or(WEBHOOKS).home
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_led_to_what_its_role_and_scopes_open() {
        let homes = |role: &str, scopes: &[&str]| {
            let sections = Sections::of(&json!({ "role": role, "scopes": scopes }));
            let titles: Vec<&str> = sections.opened().map(|section| section.title).collect();
            (sections.home(), titles.join(" "))
        };

        assert_eq!(
            homes("admin", &["reads", "webhooks"]),
            ("/console/webhooks", "Webhooks Analytics".to_owned())
        );
        assert_eq!(homes("compliance", &["trail"]), ("/console/trail", "Trail".to_owned()));
        assert_eq!(homes("analyst", &["reads"]), ("/console/analytics", "Analytics".to_owned()));
        assert_eq!(homes("partner", &["webhooks"]), ("/console/webhooks", "Webhooks".to_owned()));
        assert_eq!(homes("analyst", &["events"]), ("/console/webhooks", String::new()));
    }
}
