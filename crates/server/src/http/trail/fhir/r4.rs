//! R4 (4.0.1), by the patterns of IHE BALP.

use carelog_audit::Outcome;
use carelog_domain::EventType;
use serde_json::{Value, json};

use super::super::EntryView;
use super::pattern::Pattern;
use super::{Version, absent, agents, coding, identifier, observer, particulars, patient, purpose, target};

const ENTITY_TYPES: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLES: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const BALP_ENTITY_TYPES: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";
const SOURCE_TYPES: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";

pub(super) fn audit_event(entry: &EntryView, origin: &str) -> Value {
    let pattern = Pattern::of(entry);
    let (kind_system, kind) = pattern.kind();
    let (interaction_system, interaction) = pattern.interaction(entry);
    json!({
        "resourceType": "AuditEvent",
        "id": entry.event_id,
        "meta": pattern.profile(entry).map(|profile| json!({ "profile": [profile] })),
        "type": coding(kind_system, kind),
        "subtype": [coding(interaction_system, interaction)],
        "action": pattern.letter(entry.action),
        "period": { "start": entry.occurred_at, "end": entry.occurred_at },
        "recorded": entry.recorded_at,
        "outcome": outcome(entry),
        "purposeOfEvent": purpose(entry).map(|purpose| vec![purpose]),
        "agent": agents(entry, pattern, origin, Version::R4),
        "source": {
            "site": origin, "observer": observer(origin), "type": [coding(SOURCE_TYPES, "4")],
        },
        "entity": entities(entry, pattern, origin),
    })
}

/// 4 is the caller's error, 8 another one.
fn outcome(entry: &EntryView) -> &'static str {
    match (entry.outcome, entry.event) {
        (Outcome::Success, _) => "0",
        (Outcome::Failure, EventType::AccessDenied) => "4",
        (Outcome::Failure, _) => "8",
    }
}

fn entities(entry: &EntryView, pattern: Pattern, origin: &str) -> Vec<Value> {
    let data = match pattern {
        // The trail does not keep what was searched for.
        Pattern::Query => Some(json!({
            "type": coding(ENTITY_TYPES, "2"),
            "role": coding(OBJECT_ROLES, "24"),
            "_query": absent("unknown"),
        })),
        Pattern::Create
        | Pattern::Read
        | Pattern::Update
        | Pattern::Delete
        | Pattern::Operation
        | Pattern::Disclosure
        | Pattern::Activity => target(entry).map(|what| entity("2", "4", &what)),
    };
    let transaction = entry.request_id.map(|id| {
        let value = id.to_string();
        json!({
            "type": coding(BALP_ENTITY_TYPES, "XrequestId"), "what": { "identifier": { "value": value } },
        })
    });
    let details = particulars(entry, origin).into_iter();
    let details: Vec<Value> =
        details.map(|(name, value)| json!({ "type": name, "valueString": value })).collect();
    let event = json!({
        "type": coding(ENTITY_TYPES, "4"), "what": { "identifier": identifier(entry.event_id) },
        "detail": details,
    });
    let patient = patient(entry).map(|what| entity("1", "1", &what));
    patient.into_iter().chain(data).chain(transaction).chain([event]).collect()
}

fn entity(kind: &str, role: &str, what: &Value) -> Value {
    let (kind, role) = (coding(ENTITY_TYPES, kind), coding(OBJECT_ROLES, role));
    json!({ "type": kind, "role": role, "what": what })
}
