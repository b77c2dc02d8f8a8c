//! R5 (5.0.0).

use carelog_audit::Outcome;
use serde_json::{Value, json};

use super::super::EntryView;
use super::pattern::Pattern;
use super::{Version, absent, agents, concept, identifier, observer, particulars, patient, purpose, target};

const SEVERITIES: &str = "http://hl7.org/fhir/issue-severity";
const OBJECT_ROLES: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const SOURCE_TYPES: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const PARTICULARS: &str = "urn:carelog:audit-detail";

pub(super) fn audit_event(entry: &EntryView, origin: &str) -> Value {
    let pattern = Pattern::of(entry);
    let (kind_system, kind) = pattern.kind();
    let (interaction_system, interaction) = pattern.interaction(entry);
    let outcome = match entry.outcome {
        Outcome::Success => "success",
        Outcome::Failure => "error",
    };
    json!({
        "resourceType": "AuditEvent",
        "id": entry.event_id,
        "category": [concept(kind_system, kind)],
        "code": concept(interaction_system, interaction),
        "action": pattern.letter(entry.action),
        "occurredDateTime": entry.occurred_at,
        "recorded": entry.recorded_at,
        "outcome": { "code": super::coding(SEVERITIES, outcome) },
        "authorization": purpose(entry).map(|purpose| vec![purpose]),
        "patient": patient(entry),
        "agent": agents(entry, pattern, origin, Version::R5),
        "source": { "observer": observer(origin), "type": [concept(SOURCE_TYPES, "4")] },
        "entity": entities(entry, pattern, origin),
    })
}

fn entities(entry: &EntryView, pattern: Pattern, origin: &str) -> Vec<Value> {
    let data = match pattern {
        // The trail does not keep what was searched for.
        Pattern::Query => Some(json!({ "role": concept(OBJECT_ROLES, "24"), "_query": absent("unknown") })),
        Pattern::Create
        | Pattern::Read
        | Pattern::Update
        | Pattern::Delete
        | Pattern::Operation
        | Pattern::Disclosure
        | Pattern::Activity => {
            target(entry).map(|what| json!({ "role": concept(OBJECT_ROLES, "4"), "what": what }))
        }
    };
    let mut details = particulars(entry, origin);
    details.extend(entry.request_id.map(|id| ("request-id", id.to_string())));
    let details: Vec<Value> = details
        .into_iter()
        .map(|(name, value)| json!({ "type": concept(PARTICULARS, name), "valueString": value }))
        .collect();
    let event = json!({ "what": { "identifier": identifier(entry.event_id) }, "detail": details });
    data.into_iter().chain([event]).collect()
}
