//! What can be asked of the legal holds on a patient's data, and how they refuse.

use super::events::LegalHoldReason;
use crate::LegalHoldId;
use crate::aggregate::rejections;
use crate::patient::{ErasureStep, Patient};

/// A wish about the legal holds on a patient's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegalHoldCommand {
    /// Have the patient's data kept.
    Place {
        /// Tells it from other holds of the patient.
        legal_hold_id: LegalHoldId,
        /// Why.
        reason: LegalHoldReason,
        /// What the patient's own stream tells.
        patient: Patient,
    },
    /// Let the patient's data go, as far as this hold is concerned.
    Release {
        /// Which hold.
        legal_hold_id: LegalHoldId,
        /// What the patient's own stream tells.
        patient: Patient,
    },
}

rejections! {
    /// Why a hold is not placed or released.
    pub enum LegalHoldRejection {
        NotRegistered = NotFound "not_registered", "there is no such patient";
        AlreadyPlaced = Conflict "legal_hold_already_placed", "such a hold is already in force";
        NotPlaced = NotFound "legal_hold_not_placed", "no such hold is in force";
        ErasureUnderWay { step: ErasureStep } = Conflict "erasure_under_way",
            "the patient is being erased, which has come to {step}";
    }
}
