//! A patient of one clinic: joining, consents, and being forgotten.
//!
//! Erasure is a sequence of events, each of which can be repeated after a crash: the intent, the destruction of
//! the keys, the confirmation of all projections. From the intent on nothing else happens to the patient.
//!
//! A legal hold stops an erasure before it begins. Holds, and suspensions of the accounting of disclosures, have streams of
//! their own ([`legal_hold`](crate::legal_hold), [`accounting`](crate::accounting)), because patients are shown the version
//! and the times of theirs. Those that were written here before count there.

mod commands;
mod events;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;

use crate::accounting::Suspensions;
use crate::aggregate::write_all;
use crate::legal_hold::LegalHolds;
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
    /// Written before they had a stream of their own.
    suspensions: Suspensions,
    /// Those in force, as far as they were written before they had a stream of their own.
    legal_holds: BTreeSet<LegalHoldId>,
    erasure: Option<ErasureStep>,
}

impl Patient {
    /// The version of a consent that is in force.
    pub fn consent(&self, consent: ConsentKind) -> Option<u16> {
        self.registration.as_ref().and_then(|registration| registration.consents.get(&consent).copied())
    }

    /// Whether there is such a patient, erased or not.
    pub const fn is_registered(&self) -> bool {
        self.registration.is_some()
    }

    /// The legal holds in force that this stream tells of; [`LegalHolds::in_force`] knows them all.
    pub fn legal_holds(&self) -> BTreeSet<LegalHoldId> {
        self.registration.as_ref().map(|registration| registration.legal_holds.clone()).unwrap_or_default()
    }

    /// The suspensions of the accounting of disclosures that this stream tells of.
    pub(crate) fn suspensions(&self) -> Suspensions {
        self.registration.as_ref().map(|registration| registration.suspensions.clone()).unwrap_or_default()
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
            PatientCommand::RequestErasure { ground, legal_holds } => {
                self.request_erasure(ground, &legal_holds)
            }
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

    fn request_erasure(&self, ground: ErasureGround, legal_holds: &LegalHolds) -> Decision {
        match self.erasure {
            None if !legal_holds.in_force(&self.legal_holds).is_empty() => {
                Err(PatientRejection::UnderLegalHold)
            }
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
            PatientEvent::AccountingSuspended(suspended) => {
                registration.suspensions.add(suspended.suspension_id, suspended.ends_at);
            }
            PatientEvent::AccountingResumed(resumed) => {
                registration.suspensions.lift(resumed.suspension_id);
            }
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
