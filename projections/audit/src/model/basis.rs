//! On which ground of the GDPR personal data was used. Pure.

use carelog_domain::{EventType, PurposeOfUse, closed_enum};

closed_enum! {
    /// Which point of Article 6(1) GDPR an entry rests on.
    pub enum LegalBasis {
        /// The patient agreed (point a).
        Consent = "consent",
        /// The contract under which the patient is treated (point b).
        Contract = "contract",
        /// The law asks for it (point c).
        LegalObligation = "legal_obligation",
        /// Somebody's life or health depends on it (point d).
        VitalInterests = "vital_interests",
        /// The clinic has to be run (point f).
        LegitimateInterests = "legitimate_interests",
    }
}

impl LegalBasis {
    /// The point of Article 6(1), and the one of Article 9(2) that lifts the ban on using data about health.
    pub const fn points(self) -> (char, char) {
        match self {
            Self::Consent => ('a', 'a'),
            Self::Contract => ('b', 'h'),
            Self::LegalObligation => ('c', 'h'),
            Self::VitalInterests => ('d', 'c'),
            Self::LegitimateInterests => ('f', 'h'),
        }
    }
}

/// What decides.
enum Rule {
    /// The kind of event alone.
    Always(LegalBasis),
    /// The purpose, and this where none was said.
    Otherwise(LegalBasis),
}

/// What an event rests on by default. Nobody states a legal basis with a request, so it follows from the kind of event and
/// from the purpose of use alone, always the same, and a clinic whose own record of processing (Article 30) says otherwise,
/// such as one under public law (point e), has to read it with that record at hand.
///
/// | | Article 6(1) | Article 9(2) |
/// |---|---|---|
/// | consents, erasures, refusals, questions to the trail, whatever their purpose | c: Articles 5(2), 7, 17, 32 | h |
/// | recordings, whatever their purpose | a: they need the patient's consent | a |
/// | treatment, payment | b | h |
/// | at the patient's request | c: Articles 12, 15, 20 | h |
/// | compliance | c: Articles 5(2), 32 | h |
/// | emergency | d | c |
/// | running the clinic | f | h: management of services |
/// | no purpose was said: records of patients | b | h |
/// | no purpose was said: the clinic, its staff, its partners, its figures | f | h |
///
/// Source: Regulation (EU) 2016/679, <http://data.europa.eu/eli/reg/2016/679/oj>.
pub const fn legal_basis(event_type: EventType, purpose: Option<PurposeOfUse>) -> LegalBasis {
    match (rule(event_type), purpose) {
        (Rule::Always(basis), _) | (Rule::Otherwise(basis), None) => basis,
        (Rule::Otherwise(_), Some(PurposeOfUse::Treatment | PurposeOfUse::Payment)) => LegalBasis::Contract,
        (Rule::Otherwise(_), Some(PurposeOfUse::PatientRequest | PurposeOfUse::Compliance)) => {
            LegalBasis::LegalObligation
        }
        (Rule::Otherwise(_), Some(PurposeOfUse::Emergency)) => LegalBasis::VitalInterests,
        (Rule::Otherwise(_), Some(PurposeOfUse::Operations)) => LegalBasis::LegitimateInterests,
    }
}

const fn rule(event_type: EventType) -> Rule {
    match event_type {
        EventType::PatientConsentGiven
        | EventType::PatientConsentWithdrawn
        | EventType::PatientLegalHoldPlaced
        | EventType::PatientLegalHoldReleased
        | EventType::PatientAccountingSuspended
        | EventType::PatientAccountingResumed
        | EventType::LegalHoldPlaced
        | EventType::LegalHoldReleased
        | EventType::AccountingSuspended
        | EventType::AccountingResumed
        | EventType::PatientErasureRequested
        | EventType::PatientKeysDestroyed
        | EventType::PatientErased
        | EventType::WebhookDeliveryAnswersExpunged
        | EventType::AccessTrailQueried
        | EventType::AccessDenied => Rule::Always(LegalBasis::LegalObligation),
        EventType::VideoRoomRecordingRequested
        | EventType::VideoRoomRecordingStarted
        | EventType::VideoRoomRecordingStopRequested
        | EventType::VideoRoomRecordingStopped
        | EventType::VideoRoomRecordingStored
        | EventType::VideoRoomRecordingDiscarded
        | EventType::VideoRoomRecordingFailed => Rule::Always(LegalBasis::Consent),
        EventType::PatientRegistered
        | EventType::PatientOnboarded
        | EventType::PatientDetailsChanged
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
        | EventType::FileUploadFailed
        | EventType::FileLinkIssued
        | EventType::FileDeleted
        | EventType::TreatmentPlanCreated
        | EventType::TreatmentPlanExerciseAssigned
        | EventType::TreatmentPlanExerciseCompleted
        | EventType::TreatmentPlanExerciseSkipped
        | EventType::TreatmentPlanCompleted
        | EventType::VideoRoomCreated
        | EventType::VideoRoomCreationFailed
        | EventType::VideoRoomMoved
        | EventType::VideoRoomExtended
        | EventType::VideoRoomChangeFailed
        | EventType::VideoRoomAccessGranted
        | EventType::VideoRoomAccessRevoked
        | EventType::VideoRoomParticipantJoined
        | EventType::VideoRoomParticipantLeft
        | EventType::VideoRoomQualitySampled
        | EventType::VideoRoomExpired
        | EventType::VideoNoticeReceived
        | EventType::AccessRecordViewed
        | EventType::AccessRecordExported
        | EventType::AccessDisclosureMade => Rule::Otherwise(LegalBasis::Contract),
        EventType::OrganizationPseudonymEpochBegun
        | EventType::OrganizationPseudonymKeyDestroyed
        | EventType::OrganizationRegistered
        | EventType::OrganizationSettingsChanged
        | EventType::OrganizationIntegrationConfigured
        | EventType::OrganizationIntegrationRemoved
        | EventType::OrganizationMemberAdded
        | EventType::OrganizationMemberRemoved
        | EventType::OrganizationApiKeyIssued
        | EventType::OrganizationApiKeyRevoked
        | EventType::SpecialistAdded
        | EventType::SpecialistDeactivated
        | EventType::WebhookSubscriptionCreated
        | EventType::WebhookSubscriptionChanged
        | EventType::WebhookSubscriptionSecretRotated
        | EventType::WebhookSubscriptionDisabled
        | EventType::WebhookSubscriptionEnabled
        | EventType::WebhookSubscriptionDeleted
        | EventType::WebhookSubscriptionTestRequested
        | EventType::WebhookDeliveryEmitted
        | EventType::WebhookDeliveryAttempted
        | EventType::WebhookDeliveryDelivered
        | EventType::WebhookDeliveryExhausted
        | EventType::WebhookDeliveryRedeliveryRequested
        | EventType::WebhookReplayRequested
        | EventType::WebhookReplayAdvanced
        | EventType::WebhookReplayCompleted
        | EventType::WebhookReplayCancelled
        | EventType::AccessAnalyticsQueried
        | EventType::AccessAnalyticsLinkIssued => Rule::Otherwise(LegalBasis::LegitimateInterests),
    }
}
