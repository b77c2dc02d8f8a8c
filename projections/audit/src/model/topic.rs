//! Questions that several types of events answer together.

use carelog_domain::{EventType, StreamKind, closed_enum};

closed_enum! {
    /// What entries are about.
    pub enum Topic {
        /// Records that were looked at, exported, disclosed, or handed out by a link.
        Access = "access",
        /// What patients agreed to, and took back.
        Consent = "consent",
        /// What was erased or deleted, at whose wish, and what a legal hold keeps from it.
        Erasure = "erasure",
        /// The trail and the figures themselves: who queried or exported them, and who changed who may.
        Oversight = "oversight",
        /// Refusals, failures to deliver, and keys that were taken back.
        Denial = "denial",
    }
}

impl Topic {
    /// The types of its events.
    pub const fn event_types(self) -> &'static [EventType] {
        match self {
            Self::Access => &[
                EventType::AccessRecordViewed,
                EventType::AccessRecordExported,
                EventType::AccessDisclosureMade,
                EventType::FileLinkIssued,
                EventType::VideoRoomAccessGranted,
            ],
            Self::Consent => &[EventType::PatientConsentGiven, EventType::PatientConsentWithdrawn],
            Self::Erasure => &[
                EventType::LegalHoldPlaced,
                EventType::LegalHoldReleased,
                EventType::PatientLegalHoldPlaced,
                EventType::PatientLegalHoldReleased,
                EventType::PatientErasureRequested,
                EventType::PatientKeysDestroyed,
                EventType::PatientErased,
                EventType::FileDeleted,
                EventType::WebhookDeliveryAnswersExpunged,
            ],
            Self::Oversight => &[
                EventType::AccessTrailQueried,
                EventType::AccessRecordExported,
                EventType::AccessAnalyticsQueried,
                EventType::AccessAnalyticsLinkIssued,
                EventType::OrganizationSettingsChanged,
                EventType::OrganizationMemberAdded,
                EventType::OrganizationMemberRemoved,
                EventType::OrganizationApiKeyIssued,
                EventType::OrganizationApiKeyRevoked,
                EventType::OrganizationPseudonymEpochBegun,
                EventType::OrganizationPseudonymKeyDestroyed,
                EventType::AccountingSuspended,
                EventType::AccountingResumed,
                EventType::PatientAccountingSuspended,
                EventType::PatientAccountingResumed,
            ],
            Self::Denial => &[
                EventType::AccessDenied,
                EventType::WebhookDeliveryExhausted,
                EventType::OrganizationApiKeyRevoked,
            ],
        }
    }

    /// The only kind of records whose exports belong to it; nothing where those of any kind do.
    pub const fn exported_kind(self) -> Option<StreamKind> {
        match self {
            Self::Oversight => Some(StreamKind::Access),
            Self::Access | Self::Consent | Self::Erasure | Self::Denial => None,
        }
    }
}
