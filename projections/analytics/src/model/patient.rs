//! Facts about patients.

use carelog_domain::patient::PatientRegistered;
use carelog_domain::{OrganizationId, PatientId, closed_enum};
use carelog_vault::Pseudonym;

use super::Known;
use super::analytic::{analytic_facts, day};

closed_enum! {
    /// Ages, wide enough for nobody to be alone in one for long.
    pub enum AgeBand {
        /// Children and youths.
        Minor = "0-17",
        /// From 18.
        From18 = "18-29",
        /// From 30.
        From30 = "30-39",
        /// From 40.
        From40 = "40-49",
        /// From 50.
        From50 = "50-59",
        /// From 60.
        From60 = "60-69",
        /// From 70.
        From70 = "70-79",
        /// From 80.
        From80 = "80-89",
        /// 90 and above, together.
        From90 = "90+",
        /// The year of birth is not known.
        Unknown = "unknown",
    }
}

analytic_facts! {
    /// A patient.
    pub struct PatientFact in "patient_facts"
    at {
        /// Place of the registration.
        pub position,
    }
    says {
        /// The clinic.
        pub organization_id: OrganizationId,
        /// The patient.
        pub patient: Pseudonym,
        /// Age in the year of the registration.
        pub age_band: AgeBand,
    }
}

impl AgeBand {
    /// The band of an age in years.
    pub const fn of(age: i32) -> Self {
        match age {
            ..18 => Self::Minor,
            18..30 => Self::From18,
            30..40 => Self::From30,
            40..50 => Self::From40,
            50..60 => Self::From50,
            60..70 => Self::From60,
            70..80 => Self::From70,
            80..90 => Self::From80,
            90.. => Self::From90,
        }
    }
}

impl PatientFact {
    pub(super) fn register(
        row: Option<&Self>,
        registered: &PatientRegistered,
        known: &Known<'_>,
    ) -> Option<Self> {
        if row.is_some() {
            return None;
        }
        let year = day(known.recorded.occurred_at).year();
        let age = registered.birth_year.map(|born| year.saturating_sub(i32::from(born)));
        Some(Self {
            organization_id: known.organization_id(),
            position: known.recorded.position,
            patient: known.patient(PatientId::new(known.recorded.stream.id)),
            age_band: age.map_or(AgeBand::Unknown, AgeBand::of),
        })
    }
}
