//! Between a domain event and its stored form: splitting, sealing and opening.

use std::sync::Arc;

use carelog_domain::{
    DataClass, EncodedEvent, EventId, EventType, KeyScope, PatientId, PersonalPart, Sealed, StreamEvent,
    StreamKind, Timestamp,
};
use carelog_vault::{KeyState, SealContext, Vault, VaultError};
use futures::future::BoxFuture;

use crate::append::NewEvent;
use crate::clock::new_id;
use crate::recorded::{RecordedEvent, SealedPart, StreamKey};

/// Why an event cannot be brought into its stored form, or its personal part opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The event cannot be written as JSON.
    #[error("the event cannot be encoded")]
    Codec(#[from] carelog_domain::CodecError),
    /// The keys cannot be reached, or do not fit.
    #[error("the personal part cannot be sealed or opened")]
    Vault(#[from] VaultError),
    /// The patient's keys were destroyed: nothing personal can be written about them any more.
    #[error("the keys of this patient were destroyed")]
    SubjectErased,
    /// A patient's personal part in an event that names no patient; a fault in the domain.
    #[error("{0} has a personal part of a patient but names none")]
    NoSubject(EventType),
}

/// The patient whom an event of this stream is about.
pub(crate) fn subject_of(stream: &StreamKey, named: Option<PatientId>) -> Option<PatientId> {
    match stream.kind {
        StreamKind::Patient | StreamKind::LegalHold | StreamKind::Accounting => {
            Some(PatientId::new(stream.id))
        }
        StreamKind::Organization
        | StreamKind::Specialist
        | StreamKind::Appointment
        | StreamKind::Form
        | StreamKind::File
        | StreamKind::TreatmentPlan
        | StreamKind::VideoRoom
        | StreamKind::VideoNotice
        | StreamKind::WebhookSubscription
        | StreamKind::WebhookDelivery
        | StreamKind::WebhookReplay
        | StreamKind::Access => named,
    }
}

/// Splits and seals the events of one command, which follow on `expected_version`.
pub(crate) async fn seal_events<E: StreamEvent>(
    vault: &Vault,
    stream: &StreamKey,
    expected_version: i64,
    occurred_at: Timestamp,
    events: &[E],
) -> Result<Vec<NewEvent>, SealError> {
    let mut sealed = Vec::with_capacity(events.len());
    for (version, event) in (expected_version + 1..).zip(events) {
        let encoded = event.encode()?;
        let event_id = EventId::new(new_id());
        let subject = subject_of(stream, encoded.patient_id);
        let personal = seal_part(vault, stream, version, event_id, subject, &encoded).await?;
        sealed.push(NewEvent {
            event_id,
            event_type: encoded.event_type,
            occurred_at,
            subject,
            facts: Arc::from(encoded.facts),
            personal,
        });
    }
    Ok(sealed)
}

fn seal_part<'a>(
    vault: &'a Vault,
    stream: &'a StreamKey,
    version: i64,
    event_id: EventId,
    subject: Option<PatientId>,
    encoded: &'a EncodedEvent,
) -> BoxFuture<'a, Result<Option<SealedPart>, SealError>> {
    Box::pin(async move {
        let Some((class, PersonalPart::Open(plaintext))) = &encoded.personal else { return Ok(None) };
        let scope = KeyScope {
            organization_id: stream.organization_id,
            subject: key_subject(*class, subject),
            class: *class,
        };
        if is_of_a_patient(*class) && scope.subject.is_none() {
            return Err(SealError::NoSubject(encoded.event_type));
        }
        let KeyState::Live(key) = vault.data_key(&scope).await? else { return Err(SealError::SubjectErased) };
        let context = SealContext {
            scope,
            stream_kind: stream.kind,
            stream_id: stream.id,
            version: version.unsigned_abs(),
            event_id,
            event_type: encoded.event_type,
            schema_version: encoded.event_type.schema_version(),
        };
        Ok(Some(SealedPart { sealed: key.seal(&context, plaintext)?, key_commit: *key.commit() }))
    })
}

const fn is_of_a_patient(class: DataClass) -> bool {
    match class {
        DataClass::Identity | DataClass::Clinical => true,
        DataClass::Network | DataClass::Credential | DataClass::Profile => false,
    }
}

fn key_subject(class: DataClass, subject: Option<PatientId>) -> Option<PatientId> {
    subject.filter(|_| is_of_a_patient(class))
}

/// Where a sealed value comes from: read models keep it beside the value, because the value opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedPlace {
    /// The stream of the event.
    pub stream: StreamKey,
    /// The event's version in the stream.
    pub version: i64,
    /// The event.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// The schema version that it was written in.
    pub schema_version: u16,
    /// The patient whom it is about.
    pub subject: Option<PatientId>,
}

impl SealedPlace {
    /// The place of an event's personal part.
    pub fn of(event: &RecordedEvent) -> Self {
        Self {
            stream: event.stream,
            version: event.version,
            event_id: event.event_id,
            event_type: event.event_type,
            schema_version: event.schema_version,
            subject: event.subject,
        }
    }

    /// Opens a sealed personal part; nothing comes back when its key was destroyed.
    ///
    /// # Errors
    /// When the keys cannot be reached, or the value was not sealed for this place.
    pub async fn open(&self, vault: &Vault, sealed: &Sealed) -> Result<Option<Vec<u8>>, VaultError> {
        match vault.key(sealed.key_id).await? {
            KeyState::Destroyed => Ok(None),
            KeyState::Live(key) => {
                let context = SealContext {
                    // The clinic is the row's, not the key's: a value moved to another clinic's row does not open.
                    scope: KeyScope { organization_id: self.stream.organization_id, ..*key.scope() },
                    stream_kind: self.stream.kind,
                    stream_id: self.stream.id,
                    version: self.version.unsigned_abs(),
                    event_id: self.event_id,
                    event_type: self.event_type,
                    schema_version: self.schema_version,
                };
                key.open(&context, sealed).map(Some)
            }
        }
    }
}
