//! A type for each id, so that one cannot be passed for another.

use crate::closed::ClosedValue;

/// Declares id types over a UUID. The value is random or time-ordered (version 7) and says nothing about the
/// thing it names; it is always made by the caller, because this crate draws no random values.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Takes a UUID that the caller made or read.
            pub const fn new(id: uuid::Uuid) -> Self {
                Self(id)
            }

            /// The bare UUID.
            pub const fn uuid(self) -> uuid::Uuid {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl From<uuid::Uuid> for $name {
            fn from(id: uuid::Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for uuid::Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl ClosedValue for $name {
            fn schema() -> serde_json::Value {
                uuid::Uuid::schema()
            }
        }
    )+};
}

ids! {
    /// A clinic, the tenant.
    OrganizationId;
    /// A patient, known only inside one organization.
    PatientId;
    /// A time for which a patient gets no account of disclosures to an agency.
    SuspensionId;
    /// A specialist of an organization.
    SpecialistId;
    /// A member of an organization's staff who may sign in.
    MemberId;
    /// A reason for which a patient's data has to be kept.
    LegalHoldId;
    /// An API key; the public part of `clk_<id>_<secret>`.
    ApiKeyId;
    /// An appointment.
    AppointmentId;
    /// A form that a patient fills in.
    FormId;
    /// The template that a form was made from.
    FormTemplateId;
    /// A partner of an organization: the member whom its keys act for, or its one key.
    PartnerId;
    /// A file in the object storage.
    FileId;
    /// A link to a chart of analytics; the stream of the event that tells that it was made.
    ChartLinkId;
    /// A treatment plan.
    TreatmentPlanId;
    /// An exercise of a clinic's catalogue.
    ExerciseId;
    /// One exercise in one week of a treatment plan.
    AssignmentId;
    /// A partner's webhook subscription.
    SubscriptionId;
    /// One event for one subscription.
    DeliveryId;
    /// Sending deliveries of one subscription again.
    ReplayId;
    /// Somebody in a video room, as its provider reports them; says nothing about who it is.
    ParticipantId;
    /// A recording of a consultation, as its provider names it.
    RecordingId;
    /// One event of the log.
    EventId;
    /// A data key of the vault.
    KeyId;
    /// Ties together everything that one wish of the outside led to.
    CorrelationId;
    /// One HTTP request.
    RequestId;
}
