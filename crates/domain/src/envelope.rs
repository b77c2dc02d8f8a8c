//! What stands around every event: who, in which role, why, and as part of what.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::closed_enum;
use crate::ids::{CorrelationId, EventId, RequestId};

closed_enum! {
    /// What kind of actor caused an event.
    pub enum ActorKind {
        /// Somebody or something that presented an API key; the id is the key's.
        ApiKey = "api_key",
        /// The operator of this installation.
        Operator = "operator",
        /// Carelog itself: a worker that reports an outcome.
        System = "system",
        /// An import of history; the id is the run's.
        Import = "import",
    }
}

closed_enum! {
    /// In which role an actor acts.
    pub enum Role {
        /// Configures the organization.
        Admin = "admin",
        /// Treats patients.
        Specialist = "specialist",
        /// Answers for what was done, and proves it.
        Compliance = "compliance",
        /// An integration partner's system.
        Partner = "partner",
        /// Queries pseudonymised projections.
        Analyst = "analyst",
        /// A patient, about themselves.
        Patient = "patient",
        /// Carelog itself, or its operator.
        System = "system",
    }
}

closed_enum! {
    /// Why somebody touched a record; the codes follow HL7 v3 PurposeOfUse.
    pub enum PurposeOfUse {
        /// Treatment (TREAT).
        Treatment = "treatment",
        /// Payment (HPAYMT).
        Payment = "payment",
        /// Running the clinic (HOPERAT).
        Operations = "operations",
        /// At the patient's request (PATRQT).
        PatientRequest = "patient_request",
        /// An emergency that breaks the glass (BTG).
        Emergency = "emergency",
        /// Compliance review (HCOMPL).
        Compliance = "compliance",
    }
}

closed_enum! {
    /// Where an event came from.
    pub enum Origin {
        /// A command of now.
        Live = "live",
        /// History brought in; reactors leave it alone.
        Imported = "imported",
        /// History brought in that partners are to hear of.
        ImportedNotify = "imported_notify",
    }
}

impl Origin {
    /// Whether reactors and webhooks take notice.
    pub const fn is_announced(self) -> bool {
        match self {
            Self::Live | Self::ImportedNotify => true,
            Self::Imported => false,
        }
    }
}

/// Who caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    /// The key, run or component; nothing for the operator and for Carelog itself.
    pub id: Option<Uuid>,
    /// The role in which it acts.
    pub role: Role,
    /// Whom it stands for, where it is a delegate.
    pub on_behalf_of: Option<Uuid>,
}

impl Actor {
    /// Carelog itself.
    pub const SYSTEM: Self =
        Self { kind: ActorKind::System, id: None, role: Role::System, on_behalf_of: None };

    /// The operator of this installation.
    pub const OPERATOR: Self =
        Self { kind: ActorKind::Operator, id: None, role: Role::System, on_behalf_of: None };
}

/// The circumstances of a command, copied onto every event that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Who.
    pub actor: Actor,
    /// Why, where it matters.
    pub purpose: Option<PurposeOfUse>,
    /// Ties together everything one wish led to.
    pub correlation_id: CorrelationId,
    /// The event that caused this one.
    pub causation_id: Option<EventId>,
    /// The HTTP request, where there was one.
    pub request_id: Option<RequestId>,
    /// Live or imported.
    pub origin: Origin,
}

impl Circumstances {
    /// What somebody does now, as part of a wish, with nothing else to tell.
    pub const fn of(actor: Actor, correlation_id: CorrelationId) -> Self {
        Self {
            actor,
            purpose: None,
            correlation_id,
            causation_id: None,
            request_id: None,
            origin: Origin::Live,
        }
    }
}
