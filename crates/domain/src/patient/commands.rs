//! What can be asked of a patient's record, and how it refuses.

use super::events::{ConsentKind, ErasureGround, LegalHoldReason, PatientDetails};
use super::{ErasureStep, SuspendAccounting};
use crate::aggregate::rejections;
use crate::ids::SuspensionId;
use crate::{LegalHoldId, Timestamp};

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
    /// Give the patient no account of disclosures to an agency for a time.
    SuspendAccounting(SuspendAccounting),
    /// Give the patient the whole account again before that time is over.
    ResumeAccounting {
        /// Which suspension ends.
        suspension_id: SuspensionId,
        /// When this is asked.
        now: Timestamp,
    },
    /// Have the patient's data kept.
    PlaceLegalHold {
        /// Tells it from other holds of the patient.
        legal_hold_id: LegalHoldId,
        /// Why.
        reason: LegalHoldReason,
    },
    /// Let the patient's data go, as far as this hold is concerned.
    ReleaseLegalHold {
        /// Which hold.
        legal_hold_id: LegalHoldId,
    },
    /// Begin to erase the patient.
    RequestErasure {
        /// Why.
        ground: ErasureGround,
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
        LegalHoldAlreadyPlaced = Conflict "legal_hold_already_placed", "such a hold is already in force";
        LegalHoldNotPlaced = NotFound "legal_hold_not_placed", "no such hold is in force";
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
