//! What can happen to a patient's record as such.

use crate::accounting::{AgencyKind, AgencyStatement, StatementForm};
use crate::ids::SuspensionId;
use crate::legal_hold::LegalHoldReason;
use crate::personal::personal_structs;
use crate::{LegalHoldId, Timestamp, closed_enum, events, facts};

closed_enum! {
    /// What a patient can agree to.
    pub enum ConsentKind {
        /// Being treated at a distance.
        Treatment = "treatment",
        /// Consultations being recorded.
        Recording = "recording",
        /// Records being shared with other providers.
        DataSharing = "data_sharing",
        /// Pseudonymised use in research.
        Research = "research",
    }
}

closed_enum! {
    /// Why a patient's personal data is to be erased.
    pub enum ErasureGround {
        /// The patient asked for it (GDPR Article 17).
        PatientRequest = "patient_request",
        /// The time for which it had to be kept is over.
        RetentionEnded = "retention_ended",
        /// It should not have been kept in the first place.
        NoLegalBasis = "no_legal_basis",
    }
}

personal_structs! {
    /// Who a patient is and how to reach them.
    pub struct PatientDetails {
        /// Full name.
        #[serde(default)]
        pub name: Option<String>,
        /// E-mail address.
        #[serde(default)]
        pub email: Option<String>,
        /// Telephone number.
        #[serde(default)]
        pub phone: Option<String>,
        /// ISO 8601 date.
        #[serde(default)]
        pub birth_date: Option<String>,
        /// The clinic's own number for the patient.
        #[serde(default)]
        pub external_reference: Option<String>,
    }
}

facts! {
    /// A patient became known to the clinic.
    pub struct PatientRegistered {
        /// Year of birth, the year alone; `null` where it is not known.
        pub birth_year: Option<u16>,
    }
    personal Identity: PatientDetails;
}

facts! {
    /// The patient finished joining and can be treated.
    pub struct PatientOnboarded {}
}

facts! {
    /// The details as they are from now on, all of them.
    pub struct PatientDetailsChanged {}
    personal Identity: PatientDetails;
}

facts! {
    /// The patient agreed to something.
    pub struct PatientConsentGiven {
        /// What the patient agreed to.
        pub consent: ConsentKind,
        /// The version of the consent's text, counted from 1.
        pub version: u16,
    }
}

facts! {
    /// The patient took an agreement back.
    pub struct PatientConsentWithdrawn {
        /// Which agreement was taken back.
        pub consent: ConsentKind,
    }
}

facts! {
    /// For a time the patient gets no account of disclosures to an agency.
    pub struct PatientAccountingSuspended {
        /// Which suspension.
        pub suspension_id: SuspensionId,
        /// What kind of agency asked for it.
        pub agency_kind: AgencyKind,
        /// How it asked.
        pub form: StatementForm,
        /// When it asked.
        pub stated_at: Timestamp,
        /// Until when.
        pub ends_at: Timestamp,
    }
    personal Clinical: AgencyStatement;
}

facts! {
    /// The patient gets the account of disclosures to the agency again, before the time was over.
    pub struct PatientAccountingResumed {
        /// Which suspension ended.
        pub suspension_id: SuspensionId,
    }
}

facts! {
    /// The patient's data has to be kept until this hold is released, whoever asks for its erasure.
    pub struct PatientLegalHoldPlaced {
        /// Tells it from other holds of the patient.
        pub legal_hold_id: LegalHoldId,
        /// Why.
        pub reason: LegalHoldReason,
    }
}

facts! {
    /// The patient's data need not be kept for this reason any more.
    pub struct PatientLegalHoldReleased {
        /// Which hold.
        pub legal_hold_id: LegalHoldId,
    }
}

facts! {
    /// Erasure was asked for; nothing is destroyed yet.
    pub struct PatientErasureRequested {
        /// Why.
        pub ground: ErasureGround,
    }
}

facts! {
    /// The patient's data keys were destroyed.
    pub struct PatientKeysDestroyed {
        /// How many.
        pub key_count: u16,
    }
}

facts! {
    /// Every projection confirmed the erasure.
    pub struct PatientErased {}
}

events! {
    /// What can happen to a patient's record as such.
    pub enum PatientEvent in Patient {
        /// A patient became known to the clinic.
        Registered(PatientRegistered) = PatientRegistered,
        /// The patient finished joining and can be treated.
        Onboarded(PatientOnboarded) = PatientOnboarded,
        /// Names, numbers or ways to be reached changed.
        DetailsChanged(PatientDetailsChanged) = PatientDetailsChanged,
        /// The patient agreed to something.
        ConsentGiven(PatientConsentGiven) = PatientConsentGiven,
        /// The patient took an agreement back.
        ConsentWithdrawn(PatientConsentWithdrawn) = PatientConsentWithdrawn,
        /// What an [`AccountingEvent`](crate::accounting::AccountingEvent) tells now.
        AccountingSuspended(PatientAccountingSuspended) = PatientAccountingSuspended,
        /// What an [`AccountingEvent`](crate::accounting::AccountingEvent) tells now.
        AccountingResumed(PatientAccountingResumed) = PatientAccountingResumed,
        /// What a [`LegalHoldEvent`](crate::legal_hold::LegalHoldEvent) tells now.
        LegalHoldPlaced(PatientLegalHoldPlaced) = PatientLegalHoldPlaced,
        /// What a [`LegalHoldEvent`](crate::legal_hold::LegalHoldEvent) tells now.
        LegalHoldReleased(PatientLegalHoldReleased) = PatientLegalHoldReleased,
        /// Erasure was asked for.
        ErasureRequested(PatientErasureRequested) = PatientErasureRequested,
        /// The patient's data keys were destroyed.
        KeysDestroyed(PatientKeysDestroyed) = PatientKeysDestroyed,
        /// Every projection confirmed the erasure.
        Erased(PatientErased) = PatientErased,
    }
}
