//! What the trail says about an event. Pure.

mod basis;
mod consents;
#[cfg(test)]
mod tests;
mod topic;

use carelog_domain::access::AccessEvent;
use carelog_domain::webhook_delivery::{AttemptOutcome, WebhookDeliveryEvent};
use carelog_domain::{
    Circumstances, CodecError, EventId, EventType, OrganizationId, PatientId, PurposeOfUse, StreamKind,
    Timestamp, closed_enum,
};
use carelog_event_log::{Lane, Position, RecordedEvent};
use uuid::Uuid;

pub use basis::{LegalBasis, legal_basis};
pub use consents::{Consent, ConsentChange, Consents, UnknownConsent};
pub use topic::Topic;

closed_enum! {
    /// What was done, as in FHIR's AuditEvent (`C`, `R`, `U`, `D`, `E`).
    pub enum Action {
        /// Something new was made.
        Create = "create",
        /// Something was looked at or handed out.
        Read = "read",
        /// Something changed.
        Update = "update",
        /// Something was taken away.
        Delete = "delete",
        /// Something was carried out.
        Execute = "execute",
    }
}

closed_enum! {
    /// Whether it was done.
    pub enum Outcome {
        /// It was.
        Success = "success",
        /// It was refused, failed, or its end is unknown.
        Failure = "failure",
    }
}

/// One entry of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// Gapless place among the clinic's events, from 1.
    pub sequence: i64,
    /// The lane.
    pub lane: Lane,
    /// Place in the lane.
    pub position: Position,
    /// The event.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it was written to the log.
    pub recorded_at: Timestamp,
    /// Who, why, and as part of what.
    pub circumstances: Circumstances,
    /// What was done.
    pub action: Action,
    /// Whether it was done.
    pub outcome: Outcome,
    /// What kind of record it was done to.
    pub target_kind: StreamKind,
    /// The record; nothing where it was a list.
    pub target_id: Option<Uuid>,
    /// The patient whom it is about.
    pub subject_id: Option<PatientId>,
    /// What it rests on by default.
    pub legal_basis: LegalBasis,
    /// What the patient had agreed to when it happened, as far as the log knew by then; sorted by kind. Empty where it is
    /// about no patient.
    pub consents: Vec<Consent>,
    /// The session of the console in which it was asked for. The event keeps it sealed, so that an entry which is made of the
    /// event alone has none.
    pub session_id: Option<Uuid>,
}

impl Entry {
    /// The entry for an event. `consents` is what the log knew before it of the patient whom it is about, and learns of
    /// what the event itself changes.
    ///
    /// # Errors
    /// When the event is one whose facts are needed, and they are not those of its type.
    pub fn of(event: &RecordedEvent, consents: &mut Consents) -> Result<Self, CodecError> {
        let (target_kind, target_id) = target(event)?;
        if let Some(change) = ConsentChange::of(event)? {
            consents.take(change);
        }
        let in_force = |subject| consents.in_force(event.stream.organization_id, subject, event.occurred_at);
        Ok(Self {
            organization_id: event.stream.organization_id,
            sequence: event.organization_sequence,
            lane: event.lane,
            position: event.position,
            event_id: event.event_id,
            event_type: event.event_type,
            occurred_at: event.occurred_at,
            recorded_at: event.recorded_at,
            circumstances: event.circumstances,
            action: action(event.event_type),
            outcome: outcome(event)?,
            target_kind,
            target_id,
            subject_id: event.subject,
            legal_basis: legal_basis(event.event_type, purpose(event)?),
            consents: event.subject.map(in_force).unwrap_or_default(),
            session_id: None,
        })
    }
}

/// What an event was for: a disclosure says so itself, since whoever writes it down does that for a purpose of their own.
fn purpose(event: &RecordedEvent) -> Result<Option<PurposeOfUse>, CodecError> {
    if event.event_type == EventType::AccessDisclosureMade
        && let AccessEvent::DisclosureMade(made) = event.decode_as()?
    {
        return Ok(Some(made.purpose));
    }
    Ok(event.circumstances.purpose)
}

/// What an event of this type did.
pub const fn action(event_type: EventType) -> Action {
    match event_type {
        EventType::OrganizationRegistered
        | EventType::OrganizationMemberAdded
        | EventType::OrganizationApiKeyIssued
        | EventType::OrganizationPseudonymEpochBegun
        | EventType::PatientRegistered
        | EventType::SpecialistAdded
        | EventType::AppointmentBooked
        | EventType::FormAssigned
        | EventType::FileUploadRequested
        | EventType::TreatmentPlanCreated
        | EventType::VideoRoomCreated
        | EventType::VideoRoomCreationFailed
        | EventType::WebhookSubscriptionCreated
        | EventType::WebhookDeliveryEmitted
        | EventType::WebhookReplayRequested
        | EventType::AccessAnalyticsLinkIssued => Action::Create,
        EventType::AccessRecordViewed
        | EventType::AccessRecordExported
        | EventType::AccessDisclosureMade
        | EventType::AccessTrailQueried
        | EventType::AccessAnalyticsQueried
        | EventType::FileLinkIssued => Action::Read,
        EventType::OrganizationSettingsChanged
        | EventType::OrganizationIntegrationConfigured
        | EventType::PatientOnboarded
        | EventType::PatientDetailsChanged
        | EventType::PatientConsentGiven
        | EventType::PatientConsentWithdrawn
        | EventType::PatientAccountingSuspended
        | EventType::PatientAccountingResumed
        | EventType::PatientLegalHoldPlaced
        | EventType::PatientLegalHoldReleased
        | EventType::LegalHoldPlaced
        | EventType::LegalHoldReleased
        | EventType::AccountingSuspended
        | EventType::AccountingResumed
        | EventType::PatientErasureRequested
        | EventType::SpecialistDeactivated
        | EventType::AppointmentConfirmed
        | EventType::AppointmentOnboarded
        | EventType::AppointmentRescheduled
        | EventType::AppointmentStarted
        | EventType::AppointmentCompleted
        | EventType::AppointmentCancelled
        | EventType::AppointmentNoShow
        | EventType::FormSaved
        | EventType::FormSigned
        | EventType::FormVoided
        | EventType::FileStored
        | EventType::FileUploadFailed
        | EventType::TreatmentPlanExerciseAssigned
        | EventType::TreatmentPlanExerciseCompleted
        | EventType::TreatmentPlanExerciseSkipped
        | EventType::TreatmentPlanCompleted
        | EventType::VideoRoomMoved
        | EventType::VideoRoomExtended
        | EventType::VideoRoomChangeFailed
        | EventType::VideoRoomRecordingFailed
        | EventType::VideoRoomParticipantJoined
        | EventType::VideoRoomParticipantLeft
        | EventType::VideoRoomQualitySampled
        | EventType::VideoRoomRecordingStarted
        | EventType::VideoRoomRecordingStored
        | EventType::VideoNoticeReceived
        | EventType::VideoRoomRecordingRequested
        | EventType::VideoRoomRecordingStopRequested
        | EventType::VideoRoomRecordingStopped
        | EventType::VideoRoomRecordingDiscarded
        | EventType::VideoRoomExpired
        | EventType::WebhookSubscriptionChanged
        | EventType::WebhookSubscriptionSecretRotated
        | EventType::WebhookSubscriptionDisabled
        | EventType::WebhookSubscriptionEnabled
        | EventType::WebhookDeliveryDelivered
        | EventType::WebhookDeliveryExhausted
        | EventType::WebhookReplayAdvanced
        | EventType::WebhookReplayCompleted
        | EventType::WebhookReplayCancelled => Action::Update,
        EventType::OrganizationIntegrationRemoved
        | EventType::OrganizationMemberRemoved
        | EventType::OrganizationApiKeyRevoked
        | EventType::OrganizationPseudonymKeyDestroyed
        | EventType::PatientKeysDestroyed
        | EventType::PatientErased
        | EventType::FileDeleted
        | EventType::WebhookSubscriptionDeleted
        | EventType::WebhookDeliveryAnswersExpunged => Action::Delete,
        EventType::WebhookDeliveryAttempted
        | EventType::WebhookDeliveryRedeliveryRequested
        | EventType::WebhookSubscriptionTestRequested
        | EventType::VideoRoomAccessGranted
        | EventType::VideoRoomAccessRevoked
        | EventType::AccessDenied => Action::Execute,
    }
}

fn outcome(event: &RecordedEvent) -> Result<Outcome, CodecError> {
    match event.event_type {
        EventType::AccessDenied
        | EventType::FileUploadFailed
        | EventType::VideoRoomCreationFailed
        | EventType::VideoRoomChangeFailed
        | EventType::VideoRoomRecordingFailed
        | EventType::WebhookDeliveryExhausted => Ok(Outcome::Failure),
        EventType::WebhookDeliveryAttempted => attempt_outcome(event),
        EventType::OrganizationRegistered
        | EventType::OrganizationSettingsChanged
        | EventType::OrganizationIntegrationConfigured
        | EventType::OrganizationIntegrationRemoved
        | EventType::OrganizationMemberAdded
        | EventType::OrganizationMemberRemoved
        | EventType::OrganizationApiKeyIssued
        | EventType::OrganizationApiKeyRevoked
        | EventType::OrganizationPseudonymEpochBegun
        | EventType::OrganizationPseudonymKeyDestroyed
        | EventType::PatientAccountingSuspended
        | EventType::PatientAccountingResumed
        | EventType::PatientRegistered
        | EventType::PatientOnboarded
        | EventType::PatientDetailsChanged
        | EventType::PatientConsentGiven
        | EventType::PatientConsentWithdrawn
        | EventType::PatientLegalHoldPlaced
        | EventType::PatientLegalHoldReleased
        | EventType::LegalHoldPlaced
        | EventType::LegalHoldReleased
        | EventType::AccountingSuspended
        | EventType::AccountingResumed
        | EventType::PatientErasureRequested
        | EventType::PatientKeysDestroyed
        | EventType::PatientErased
        | EventType::SpecialistAdded
        | EventType::SpecialistDeactivated
        | EventType::AppointmentBooked
        | EventType::AppointmentConfirmed
        | EventType::AppointmentOnboarded
        | EventType::AppointmentRescheduled
        | EventType::AppointmentStarted
        | EventType::AppointmentCompleted
        | EventType::AppointmentCancelled
        | EventType::AppointmentNoShow
        | EventType::FormAssigned
        | EventType::FormSaved
        | EventType::FormSigned
        | EventType::FormVoided
        | EventType::FileUploadRequested
        | EventType::FileStored
        | EventType::FileLinkIssued
        | EventType::FileDeleted
        | EventType::TreatmentPlanCreated
        | EventType::TreatmentPlanExerciseAssigned
        | EventType::TreatmentPlanExerciseCompleted
        | EventType::TreatmentPlanExerciseSkipped
        | EventType::TreatmentPlanCompleted
        | EventType::VideoRoomCreated
        | EventType::VideoRoomMoved
        | EventType::VideoRoomAccessGranted
        | EventType::VideoRoomAccessRevoked
        | EventType::VideoRoomExtended
        | EventType::VideoRoomParticipantJoined
        | EventType::VideoRoomParticipantLeft
        | EventType::VideoRoomQualitySampled
        | EventType::VideoRoomRecordingStarted
        | EventType::VideoRoomRecordingStored
        | EventType::VideoNoticeReceived
        | EventType::VideoRoomRecordingRequested
        | EventType::VideoRoomRecordingStopRequested
        | EventType::VideoRoomRecordingStopped
        | EventType::VideoRoomRecordingDiscarded
        | EventType::VideoRoomExpired
        | EventType::WebhookSubscriptionCreated
        | EventType::WebhookSubscriptionChanged
        | EventType::WebhookSubscriptionSecretRotated
        | EventType::WebhookSubscriptionDisabled
        | EventType::WebhookSubscriptionEnabled
        | EventType::WebhookSubscriptionDeleted
        | EventType::WebhookSubscriptionTestRequested
        | EventType::WebhookDeliveryEmitted
        | EventType::WebhookDeliveryDelivered
        | EventType::WebhookDeliveryRedeliveryRequested
        | EventType::WebhookDeliveryAnswersExpunged
        | EventType::WebhookReplayRequested
        | EventType::WebhookReplayAdvanced
        | EventType::WebhookReplayCompleted
        | EventType::WebhookReplayCancelled
        | EventType::AccessRecordViewed
        | EventType::AccessRecordExported
        | EventType::AccessDisclosureMade
        | EventType::AccessTrailQueried
        | EventType::AccessAnalyticsQueried
        | EventType::AccessAnalyticsLinkIssued => Ok(Outcome::Success),
    }
}

fn attempt_outcome(event: &RecordedEvent) -> Result<Outcome, CodecError> {
    let WebhookDeliveryEvent::Attempted(attempted) = event.decode_as()? else { return Ok(Outcome::Failure) };
    Ok(match attempted.outcome {
        AttemptOutcome::Success => Outcome::Success,
        AttemptOutcome::HttpStatus
        | AttemptOutcome::Redirect
        | AttemptOutcome::Timeout
        | AttemptOutcome::ConnectRefused
        | AttemptOutcome::ConnectFailed
        | AttemptOutcome::Reset
        | AttemptOutcome::DnsFailed
        | AttemptOutcome::BlockedUrl
        | AttemptOutcome::TlsCertificate
        | AttemptOutcome::TlsFailed
        | AttemptOutcome::InvalidResponse
        | AttemptOutcome::Unknown => Outcome::Failure,
    })
}

/// The record that it was done to: the stream itself, except where somebody looked at another.
fn target(event: &RecordedEvent) -> Result<(StreamKind, Option<Uuid>), CodecError> {
    match event.stream.kind {
        StreamKind::Organization
        | StreamKind::Patient
        | StreamKind::Specialist
        | StreamKind::Appointment
        | StreamKind::Form
        | StreamKind::File
        | StreamKind::TreatmentPlan
        | StreamKind::VideoRoom
        | StreamKind::VideoNotice
        | StreamKind::WebhookSubscription
        | StreamKind::WebhookDelivery
        | StreamKind::WebhookReplay => Ok((event.stream.kind, Some(event.stream.id))),
        // What is kept, or kept silent about, is the patient's record.
        StreamKind::LegalHold | StreamKind::Accounting => Ok((StreamKind::Patient, Some(event.stream.id))),
        StreamKind::Access => target_of_access(event),
    }
}

fn target_of_access(event: &RecordedEvent) -> Result<(StreamKind, Option<Uuid>), CodecError> {
    Ok(match event.decode_as()? {
        AccessEvent::RecordViewed(viewed) => {
            (viewed.target_kind, Some(viewed.target_id).filter(|id| !id.is_nil()))
        }
        AccessEvent::RecordExported(exported) => {
            let patient = exported.patient_id.filter(|_| exported.target_kind == StreamKind::Patient);
            (exported.target_kind, patient.map(Uuid::from))
        }
        AccessEvent::DisclosureMade(made) => (StreamKind::Patient, Some(made.patient_id.uuid())),
        AccessEvent::TrailQueried(_)
        | AccessEvent::AnalyticsQueried(_)
        | AccessEvent::AnalyticsLinkIssued(_)
        | AccessEvent::Denied(_) => (StreamKind::Access, Some(event.stream.id)),
    })
}
