//! The temporary suspension of a patient's right to an accounting of disclosures to an agency (45 CFR 164.528(a)(2)).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::events::{
    AgencyKind, AgencyStatement, PatientAccountingResumed, PatientAccountingSuspended, StatementForm,
};
use super::{PatientEvent, PatientRejection};
use crate::ids::SuspensionId;
use crate::{Personal, Timestamp};

/// Longest suspension after an oral statement, in days from the statement (45 CFR 164.528(a)(2)(ii)(C)).
pub const ORAL_DAYS: i64 = 30;

const MICROS_OF_A_DAY: i64 = 24 * 3_600 * 1_000_000;

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

/// The suspensions of a patient, ended or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suspensions(BTreeMap<SuspensionId, Suspension>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Suspension {
    ends_at: Timestamp,
    is_lifted: bool,
}

impl Suspensions {
    pub(super) fn suspend(&self, wish: SuspendAccounting) -> Result<PatientEvent, PatientRejection> {
        let SuspendAccounting { suspension_id, agency_kind, form, stated_at, ends_at, statement, now } = wish;
        if self.0.contains_key(&suspension_id) {
            return Err(PatientRejection::SuspensionAlreadyMade { suspension_id });
        }
        if stated_at > now {
            return Err(PatientRejection::StatedInFuture { stated_at, now });
        }
        if ends_at <= now {
            return Err(PatientRejection::SuspensionEndsInPast { ends_at, now });
        }
        let latest = stated_at.saturating_add_micros(ORAL_DAYS * MICROS_OF_A_DAY);
        match form {
            StatementForm::Oral if ends_at > latest => {
                Err(PatientRejection::OralSuspensionTooLong { ends_at, latest })
            }
            StatementForm::Oral | StatementForm::Written => {
                Ok(PatientEvent::AccountingSuspended(PatientAccountingSuspended {
                    suspension_id,
                    agency_kind,
                    form,
                    stated_at,
                    ends_at,
                    personal: Some(Personal::Open(statement)),
                }))
            }
        }
    }

    pub(super) fn resume(
        &self,
        suspension_id: SuspensionId,
        now: Timestamp,
    ) -> Result<PatientEvent, PatientRejection> {
        let suspension = self.0.get(&suspension_id);
        let suspension = suspension.ok_or(PatientRejection::SuspensionUnknown { suspension_id })?;
        if suspension.is_lifted || suspension.ends_at <= now {
            return Err(PatientRejection::SuspensionNotInForce { suspension_id });
        }
        Ok(PatientEvent::AccountingResumed(PatientAccountingResumed { suspension_id }))
    }

    pub(super) fn add(&mut self, suspended: &PatientAccountingSuspended) {
        let suspension = Suspension { ends_at: suspended.ends_at, is_lifted: false };
        self.0.insert(suspended.suspension_id, suspension);
    }

    pub(super) fn lift(&mut self, resumed: &PatientAccountingResumed) {
        if let Some(suspension) = self.0.get_mut(&resumed.suspension_id) {
            suspension.is_lifted = true;
        }
    }
}
