//! What can be asked of a patient's record, and how it refuses.

use super::ErasureStep;
use super::events::{ConsentKind, ErasureGround, PatientDetails};
use crate::aggregate::rejections;
use crate::legal_hold::LegalHolds;

/// A wish about a patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatientCommand {
    /// Make the patient known.
    Register {
        /// For statistics by age.
        birth_year: Option<u16>,
        /// Who it is.
        details: Option<PatientDetails>,
    },
    /// Finish joining.
    Onboard,
    /// Replace the details.
    ChangeDetails {
        /// All of them.
        details: PatientDetails,
    },
    /// Agree to something.
    GiveConsent {
        /// To what.
        consent: ConsentKind,
        /// To which version of its text.
        version: u16,
    },
    /// Take an agreement back.
    WithdrawConsent {
        /// Which one.
        consent: ConsentKind,
    },
    /// Begin to erase the patient.
    RequestErasure {
        /// Why.
        ground: ErasureGround,
        /// What the stream of holds on the patient's data tells.
        legal_holds: LegalHolds,
    },
    /// Tell that the keys are gone.
    RecordKeysDestroyed {
        /// How many there were.
        key_count: u16,
    },
    /// Tell that every projection confirmed.
    CompleteErasure,
}

rejections! {
    /// Why a patient's record refuses a command.
    pub enum PatientRejection {
        NotRegistered = NotFound "not_registered", "there is no such patient";
        AlreadyRegistered = Conflict "already_registered", "the patient is already registered";
        AlreadyOnboarded = Conflict "already_onboarded", "the patient is already onboarded";
        ConsentAlreadyGiven { consent: ConsentKind, version: u16 } = Conflict "consent_already_given",
            "consent to {consent} in version {version} is already in force";
        ConsentNotGiven { consent: ConsentKind } = Conflict "consent_not_given",
            "consent to {consent} is not in force";
        UnderLegalHold = Conflict "legal_hold", "the patient's data has to be kept: a legal hold is in force";
        ErasureUnderWay { step: ErasureStep } = Conflict "erasure_under_way",
            "the patient is being erased, which has come to {step}";
        ErasureAlreadyRequested { step: ErasureStep } = Conflict "erasure_already_requested",
            "erasure was already asked for and has come to {step}";
        ErasureNotRequested = Conflict "erasure_not_requested", "nobody asked for the patient's erasure";
        KeysAlreadyDestroyed = Conflict "keys_already_destroyed", "the patient's keys are already destroyed";
        KeysNotDestroyed = Conflict "keys_not_destroyed", "the patient's keys are not destroyed yet";
        AlreadyErased = Conflict "already_erased", "the patient is already erased";
    }
}
