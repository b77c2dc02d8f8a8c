//! Any event of the log, for code that reads streams of every kind.

#[cfg(test)]
pub(crate) mod tests;

use uuid::Uuid;

use crate::access::AccessEvent;
use crate::accounting::AccountingEvent;
use crate::appointment::AppointmentEvent;
use crate::catalogue::{EventType, StreamKind};
use crate::event::{CodecError, EncodedEvent, StreamEvent};
use crate::file::FileEvent;
use crate::form::FormEvent;
use crate::ids::PatientId;
use crate::legal_hold::LegalHoldEvent;
use crate::organization::OrganizationEvent;
use crate::patient::PatientEvent;
use crate::personal::PersonalPart;
use crate::specialist::SpecialistEvent;
use crate::treatment_plan::TreatmentPlanEvent;
use crate::upcast::{UPCASTERS, Upcaster, to_newest};
use crate::video_notice::VideoNoticeEvent;
use crate::video_room::VideoRoomEvent;
use crate::webhook_delivery::WebhookDeliveryEvent;
use crate::webhook_replay::WebhookReplayEvent;
use crate::webhook_subscription::WebhookSubscriptionEvent;

macro_rules! any_event {
    ($($kind:ident($event:ty)),+ $(,)?) => {
        /// An event of any aggregate.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event { $(#[doc = concat!("Of a stream of kind [`StreamKind::", stringify!($kind), "`].")] $kind($event)),+ }

        impl Event {
            /// Reads a stored event with a list of upcasters.
            ///
            /// # Errors
            /// When an upcaster is missing or a part does not parse.
            pub fn decode_with(
                upcasters: &[Upcaster],
                event_type: EventType,
                schema_version: u16,
                facts: &[u8],
                personal: Option<PersonalPart>,
            ) -> Result<Self, CodecError> {
                let facts = to_newest(upcasters, event_type, schema_version, facts)?;
                match event_type.stream_kind() {
                    $(StreamKind::$kind => <$event>::decode(event_type, &facts, personal).map(Self::$kind)),+
                }
            }

            /// Splits the event for storing; the facts come out as canonical JSON.
            ///
            /// # Errors
            /// When a part cannot be written as JSON.
            pub fn encode(&self) -> Result<EncodedEvent, CodecError> {
                match self { $(Self::$kind(event) => event.encode()),+ }
            }

            /// The kind of stream that it belongs to.
            pub const fn kind(&self) -> StreamKind {
                match self { $(Self::$kind(_) => StreamKind::$kind),+ }
            }

            /// Its type in the catalogue.
            pub fn event_type(&self) -> EventType {
                match self { $(Self::$kind(event) => event.catalogue_type()),+ }
            }

            fn patient_in_facts(&self) -> Option<PatientId> {
                match self { $(Self::$kind(event) => event.patient_id()),+ }
            }
        }

        $(
            impl From<$event> for Event {
                fn from(event: $event) -> Self {
                    Self::$kind(event)
                }
            }
        )+
    };
}

any_event! {
    Organization(OrganizationEvent),
    Patient(PatientEvent),
    LegalHold(LegalHoldEvent),
    Accounting(AccountingEvent),
    Specialist(SpecialistEvent),
    Appointment(AppointmentEvent),
    Form(FormEvent),
    File(FileEvent),
    TreatmentPlan(TreatmentPlanEvent),
    VideoRoom(VideoRoomEvent),
    VideoNotice(VideoNoticeEvent),
    WebhookSubscription(WebhookSubscriptionEvent),
    WebhookDelivery(WebhookDeliveryEvent),
    WebhookReplay(WebhookReplayEvent),
    Access(AccessEvent),
}

impl Event {
    /// Reads a stored event; old schema versions are lifted to the newest.
    ///
    /// # Errors
    /// When an upcaster is missing or a part does not parse.
    pub fn decode(
        event_type: EventType,
        schema_version: u16,
        facts: &[u8],
        personal: Option<PersonalPart>,
    ) -> Result<Self, CodecError> {
        Self::decode_with(UPCASTERS, event_type, schema_version, facts, personal)
    }

    /// The patient whom the event is about: the one in its facts, or the one whose stream it stands in.
    pub fn patient_id(&self, stream_id: Uuid) -> Option<PatientId> {
        match self {
            Self::Patient(_) | Self::LegalHold(_) | Self::Accounting(_) => Some(PatientId::new(stream_id)),
            Self::Organization(_)
            | Self::Specialist(_)
            | Self::Appointment(_)
            | Self::Form(_)
            | Self::File(_)
            | Self::TreatmentPlan(_)
            | Self::VideoRoom(_)
            | Self::VideoNotice(_)
            | Self::WebhookSubscription(_)
            | Self::WebhookDelivery(_)
            | Self::WebhookReplay(_)
            | Self::Access(_) => self.patient_in_facts(),
        }
    }
}
