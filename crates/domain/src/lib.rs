//! The domain of Carelog: aggregates that decide, and the events that say what was decided.
//!
//! Everything here is pure. A command and the state folded from earlier events go in, events or a rejection
//! come out; ids and moments are values that the caller brings. The crate has no I/O, reads no clock and draws
//! no random value.
//!
//! Main types: one module per aggregate ([`organization`], [`patient`], [`legal_hold`],
//! [`accounting`], [`specialist`], [`appointment`],
//! [`form`], [`treatment_plan`], [`file`], [`video_room`], [`webhook_subscription`], [`webhook_delivery`],
//! [`webhook_replay`],
//! [`access`]), the [`EventType`] catalogue,
//! [`Event`] over all of them, [`Personal`] for what could identify somebody, and [`closed::ClosedValue`] for
//! what never can.
//!
//! Guarantees: facts hold closed values only, so that nothing readable in the log can identify a person; every
//! match over events is exhaustive, so that a new event breaks the build wherever it must be considered; the
//! state of an aggregate holds no personal value, so that deciding opens no key.
//!
//! Not here: whether names, URLs and addresses are well-formed (the edge checks them on the way in), and
//! anything that spans two streams.
//!
//! Start reading at [`appointment`].

#![warn(missing_docs)]

pub mod access;
pub mod accounting;
mod aggregate;
mod any;
pub mod appointment;
mod catalogue;
pub mod closed;
mod envelope;
pub mod event;
#[cfg(test)]
mod examples;
pub mod file;
pub mod form;
mod ids;
pub mod legal_hold;
pub mod organization;
pub mod patient;
mod personal;
pub mod published;
pub mod schema;
pub mod specialist;
mod text;
mod timestamp;
pub mod treatment_plan;
pub mod upcast;
pub mod video_notice;
pub mod video_room;
pub mod webhook_delivery;
pub mod webhook_replay;
pub mod webhook_subscription;

pub use aggregate::{Rejection, RejectionKind};
pub use any::Event;
pub use catalogue::{EventType, StreamKind};
pub use envelope::{Actor, ActorKind, Circumstances, Origin, PurposeOfUse, Role};
pub use event::{CodecError, EncodedEvent, StreamEvent};
pub use ids::{
    ApiKeyId, AppointmentId, AssignmentId, ChartLinkId, CorrelationId, DeliveryId, EventId, ExerciseId,
    FileId, FormId, FormTemplateId, KeyId, LegalHoldId, MemberId, OrganizationId, ParticipantId, PartnerId,
    PatientId, RecordingId, ReplayId, RequestId, SpecialistId, SubscriptionId, SuspensionId, TreatmentPlanId,
};
pub use personal::{DataClass, KeyScope, Personal, PersonalPart, Sealed};
pub use timestamp::{Timestamp, TimestampError};
