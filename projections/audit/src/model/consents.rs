//! What patients had agreed to when something happened. Pure.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use carelog_domain::patient::{ConsentKind, PatientEvent};
use carelog_domain::{CodecError, EventType, OrganizationId, PatientId, Timestamp};
use carelog_event_log::RecordedEvent;

/// A consent in force; as text its kind and version: `recording/2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consent {
    /// To what.
    pub kind: ConsentKind,
    /// The version of its text.
    pub version: u16,
}

impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.version)
    }
}

/// A text that is no consent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a kind of consent and a version")]
pub struct UnknownConsent;

impl FromStr for Consent {
    type Err = UnknownConsent;

    fn from_str(text: &str) -> Result<Self, UnknownConsent> {
        let (kind, version) = text.split_once('/').ok_or(UnknownConsent)?;
        Ok(Self {
            kind: kind.parse().map_err(|_| UnknownConsent)?,
            version: version.parse().map_err(|_| UnknownConsent)?,
        })
    }
}

/// A patient agreed to something, or took it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsentChange {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The place of the event among the clinic's.
    pub sequence: i64,
    /// The patient.
    pub subject_id: PatientId,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// To what.
    pub kind: ConsentKind,
    /// The version of its text; nothing where it was taken back.
    pub version: Option<u16>,
}

impl ConsentChange {
    /// What an event changed, if it is one of a patient's consents.
    ///
    /// # Errors
    /// When the facts of the event are not those of its type.
    pub fn of(event: &RecordedEvent) -> Result<Option<Self>, CodecError> {
        if !matches!(event.event_type, EventType::PatientConsentGiven | EventType::PatientConsentWithdrawn) {
            return Ok(None);
        }
        let (kind, version) = match event.decode_as()? {
            PatientEvent::ConsentGiven(given) => (given.consent, Some(given.version)),
            PatientEvent::ConsentWithdrawn(withdrawn) => (withdrawn.consent, None),
            PatientEvent::Registered(_)
            | PatientEvent::Onboarded(_)
            | PatientEvent::DetailsChanged(_)
            | PatientEvent::ErasureRequested(_)
            | PatientEvent::KeysDestroyed(_)
            | PatientEvent::LegalHoldPlaced(_)
            | PatientEvent::LegalHoldReleased(_)
            | PatientEvent::AccountingSuspended(_)
            | PatientEvent::AccountingResumed(_)
            | PatientEvent::Erased(_) => return Ok(None),
        };
        Ok(Some(Self {
            organization_id: event.stream.organization_id,
            sequence: event.organization_sequence,
            subject_id: PatientId::new(event.stream.id),
            occurred_at: event.occurred_at,
            kind,
            version,
        }))
    }
}

/// What is known of patients' consents at a place of the log.
#[derive(Clone, Debug, Default)]
pub struct Consents {
    /// Each patient's changes, in the order of the log.
    changes: HashMap<(OrganizationId, PatientId), Vec<ConsentChange>>,
}

impl Consents {
    /// Learns of a change. Those of a patient come in the order of the log.
    pub fn take(&mut self, change: ConsentChange) {
        self.changes.entry((change.organization_id, change.subject_id)).or_default().push(change);
    }

    /// The consents of a patient that were in force at a moment, by their kinds. One that is given or taken back at that
    /// moment is, or is not, in force already.
    pub fn in_force(
        &self,
        organization_id: OrganizationId,
        subject_id: PatientId,
        at: Timestamp,
    ) -> Vec<Consent> {
        let mut in_force = BTreeMap::new();
        let changes = self.changes.get(&(organization_id, subject_id)).into_iter().flatten();
        for change in changes.filter(|change| change.occurred_at <= at) {
            in_force.insert(change.kind, change.version);
        }
        let given = in_force.into_iter().filter_map(|(kind, version)| version.map(|version| (kind, version)));
        given.map(|(kind, version)| Consent { kind, version }).collect()
    }
}
