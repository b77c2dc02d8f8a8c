//! What can be asked of the accounting of disclosures, and how it refuses.

use super::events::{AgencyKind, AgencyStatement, StatementForm};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::ids::SuspensionId;
use crate::patient::{ErasureStep, Patient};

/// A wish about the accounting of disclosures that a patient gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountingCommand {
    /// Give the patient no account of disclosures to an agency for a time.
    Suspend {
        /// The suspension.
        wish: SuspendAccounting,
        /// What the patient's own stream tells.
        patient: Patient,
    },
    /// Give the patient the whole account again before that time is over.
    Resume {
        /// Which suspension ends.
        suspension_id: SuspensionId,
        /// When this is asked.
        now: Timestamp,
        /// What the patient's own stream tells.
        patient: Patient,
    },
}

/// A suspension to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspendAccounting {
    /// The new suspension.
    pub suspension_id: SuspensionId,
    /// What kind of agency asks for it.
    pub agency_kind: AgencyKind,
    /// How it asked.
    pub form: StatementForm,
    /// When it asked.
    pub stated_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Which agency, who, and in what words.
    pub statement: AgencyStatement,
    /// When this is asked.
    pub now: Timestamp,
}

rejections! {
    /// Why an accounting is not suspended or resumed.
    pub enum AccountingRejection {
        NotRegistered = NotFound "not_registered", "there is no such patient";
        ErasureUnderWay { step: ErasureStep } = Conflict "erasure_under_way",
            "the patient is being erased, which has come to {step}";
        SuspensionAlreadyMade { suspension_id: SuspensionId } = Conflict "suspension_already_made",
            "suspension {suspension_id} was already made";
        StatedInFuture { stated_at: Timestamp, now: Timestamp } = Invalid "stated_in_future",
            "the agency would have asked at {stated_at}, and it is {now}";
        SuspensionEndsInPast { ends_at: Timestamp, now: Timestamp } = Invalid "suspension_ends_in_past",
            "the suspension would end at {ends_at}, and it is {now}";
        OralSuspensionTooLong { ends_at: Timestamp, latest: Timestamp } = Invalid "oral_suspension_too_long",
            "the suspension would end at {ends_at}, and an oral statement holds until {latest} at most";
        SuspensionUnknown { suspension_id: SuspensionId } = NotFound "suspension_unknown",
            "there is no suspension {suspension_id}";
        SuspensionNotInForce { suspension_id: SuspensionId } = Conflict "suspension_not_in_force",
            "suspension {suspension_id} has ended";
    }
}
