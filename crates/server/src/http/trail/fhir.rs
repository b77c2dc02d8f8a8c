//! Entries of the trail as FHIR AuditEvents, in R4 by the patterns of IHE BALP, and in R5.
//!
//! An AuditEvent is made of an entry alone, so it cannot say more than the trail itself: no names, no network addresses,
//! no content of records. Where a pattern wants what the trail does not have, the element stands with the extension
//! `data-absent-reason`. The policy of whoever asked names the points of the GDPR that the legal basis is made of, by the
//! terms of the W3C's Data Privacy Vocabulary, and each consent in force is a detail of the event. Records are named by
//! their kind and identifier (logical references), since Carelog serves no FHIR resources besides these. `entity` of type
//! *other* names the event and its place in the tree, by which its proof is found under `/v1/proofs/events`.
//!
//! A BALP profile is claimed for what was asked of the API and succeeded, and for disclosures. What Carelog did by
//! itself is an application activity; failures and operations have no profile there.
//!
//! Sources: <https://hl7.org/fhir/R4/auditevent.html>, <https://hl7.org/fhir/R5/auditevent.html>,
//! <https://profiles.ihe.net/ITI/BALP/>, <https://w3id.org/dpv/legal/eu/gdpr>.

mod pattern;
mod r4;
mod r5;
#[cfg(test)]
mod tests;

use carelog_domain::{ActorKind, PurposeOfUse, StreamKind};
use serde_json::{Value, json};
use uuid::Uuid;

use self::pattern::{APPLICATION, Code, DESTINATION, Pattern, SOURCE};
use super::EntryView;

/// Which FHIR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 4.0.1.
    R4,
    /// 5.0.0.
    R5,
}

/// The media type of a page, without its version.
pub(super) const PAGE: &str = "application/fhir+json";
/// The media type of an export, without its version.
pub(super) const LINES: &str = "application/fhir+ndjson";
/// The parameter of both that names the version, and its values.
pub(super) const VERSION: &str = "fhirVersion";
pub(super) const R4: &str = "4.0";
pub(super) const R5: &str = "5.0";

const IDENTIFIERS: &str = "urn:ietf:rfc:3986";
const GDPR: &str = "https://w3id.org/dpv/legal/eu/gdpr#";
const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

impl Version {
    /// The media type of a page.
    pub(super) const fn page_type(self) -> &'static str {
        match self {
            Self::R4 => "application/fhir+json; fhirVersion=4.0",
            Self::R5 => "application/fhir+json; fhirVersion=5.0",
        }
    }

    /// The media type of an export.
    pub(super) const fn lines_type(self) -> &'static str {
        match self {
            Self::R4 => "application/fhir+ndjson; fhirVersion=4.0",
            Self::R5 => "application/fhir+ndjson; fhirVersion=5.0",
        }
    }
}

/// The AuditEvent of an entry. `origin` is the name of the log whose tree has it.
pub(super) fn audit_event(entry: &EntryView, version: Version, origin: &str) -> Value {
    let event = match version {
        Version::R4 => r4::audit_event(entry, origin),
        Version::R5 => r5::audit_event(entry, origin),
    };
    without_nulls(event)
}

/// A page, as the answer to a search.
pub(super) fn bundle(events: Vec<Value>, total: Option<i64>, this: &str, next: Option<&str>) -> Value {
    let mut links = vec![json!({ "relation": "self", "url": this })];
    links.extend(next.map(|url| json!({ "relation": "next", "url": url })));
    let entries: Vec<Value> = events
        .into_iter()
        .map(|event| {
            let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
            json!({ "fullUrl": format!("urn:uuid:{id}"), "resource": event, "search": { "mode": "match" } })
        })
        .collect();
    // An empty array is none in FHIR.
    let entries = Some(entries).filter(|entries| !entries.is_empty());
    without_nulls(json!({
        "resourceType": "Bundle", "type": "searchset", "total": total, "link": links, "entry": entries,
    }))
}

/// In FHIR what is not there is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(values) => {
            Value::Array(values.into_iter().filter(|value| !value.is_null()).map(without_nulls).collect())
        }
        other => other,
    }
}

fn coding(system: &str, code: &str) -> Value {
    json!({ "system": system, "code": code })
}

fn concept(system: &str, code: &str) -> Value {
    json!({ "coding": [coding(system, code)] })
}

fn identifier(id: Uuid) -> Value {
    json!({ "system": IDENTIFIERS, "value": id.urn().to_string() })
}

/// A reference by identifier.
fn reference(resource_type: Option<&str>, id: Uuid) -> Value {
    json!({ "type": resource_type, "identifier": identifier(id) })
}

/// An element whose value is not there, and why.
fn absent(reason: &str) -> Value {
    json!({ "extension": [{ "url": ABSENT, "valueCode": reason }] })
}

/// Who recorded the event, and what of it answered.
fn observer(origin: &str) -> Value {
    json!({ "type": "Device", "identifier": { "value": origin }, "display": "Carelog" })
}

fn patient(entry: &EntryView) -> Option<Value> {
    entry.patient_id.map(|id| reference(Some("Patient"), id))
}

/// The record that it was done to.
fn target(entry: &EntryView) -> Option<Value> {
    entry.target_id.map(|id| reference(resource_type(entry.target_kind), id))
}

/// What asked: the key, the run of an import, or who needs neither.
fn client(entry: &EntryView, origin: &str) -> Value {
    match (entry.actor.kind, entry.actor.id) {
        (ActorKind::System, _) => observer(origin),
        (_, Some(id)) => json!({ "identifier": identifier(id) }),
        (kind, None) => json!({ "display": kind.as_str() }),
    }
}

/// The person for whom a key asked, where one was named. A key alone is a program: it is the client, and BALP wants no
/// user beside that (its examples call such an exchange one with no user).
fn user(entry: &EntryView) -> Option<Value> {
    let actor = &entry.actor;
    let id = actor.on_behalf_of.filter(|_| actor.kind == ActorKind::ApiKey)?;
    Some(json!({ "identifier": identifier(id) }))
}

/// Everybody and everything that took part: the machine that asked first, and the person at the end. R4 and R5 tell a
/// purpose by other names, and only R4 wants to know why the address of a machine is not there.
fn agents(entry: &EntryView, pattern: Pattern, origin: &str, version: Version) -> Vec<Value> {
    let purposes = || purpose(entry).map(|purpose| vec![purpose]);
    let (of_r4, of_r5) = match version {
        Version::R4 => (purposes(), None),
        Version::R5 => (None, purposes()),
    };
    let person = user(entry).map(|who| {
        let (system, code) = pattern.participation();
        json!({
            "type": concept(system, code), "role": [role(entry)], "who": who, "requestor": true,
            "purposeOfUse": of_r4, "authorization": of_r5, "policy": policies(entry),
        })
    });
    // Of several one is the requestor: the person, where there is one. Whoever it is has role, purpose and policy.
    let is_alone = person.is_none();
    let machines = machines(entry, pattern, origin).into_iter().enumerate();
    let machines = machines.map(|(n, ((system, code), who, network))| {
        let asks = is_alone && n == 0;
        let network = match version {
            Version::R4 => Some(absent(network)),
            Version::R5 => None,
        };
        json!({
            "type": concept(system, code), "who": who, "requestor": asks, "network": network,
            "role": asks.then(|| [role(entry)]), "policy": asks.then(|| policies(entry)),
            "purposeOfUse": of_r4.as_ref().filter(|_| asks), "authorization": of_r5.as_ref().filter(|_| asks),
        })
    });
    machines.chain(person).collect()
}

/// The machines that took part, each with its part, and why its address is not there: it is sealed, not known, or there
/// was none. The first is the one that asked.
fn machines(entry: &EntryView, pattern: Pattern, origin: &str) -> Vec<(Code<'static>, Value, &'static str)> {
    match pattern {
        Pattern::Activity => vec![(APPLICATION, observer(origin), "not-applicable")],
        Pattern::Disclosure => {
            vec![(SOURCE, observer(origin), "unknown"), (DESTINATION, absent("masked"), "unknown")]
        }
        Pattern::Create
        | Pattern::Read
        | Pattern::Query
        | Pattern::Update
        | Pattern::Delete
        | Pattern::Operation => {
            let (asks, answers) = pattern.sides();
            vec![(asks, client(entry, origin), "masked"), (answers, observer(origin), "unknown")]
        }
    }
}

/// What lets it be done: of Article 6, and of Article 9 where it is about a patient, whose data is about health.
fn policies(entry: &EntryView) -> Vec<String> {
    let (of_article_6, of_article_9) = entry.legal_basis.points();
    let mut policies = vec![format!("{GDPR}A6-1-{of_article_6}")];
    policies.extend(entry.patient_id.map(|_| format!("{GDPR}A9-2-{of_article_9}")));
    policies
}

fn role(entry: &EntryView) -> Value {
    concept("urn:carelog:role", entry.actor.role.as_str())
}

fn purpose(entry: &EntryView) -> Option<Value> {
    let code = match entry.purpose? {
        PurposeOfUse::Treatment => "TREAT",
        PurposeOfUse::Payment => "HPAYMT",
        PurposeOfUse::Operations => "HOPERAT",
        PurposeOfUse::PatientRequest => "PATRQT",
        PurposeOfUse::Emergency => "BTG",
        PurposeOfUse::Compliance => "HCOMPL",
    };
    Some(concept("http://terminology.hl7.org/CodeSystem/v3-ActReason", code))
}

/// What ties the event to the log and to other events, as pairs of name and value.
fn particulars(entry: &EntryView, origin: &str) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("event-type", entry.event.to_string()),
        ("tlog-origin", origin.to_owned()),
        ("tlog-index", (entry.sequence - 1).to_string()),
        ("correlation-id", entry.correlation_id.to_string()),
        ("data-origin", entry.origin.to_string()),
    ];
    pairs.extend(entry.causation_id.map(|id| ("causation-id", id.to_string())));
    pairs.extend(entry.consents.iter().map(|consent| ("consent-in-force", consent.to_string())));
    pairs
}

const fn resource_type(kind: StreamKind) -> Option<&'static str> {
    match kind {
        StreamKind::Organization => Some("Organization"),
        StreamKind::Patient => Some("Patient"),
        StreamKind::Specialist => Some("Practitioner"),
        StreamKind::Appointment => Some("Appointment"),
        StreamKind::Form => Some("QuestionnaireResponse"),
        StreamKind::File => Some("DocumentReference"),
        StreamKind::TreatmentPlan => Some("CarePlan"),
        StreamKind::WebhookSubscription => Some("Subscription"),
        StreamKind::LegalHold
        | StreamKind::Accounting
        | StreamKind::VideoRoom
        | StreamKind::VideoNotice
        | StreamKind::WebhookDelivery
        | StreamKind::WebhookReplay
        | StreamKind::Access => None,
    }
}
