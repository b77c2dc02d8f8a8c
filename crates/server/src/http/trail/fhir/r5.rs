//! R5 (5.0.0).

use carelog_audit::Outcome;
use serde_json::{Value, json};

use super::super::EntryView;
use super::pattern::Pattern;
use super::{
    Machine, absent, concept, identifier, machines, observer, particulars, patient, purpose, role, target,
    user,
};

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
        "agent": agents(entry, pattern, origin),
        "source": { "observer": observer(origin), "type": [concept(SOURCE_TYPES, "4")] },
        "entity": entities(entry, pattern, origin),
    })
}

fn agents(entry: &EntryView, pattern: Pattern, origin: &str) -> Vec<Value> {
    let user = user(entry).map(|who| {
        let (system, code) = pattern.participation();
        json!({
            "type": concept(system, code), "role": [role(entry)], "who": who, "requestor": true,
            "authorization": purpose(entry).map(|purpose| vec![purpose]),
        })
    });
    let is_alone = user.is_none();
    let machines = machines(entry, pattern, origin).into_iter().enumerate();
    let agents = machines.map(|(n, Machine { code: (system, code), who, .. })| {
        json!({ "type": concept(system, code), "who": who, "requestor": is_alone && n == 0 })
    });
    agents.chain(user).collect()
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
