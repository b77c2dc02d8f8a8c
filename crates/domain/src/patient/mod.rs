//! A patient of one clinic: joining, consents, holds, what accounts of disclosures leave out for a time, and being
//! forgotten.
//!
//! Erasure is a sequence of events, each of which can be repeated after a crash: the intent, the destruction of
//! the keys, the confirmation of all projections. From the intent on nothing else happens to the patient.
//!
//! A legal hold stops an erasure before it begins; several may be in force, each for a reason of its own. Once the intent
//! is recorded none can be placed: keys may be gone already.

mod accounting;
mod commands;
mod events;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use accounting::Suspensions;
pub use accounting::{ORAL_DAYS, SuspendAccounting};
pub use commands::*;
pub use events::*;

use crate::aggregate::write_all;
use crate::{LegalHoldId, Personal, StreamKind, closed_enum};

closed_enum! {
    /// How far the erasure of a patient has come.
    pub enum ErasureStep {
        /// The intent is recorded.
        Requested = "requested",
        /// The keys are gone.
        KeysDestroyed = "keys_destroyed",
        /// Every projection confirmed.
        Erased = "erased",
    }
}

/// What a patient needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patient {
    registration: Option<Registration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Registration {
    is_onboarded: bool,
    /// Consents in force and their versions.
    consents: BTreeMap<ConsentKind, u16>,
    suspensions: Suspensions,
    /// Those in force.
    legal_holds: BTreeSet<LegalHoldId>,
    erasure: Option<ErasureStep>,
}

impl Patient {
    /// The version of a consent that is in force.
    pub fn consent(&self, consent: ConsentKind) -> Option<u16> {
        self.registration.as_ref().and_then(|registration| registration.consents.get(&consent).copied())
    }

    /// Whether a legal hold is in force.
    pub fn is_held(&self) -> bool {
        self.registration.as_ref().is_some_and(|registration| !registration.legal_holds.is_empty())
    }

    /// How far erasure has come; nothing while nobody asked for it.
    pub fn erasure(&self) -> Option<ErasureStep> {
        self.registration.as_ref().and_then(|registration| registration.erasure)
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: PatientCommand) -> Result<Vec<PatientEvent>, PatientRejection> {
        let event = match (&self.registration, command) {
            (None, PatientCommand::Register { birth_year, details }) => {
                let personal = details.map(Personal::Open);
                Ok(PatientEvent::Registered(PatientRegistered { birth_year, personal }))
            }
            (None, _) => Err(PatientRejection::NotRegistered),
            (Some(_), PatientCommand::Register { .. }) => Err(PatientRejection::AlreadyRegistered),
            (Some(registration), command) => registration.decide(command),
        }?;
        Ok(vec![event])
    }
}

type Decision = Result<PatientEvent, PatientRejection>;

impl Registration {
    fn decide(&self, command: PatientCommand) -> Decision {
        match command {
            PatientCommand::Register { .. } => Err(PatientRejection::AlreadyRegistered),
            PatientCommand::RequestErasure { ground } => self.request_erasure(ground),
            PatientCommand::RecordKeysDestroyed { key_count } => self.record_keys_destroyed(key_count),
            PatientCommand::CompleteErasure => self.complete_erasure(),
            PatientCommand::Onboard => self.unless_erasing().and_then(|()| self.onboard()),
            PatientCommand::ChangeDetails { details } => self.unless_erasing().map(|()| {
                let personal = Some(Personal::Open(details));
                PatientEvent::DetailsChanged(PatientDetailsChanged { personal })
            }),
            PatientCommand::GiveConsent { consent, version } => {
                self.unless_erasing().and_then(|()| self.give_consent(consent, version))
            }
            PatientCommand::WithdrawConsent { consent } => {
                self.unless_erasing().and_then(|()| self.withdraw_consent(consent))
            }
            PatientCommand::SuspendAccounting(wish) => {
                self.unless_erasing().and_then(|()| self.suspensions.suspend(wish))
            }
            PatientCommand::ResumeAccounting { suspension_id, now } => {
                self.unless_erasing().and_then(|()| self.suspensions.resume(suspension_id, now))
            }
            PatientCommand::PlaceLegalHold { legal_hold_id, reason } => {
                self.unless_erasing().and_then(|()| self.place_legal_hold(legal_hold_id, reason))
            }
            PatientCommand::ReleaseLegalHold { legal_hold_id } => self.release_legal_hold(legal_hold_id),
        }
    }

    fn unless_erasing(&self) -> Result<(), PatientRejection> {
        match self.erasure {
            Some(step) => Err(PatientRejection::ErasureUnderWay { step }),
            None => Ok(()),
        }
    }

    fn onboard(&self) -> Decision {
        if self.is_onboarded {
            return Err(PatientRejection::AlreadyOnboarded);
        }
        Ok(PatientEvent::Onboarded(PatientOnboarded {}))
    }

    fn give_consent(&self, consent: ConsentKind, version: u16) -> Decision {
        if self.consents.get(&consent) == Some(&version) {
            return Err(PatientRejection::ConsentAlreadyGiven { consent, version });
        }
        Ok(PatientEvent::ConsentGiven(PatientConsentGiven { consent, version }))
    }

    fn withdraw_consent(&self, consent: ConsentKind) -> Decision {
        if !self.consents.contains_key(&consent) {
            return Err(PatientRejection::ConsentNotGiven { consent });
        }
        Ok(PatientEvent::ConsentWithdrawn(PatientConsentWithdrawn { consent }))
    }

    fn place_legal_hold(&self, legal_hold_id: LegalHoldId, reason: LegalHoldReason) -> Decision {
        if self.legal_holds.contains(&legal_hold_id) {
            return Err(PatientRejection::LegalHoldAlreadyPlaced);
        }
        Ok(PatientEvent::LegalHoldPlaced(PatientLegalHoldPlaced { legal_hold_id, reason }))
    }

    fn release_legal_hold(&self, legal_hold_id: LegalHoldId) -> Decision {
        if !self.legal_holds.contains(&legal_hold_id) {
            return Err(PatientRejection::LegalHoldNotPlaced);
        }
        Ok(PatientEvent::LegalHoldReleased(PatientLegalHoldReleased { legal_hold_id }))
    }

    fn request_erasure(&self, ground: ErasureGround) -> Decision {
        match self.erasure {
            None if !self.legal_holds.is_empty() => Err(PatientRejection::UnderLegalHold),
            None => Ok(PatientEvent::ErasureRequested(PatientErasureRequested { ground })),
            Some(step) => Err(PatientRejection::ErasureAlreadyRequested { step }),
        }
    }

    fn record_keys_destroyed(&self, key_count: u16) -> Decision {
        match self.erasure {
            None => Err(PatientRejection::ErasureNotRequested),
            Some(ErasureStep::Requested) => {
                Ok(PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count }))
            }
            Some(ErasureStep::KeysDestroyed | ErasureStep::Erased) => {
                Err(PatientRejection::KeysAlreadyDestroyed)
            }
        }
    }

    fn complete_erasure(&self) -> Decision {
        match self.erasure {
            None => Err(PatientRejection::ErasureNotRequested),
            Some(ErasureStep::Requested) => Err(PatientRejection::KeysNotDestroyed),
            Some(ErasureStep::KeysDestroyed) => Ok(PatientEvent::Erased(PatientErased {})),
            Some(ErasureStep::Erased) => Err(PatientRejection::AlreadyErased),
        }
    }
}

impl Aggregate for Patient {
    const TYPE: &'static str = StreamKind::Patient.as_str();
    type Command = PatientCommand;
    type Event = PatientEvent;
    type Error = PatientRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: PatientCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), PatientRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: PatientEvent) {
        let registration = self.registration.get_or_insert_default();
        match event {
            PatientEvent::Registered(_) | PatientEvent::DetailsChanged(_) => {}
            PatientEvent::Onboarded(_) => registration.is_onboarded = true,
            PatientEvent::ConsentGiven(given) => {
                registration.consents.insert(given.consent, given.version);
            }
            PatientEvent::ConsentWithdrawn(withdrawn) => {
                registration.consents.remove(&withdrawn.consent);
            }
            PatientEvent::AccountingSuspended(suspended) => registration.suspensions.add(&suspended),
            PatientEvent::AccountingResumed(resumed) => registration.suspensions.lift(&resumed),
            PatientEvent::LegalHoldPlaced(placed) => {
                registration.legal_holds.insert(placed.legal_hold_id);
            }
            PatientEvent::LegalHoldReleased(released) => {
                registration.legal_holds.remove(&released.legal_hold_id);
            }
            PatientEvent::ErasureRequested(_) => registration.erasure = Some(ErasureStep::Requested),
            PatientEvent::KeysDestroyed(_) => registration.erasure = Some(ErasureStep::KeysDestroyed),
            PatientEvent::Erased(_) => registration.erasure = Some(ErasureStep::Erased),
        }
    }
}
