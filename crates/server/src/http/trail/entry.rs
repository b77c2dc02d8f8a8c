//! An entry of the trail, as it is shown.

use std::fmt;

use carelog_audit::{Action, Consent, Entry, LegalBasis, Outcome};
use carelog_domain::patient::ConsentKind;
use carelog_domain::{
    Actor, EventId, EventType, Origin, PatientId, PurposeOfUse, RequestId, StreamKind, Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::schemas;

/// An entry of the trail.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    /// Its gapless place among the organization's events.
    pub(super) sequence: i64,
    /// The event that it is about.
    pub(super) event_id: Uuid,
    /// The event's type.
    #[schema(schema_with = schemas::event_type)]
    pub(super) event: EventType,
    /// What was done.
    #[schema(schema_with = schemas::action)]
    pub(super) action: Action,
    /// Whether it was done.
    #[schema(schema_with = schemas::outcome)]
    pub(super) outcome: Outcome,
    /// To what kind of record.
    #[schema(schema_with = schemas::stream_kind)]
    pub(super) target_kind: StreamKind,
    /// To which record; nothing where it was a list.
    pub(super) target_id: Option<Uuid>,
    /// About whom.
    pub(super) patient_id: Option<Uuid>,
    /// By whom.
    #[schema(value_type = Object)]
    pub(super) actor: Actor,
    /// Why, where it was said.
    #[schema(value_type = Option<String>)]
    pub(super) purpose: Option<PurposeOfUse>,
    /// Which point of GDPR Article 6(1) it rests on by default: it follows from the event's type and the purpose, and your
    /// record of processing may say otherwise.
    #[schema(schema_with = schemas::legal_basis)]
    pub(super) legal_basis: LegalBasis,
    /// What the patient had agreed to when it happened; empty where it is about nobody.
    pub(super) consents: Vec<ConsentInForceView>,
    /// When it happened.
    #[schema(schema_with = schemas::moment)]
    pub(super) occurred_at: Timestamp,
    /// When it was written to the log.
    #[schema(schema_with = schemas::moment)]
    pub(super) recorded_at: Timestamp,
    /// Ties together what one wish led to.
    pub(super) correlation_id: Uuid,
    /// The event that caused it.
    pub(super) causation_id: Option<Uuid>,
    /// The HTTP request, where there was one.
    pub(super) request_id: Option<Uuid>,
    /// The session of the console in which it was asked for.
    pub(super) session_id: Option<Uuid>,
    /// Live or imported.
    #[schema(value_type = String)]
    pub(super) origin: Origin,
}

/// A consent in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsentInForceView {
    /// To what.
    #[schema(schema_with = schemas::consent_kind)]
    pub(super) consent: ConsentKind,
    /// The version of its text.
    pub(super) version: u16,
}

impl From<Consent> for ConsentInForceView {
    fn from(consent: Consent) -> Self {
        Self { consent: consent.kind, version: consent.version }
    }
}

impl fmt::Display for ConsentInForceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.consent, self.version)
    }
}

impl EntryView {
    /// The consents in force in one cell, as kind and version.
    pub(super) fn consents_told(&self) -> String {
        let each: Vec<String> = self.consents.iter().map(ConsentInForceView::to_string).collect();
        each.join(" ")
    }
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let circumstances = entry.circumstances;
        Self {
            sequence: entry.sequence,
            event_id: entry.event_id.uuid(),
            event: entry.event_type,
            action: entry.action,
            outcome: entry.outcome,
            target_kind: entry.target_kind,
            target_id: entry.target_id,
            patient_id: entry.subject_id.map(PatientId::uuid),
            actor: circumstances.actor,
            purpose: circumstances.purpose,
            legal_basis: entry.legal_basis,
            consents: entry.consents.into_iter().map(ConsentInForceView::from).collect(),
            occurred_at: entry.occurred_at,
            recorded_at: entry.recorded_at,
            correlation_id: circumstances.correlation_id.uuid(),
            causation_id: circumstances.causation_id.map(EventId::uuid),
            request_id: circumstances.request_id.map(RequestId::uuid),
            session_id: entry.session_id,
            origin: circumstances.origin,
        }
    }
}
