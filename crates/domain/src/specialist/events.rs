//! What can happen to a specialist.

use crate::organization::StaffProfile;
use crate::{closed_enum, events, facts};

closed_enum! {
    /// What a specialist is trained in.
    pub enum Profession {
        /// Physiotherapy.
        Physiotherapist = "physiotherapist",
        /// Occupational therapy.
        OccupationalTherapist = "occupational_therapist",
        /// Speech and language therapy.
        SpeechTherapist = "speech_therapist",
        /// Medicine.
        Physician = "physician",
        /// Psychology.
        Psychologist = "psychologist",
        /// Nursing.
        Nurse = "nurse",
        /// Anything else.
        Other = "other",
    }
}

closed_enum! {
    /// Why a specialist stopped working here.
    pub enum DeactivationReason {
        /// For good.
        Left = "left",
        /// For a while.
        Leave = "leave",
        /// Anything else.
        Other = "other",
    }
}

facts! {
    /// A specialist joined.
    pub struct SpecialistAdded {
        /// What the specialist is trained in.
        pub profession: Profession,
    }
    personal Profile: StaffProfile;
}

facts! {
    /// A specialist stopped working here.
    pub struct SpecialistDeactivated {
        /// Why the specialist stopped.
        pub reason: DeactivationReason,
    }
}

events! {
    /// What can happen to a specialist.
    pub enum SpecialistEvent in Specialist {
        /// A specialist joined.
        Added(SpecialistAdded) = SpecialistAdded,
        /// A specialist stopped working here.
        Deactivated(SpecialistDeactivated) = SpecialistDeactivated,
    }
}
