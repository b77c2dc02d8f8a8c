//! What can happen to the legal holds on a patient's data.

use crate::{LegalHoldId, closed_enum, events, facts};

closed_enum! {
    /// Why a patient's data has to be kept (GDPR Article 17(3)).
    pub enum LegalHoldReason {
        /// Legal claims are made, defended against, or expected.
        Litigation = "litigation",
        /// An authority or a court looks into something.
        Investigation = "investigation",
        /// Somebody complained of the treatment.
        Complaint = "complaint",
        /// The law says for how long it has to be kept.
        RetentionDuty = "retention_duty",
    }
}

facts! {
    /// The patient's data has to be kept until this hold is released, whoever asks for its erasure.
    pub struct LegalHoldPlaced {
        /// Tells it from other holds of the patient.
        pub legal_hold_id: LegalHoldId,
        /// Why.
        pub reason: LegalHoldReason,
    }
}

facts! {
    /// The patient's data need not be kept for this reason any more.
    pub struct LegalHoldReleased {
        /// Which hold.
        pub legal_hold_id: LegalHoldId,
    }
}

events! {
    /// What can happen to the legal holds on a patient's data.
    pub enum LegalHoldEvent in LegalHold {
        /// The patient's data has to be kept.
        Placed(LegalHoldPlaced) = LegalHoldPlaced,
        /// It need not be kept for that reason any more.
        Released(LegalHoldReleased) = LegalHoldReleased,
    }
}
