//! R4 (4.0.1), by the patterns of IHE BALP.

use carelog_audit::Outcome;
use carelog_domain::EventType;
use serde_json::{Value, json};

use super::super::EntryView;
use super::pattern::Pattern;
use super::{
    Machine, absent, coding, concept, identifier, machines, observer, particulars, patient, purpose, role,
    target, user,
};

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
        "agent": agents(entry, pattern, origin),
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

fn agents(entry: &EntryView, pattern: Pattern, origin: &str) -> Vec<Value> {
    let user = user(entry).map(|who| {
        let (system, code) = pattern.participation();
        json!({
            "type": concept(system, code), "role": [role(entry)], "who": who, "requestor": true,
            "purposeOfUse": purpose(entry).map(|purpose| vec![purpose]),
        })
    });
    // Of several one is the requestor: the person, where there is one.
    let is_alone = user.is_none();
    let machines = machines(entry, pattern, origin).into_iter().enumerate();
    let agents = machines.map(|(n, Machine { code: (system, code), who, network })| {
        json!({
            "type": concept(system, code), "who": who, "requestor": is_alone && n == 0,
            "network": absent(network),
        })
    });
    agents.chain(user).collect()
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
