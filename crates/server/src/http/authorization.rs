//! Who may call what, in one table.
//!
//! A route that has no line here is refused to everybody; a test compares the table with the router, both ways.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

use carelog_domain::Role;
use carelog_domain::organization::Scope;

use Role::{Admin, Analyst, Compliance, Partner, Patient, Specialist};

/// One route and who may call it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) allows: Allows,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allows {
    /// Whoever holds the operator's key.
    Operator,
    /// Any key of an organization.
    AnyKey,
    /// Keys with this scope, in one of these roles.
    Keys(Scope, &'static [Role]),
}

const STAFF: &[Role] = &[Admin, Specialist];
const READERS: &[Role] = &[Admin, Specialist, Compliance];
/// A patient's key reaches that patient's records only; the handlers see to it.
const STAFF_AND_PATIENT: &[Role] = &[Admin, Specialist, Patient];
const READERS_AND_PATIENT: &[Role] = &[Admin, Specialist, Compliance, Patient];
const ADMIN: &[Role] = &[Admin];
const SUBSCRIBERS: &[Role] = &[Admin, Partner];
/// Whoever looks at what was sent, and cannot change it.
const WATCHERS: &[Role] = &[Admin, Partner, Compliance];
const AUDITORS: &[Role] = &[Admin, Compliance];
const AUDITORS_AND_PATIENT: &[Role] = &[Admin, Compliance, Patient];
const ANALYSTS: &[Role] = &[Admin, Compliance, Analyst];
const FOLLOWERS: &[Role] = &[Admin, Compliance, Partner];
const READERS_OF_SETTINGS: &[Role] = &[Admin, Specialist, Compliance, Partner, Analyst];

const fn rule(method: &'static str, path: &'static str, allows: Allows) -> Rule {
    Rule { method, path, allows }
}

const fn commands(path: &'static str, roles: &'static [Role]) -> Rule {
    rule("POST", path, Allows::Keys(Scope::Commands, roles))
}

const fn reads(path: &'static str, roles: &'static [Role]) -> Rule {
    rule("GET", path, Allows::Keys(Scope::Reads, roles))
}

/// The table.
pub(super) const RULES: &[Rule] = &[
    rule("POST", "/v1/organizations", Allows::Operator),
    rule("GET", "/v1/organizations", Allows::Operator),
    rule("POST", "/v1/organizations/{organization_id}/api-keys", Allows::Operator),
    rule("GET", "/v1/me", Allows::AnyKey),
    rule("GET", "/v1/event-types", Allows::AnyKey),
    rule("GET", "/v1/event-types/{event_type}", Allows::AnyKey),
    reads("/v1/organization", READERS_OF_SETTINGS),
    rule("PUT", "/v1/organization/settings", Allows::Keys(Scope::Commands, ADMIN)),
    reads("/v1/integrations", ADMIN),
    rule("PUT", "/v1/integrations/{integration}", Allows::Keys(Scope::Commands, ADMIN)),
    rule("DELETE", "/v1/integrations/{integration}", Allows::Keys(Scope::Commands, ADMIN)),
    commands("/v1/members", ADMIN),
    reads("/v1/members", AUDITORS),
    rule("DELETE", "/v1/members/{member_id}", Allows::Keys(Scope::Commands, ADMIN)),
    rule("POST", "/v1/api-keys", Allows::Keys(Scope::Keys, ADMIN)),
    rule("GET", "/v1/api-keys", Allows::Keys(Scope::Keys, AUDITORS)),
    rule("DELETE", "/v1/api-keys/{api_key_id}", Allows::Keys(Scope::Keys, ADMIN)),
    commands("/v1/patients", STAFF),
    reads("/v1/patients", READERS),
    reads("/v1/patients/{patient_id}", READERS_AND_PATIENT),
    commands("/v1/patients/{patient_id}/onboard", STAFF),
    rule("PUT", "/v1/patients/{patient_id}/details", Allows::Keys(Scope::Commands, STAFF_AND_PATIENT)),
    commands("/v1/patients/{patient_id}/consents", STAFF_AND_PATIENT),
    rule(
        "DELETE",
        "/v1/patients/{patient_id}/consents/{consent}",
        Allows::Keys(Scope::Commands, STAFF_AND_PATIENT),
    ),
    commands("/v1/patients/{patient_id}/erasure", AUDITORS),
    commands("/v1/patients/{patient_id}/legal-holds", AUDITORS),
    rule(
        "DELETE",
        "/v1/patients/{patient_id}/legal-holds/{legal_hold_id}",
        Allows::Keys(Scope::Commands, AUDITORS),
    ),
    commands("/v1/patients/{patient_id}/disclosures", READERS),
    rule("GET", "/v1/patients/{patient_id}/disclosures", Allows::Keys(Scope::Trail, AUDITORS)),
    rule("GET", "/v1/patients/{patient_id}/webhook-deliveries", Allows::Keys(Scope::Trail, AUDITORS)),
    reads("/v1/patients/{patient_id}/accesses", AUDITORS_AND_PATIENT),
    reads("/v1/patients/{patient_id}/accounting", AUDITORS_AND_PATIENT),
    commands("/v1/patients/{patient_id}/accounting-suspensions", AUDITORS),
    commands("/v1/patients/{patient_id}/accounting-suspensions/{suspension_id}/resume", AUDITORS),
    commands("/v1/specialists", ADMIN),
    reads("/v1/specialists", READERS_AND_PATIENT),
    reads("/v1/specialists/{specialist_id}", READERS_AND_PATIENT),
    commands("/v1/specialists/{specialist_id}/deactivate", ADMIN),
    commands("/v1/appointments", STAFF_AND_PATIENT),
    reads("/v1/appointments", READERS_AND_PATIENT),
    reads("/v1/appointments/{appointment_id}", READERS_AND_PATIENT),
    commands("/v1/appointments/{appointment_id}/confirm", STAFF_AND_PATIENT),
    commands("/v1/appointments/{appointment_id}/onboard", STAFF_AND_PATIENT),
    commands("/v1/appointments/{appointment_id}/reschedule", STAFF_AND_PATIENT),
    commands("/v1/appointments/{appointment_id}/start", STAFF),
    commands("/v1/appointments/{appointment_id}/complete", STAFF),
    commands("/v1/appointments/{appointment_id}/cancel", STAFF_AND_PATIENT),
    commands("/v1/appointments/{appointment_id}/no-show", STAFF),
    reads("/v1/appointments/{appointment_id}/video-room", READERS_AND_PATIENT),
    commands("/v1/appointments/{appointment_id}/video-room/access", STAFF_AND_PATIENT),
    commands(
        "/v1/appointments/{appointment_id}/video-room/access/{participant_id}/reissue",
        STAFF_AND_PATIENT,
    ),
    commands("/v1/appointments/{appointment_id}/video-room/access/{participant_id}/revoke", STAFF),
    commands("/v1/appointments/{appointment_id}/video-room/recording/start", STAFF),
    commands("/v1/appointments/{appointment_id}/video-room/recording/stop", STAFF),
    reads("/v1/video-rooms", READERS),
    commands("/v1/forms", STAFF),
    reads("/v1/forms", READERS_AND_PATIENT),
    reads("/v1/forms/{form_id}", READERS_AND_PATIENT),
    rule("PUT", "/v1/forms/{form_id}/answers", Allows::Keys(Scope::Commands, STAFF_AND_PATIENT)),
    commands("/v1/forms/{form_id}/sign", STAFF_AND_PATIENT),
    commands("/v1/forms/{form_id}/void", STAFF),
    commands("/v1/files", STAFF_AND_PATIENT),
    reads("/v1/files", READERS_AND_PATIENT),
    reads("/v1/files/{file_id}", READERS_AND_PATIENT),
    rule("DELETE", "/v1/files/{file_id}", Allows::Keys(Scope::Commands, STAFF)),
    commands("/v1/files/{file_id}/upload-links", STAFF_AND_PATIENT),
    commands("/v1/files/{file_id}/complete", STAFF_AND_PATIENT),
    rule("POST", "/v1/files/{file_id}/download-links", Allows::Keys(Scope::Reads, READERS_AND_PATIENT)),
    commands("/v1/treatment-plans", STAFF),
    reads("/v1/treatment-plans", READERS_AND_PATIENT),
    reads("/v1/treatment-plans/{treatment_plan_id}", READERS_AND_PATIENT),
    commands("/v1/treatment-plans/{treatment_plan_id}/exercises", STAFF),
    commands("/v1/treatment-plans/{treatment_plan_id}/exercises/{assignment_id}/complete", STAFF_AND_PATIENT),
    commands("/v1/treatment-plans/{treatment_plan_id}/exercises/{assignment_id}/skip", STAFF_AND_PATIENT),
    commands("/v1/treatment-plans/{treatment_plan_id}/complete", STAFF),
    rule("POST", "/v1/webhook-subscriptions", Allows::Keys(Scope::Webhooks, SUBSCRIBERS)),
    rule("GET", "/v1/webhook-subscriptions", Allows::Keys(Scope::Webhooks, WATCHERS)),
    rule("GET", "/v1/webhook-subscriptions/{subscription_id}", Allows::Keys(Scope::Webhooks, WATCHERS)),
    rule("PATCH", "/v1/webhook-subscriptions/{subscription_id}", Allows::Keys(Scope::Webhooks, SUBSCRIBERS)),
    rule("DELETE", "/v1/webhook-subscriptions/{subscription_id}", Allows::Keys(Scope::Webhooks, SUBSCRIBERS)),
    rule(
        "POST",
        "/v1/webhook-subscriptions/{subscription_id}/enable",
        Allows::Keys(Scope::Webhooks, SUBSCRIBERS),
    ),
    rule(
        "POST",
        "/v1/webhook-subscriptions/{subscription_id}/disable",
        Allows::Keys(Scope::Webhooks, SUBSCRIBERS),
    ),
    rule(
        "POST",
        "/v1/webhook-subscriptions/{subscription_id}/rotate-secret",
        Allows::Keys(Scope::Webhooks, SUBSCRIBERS),
    ),
    rule(
        "POST",
        "/v1/webhook-subscriptions/{subscription_id}/test",
        Allows::Keys(Scope::Webhooks, SUBSCRIBERS),
    ),
    rule(
        "GET",
        "/v1/webhook-subscriptions/{subscription_id}/messages",
        Allows::Keys(Scope::Webhooks, SUBSCRIBERS),
    ),
    rule("GET", "/v1/webhook-deliveries", Allows::Keys(Scope::Webhooks, WATCHERS)),
    rule("GET", "/v1/webhook-deliveries/{delivery_id}", Allows::Keys(Scope::Webhooks, WATCHERS)),
    rule(
        "POST",
        "/v1/webhook-deliveries/{delivery_id}/redeliver",
        Allows::Keys(Scope::Webhooks, SUBSCRIBERS),
    ),
    rule(
        "GET",
        "/v1/webhook-deliveries/{delivery_id}/attempts/{number}",
        Allows::Keys(Scope::Webhooks, WATCHERS),
    ),
    commands("/v1/webhook-deliveries/{delivery_id}/expunge", AUDITORS),
    rule("POST", "/v1/webhook-replays/preview", Allows::Keys(Scope::Webhooks, SUBSCRIBERS)),
    rule("POST", "/v1/webhook-replays", Allows::Keys(Scope::Webhooks, SUBSCRIBERS)),
    rule("GET", "/v1/webhook-replays", Allows::Keys(Scope::Webhooks, WATCHERS)),
    rule("GET", "/v1/webhook-replays/{replay_id}", Allows::Keys(Scope::Webhooks, WATCHERS)),
    rule("POST", "/v1/webhook-replays/{replay_id}/cancel", Allows::Keys(Scope::Webhooks, SUBSCRIBERS)),
    rule("GET", "/v1/events", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/trail", Allows::Keys(Scope::Trail, AUDITORS)),
    rule("GET", "/v1/trail/patients", Allows::Keys(Scope::Trail, AUDITORS)),
    rule("GET", "/v1/trail/replay", Allows::Keys(Scope::Trail, AUDITORS)),
    rule("POST", "/v1/trail/exports", Allows::Keys(Scope::Trail, AUDITORS)),
    rule("GET", "/v1/trail/exports/{export_id}", Allows::Keys(Scope::Trail, AUDITORS)),
    rule("POST", "/v1/trail/exports/{export_id}/download-links", Allows::Keys(Scope::Trail, AUDITORS)),
    reads("/v1/records/{kind}/{record_id}", AUDITORS),
    reads("/v1/records/{kind}/{record_id}/versions", AUDITORS),
    reads("/v1/records/{kind}/{record_id}/changes", AUDITORS),
    rule("GET", "/v1/proofs/checkpoint", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/policy", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/tile/{path}", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/consistency", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/events/{sequence}", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/events/{sequence}/tlog-proof", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/meta/checkpoint", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/meta/tile/{path}", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/meta/consistency", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/meta/leaves", Allows::Keys(Scope::Events, FOLLOWERS)),
    rule("GET", "/v1/proofs/meta/tlog-proof", Allows::Keys(Scope::Events, FOLLOWERS)),
    reads("/v1/analytics", ANALYSTS),
    reads("/v1/analytics/{view}", ANALYSTS),
    rule("POST", "/v1/analytics/{view}/links", Allows::Keys(Scope::Reads, ANALYSTS)),
];

static BY_ROUTE: LazyLock<HashMap<(&'static str, &'static str), Allows>> =
    LazyLock::new(|| RULES.iter().map(|rule| ((rule.method, rule.path), rule.allows)).collect());

/// Who may call a route; nobody where the table has no line. The router marks a parameter that takes the whole rest
/// of a path by an asterisk, which no description of an API knows.
pub(super) fn allows(method: &str, path: &str) -> Option<Allows> {
    let by_route: &HashMap<(&str, &str), Allows> = &BY_ROUTE;
    let found = by_route.get(&(method, path)).copied();
    found.or_else(|| by_route.get(&(method, path.replace("{*", "{").as_str())).copied())
}
