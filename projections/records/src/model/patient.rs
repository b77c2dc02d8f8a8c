//! How events change the rows of a patient and of what the patient agreed to.

use carelog_domain::legal_hold::LegalHoldEvent;
use carelog_domain::patient::{
    ConsentKind, PatientConsentGiven, PatientConsentWithdrawn, PatientEvent, PatientRegistered,
};
use carelog_domain::{LegalHoldId, OrganizationId, PatientId, Timestamp, closed_enum};
use carelog_event_log::RecordedEvent;

use super::row::{FoldError, SealedColumns, Stamp, absent, existing, replace_personal};

closed_enum! {
    /// How far a patient has come.
    pub enum PatientStatus {
        /// Known to the clinic.
        Registered = "registered",
        /// Can be treated.
        Onboarded = "onboarded",
        /// To be forgotten; the keys may be destroyed already.
        Erasing = "erasing",
        /// Forgotten by every projection.
        Erased = "erased",
    }
}

/// A patient as they stand now. The personal part is a
/// [`PatientDetails`](carelog_domain::patient::PatientDetails).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The patient.
    pub patient_id: PatientId,
    /// How far they have come.
    pub status: PatientStatus,
    /// The year alone, for statistics by age.
    pub birth_year: Option<u16>,
    /// When they finished joining.
    pub onboarded_at: Option<Timestamp>,
    /// When their keys were destroyed.
    pub erased_at: Option<Timestamp>,
    /// The legal holds in force, in the order in which they were placed.
    pub legal_holds: Vec<LegalHoldId>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed details.
    pub personal: Option<SealedColumns>,
}

impl PatientRecord {
    pub(super) fn apply(
        row: Option<Self>,
        event: &PatientEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        if let PatientEvent::Registered(registered) = event {
            absent(row.as_ref(), recorded)?;
            return Ok(Self::register(registered, recorded));
        }
        let mut row = existing(row, recorded)?;
        row.change(event, recorded.occurred_at);
        row.stamp.touch(recorded);
        // Other events have personal parts of their own.
        if row.erased_at.is_none() && matches!(event, PatientEvent::DetailsChanged(_)) {
            replace_personal(&mut row.personal, recorded);
        }
        Ok(row)
    }

    /// The stamp stays: it is of the patient's own stream, and shown to the patient.
    pub(super) fn hold(
        row: Option<Self>,
        event: &LegalHoldEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        let mut row = existing(row, recorded)?;
        match event {
            LegalHoldEvent::Placed(placed) => row.legal_holds.push(placed.legal_hold_id),
            LegalHoldEvent::Released(released) => {
                row.legal_holds.retain(|id| *id != released.legal_hold_id);
            }
        }
        Ok(row)
    }

    fn register(registered: &PatientRegistered, recorded: &RecordedEvent) -> Self {
        Self {
            organization_id: recorded.stream.organization_id,
            patient_id: PatientId::new(recorded.stream.id),
            status: PatientStatus::Registered,
            birth_year: registered.birth_year,
            onboarded_at: None,
            erased_at: None,
            legal_holds: Vec::new(),
            stamp: Stamp::new(recorded),
            personal: SealedColumns::of(recorded),
        }
    }

    fn change(&mut self, event: &PatientEvent, at: Timestamp) {
        match event {
            // The first made a new row above; a new personal part is taken over there, and consents have rows
            // of their own.
            PatientEvent::Registered(_)
            | PatientEvent::DetailsChanged(_)
            | PatientEvent::ConsentGiven(_)
            | PatientEvent::ConsentWithdrawn(_)
            | PatientEvent::AccountingSuspended(_)
            | PatientEvent::AccountingResumed(_) => {}
            PatientEvent::Onboarded(_) => {
                self.status = PatientStatus::Onboarded;
                self.onboarded_at = Some(at);
            }
            PatientEvent::LegalHoldPlaced(placed) => self.legal_holds.push(placed.legal_hold_id),
            PatientEvent::LegalHoldReleased(released) => {
                self.legal_holds.retain(|id| *id != released.legal_hold_id);
            }
            PatientEvent::ErasureRequested(_) => self.status = PatientStatus::Erasing,
            PatientEvent::KeysDestroyed(_) => self.erase(PatientStatus::Erasing, at),
            PatientEvent::Erased(_) => self.erase(PatientStatus::Erased, at),
        }
    }

    /// Nobody can open the sealed details any more, so there is no reason to keep them.
    fn erase(&mut self, status: PatientStatus, at: Timestamp) {
        self.status = status;
        self.erased_at = self.erased_at.or(Some(at));
        self.personal = None;
    }
}

/// What a patient agreed to, and whether it still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The patient.
    pub patient_id: PatientId,
    /// To what.
    pub consent: ConsentKind,
    /// Which version of the consent's text.
    pub consent_version: u16,
    /// When it was given last.
    pub given_at: Timestamp,
    /// When it was taken back; nothing while it is in force.
    pub withdrawn_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
}

impl ConsentRecord {
    pub(super) fn give(row: Option<Self>, given: &PatientConsentGiven, recorded: &RecordedEvent) -> Self {
        let mut stamp = row.map_or_else(|| Stamp::new(recorded), |row| row.stamp);
        stamp.touch(recorded);
        Self {
            organization_id: recorded.stream.organization_id,
            patient_id: PatientId::new(recorded.stream.id),
            consent: given.consent,
            consent_version: given.version,
            given_at: recorded.occurred_at,
            withdrawn_at: None,
            stamp,
        }
    }

    pub(super) fn withdraw(
        row: Option<Self>,
        _: &PatientConsentWithdrawn,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        let mut row = existing(row, recorded)?;
        row.withdrawn_at = Some(recorded.occurred_at);
        row.stamp.touch(recorded);
        Ok(row)
    }
}
