//! The accounting of disclosures that one patient gets, and its temporary suspension where an agency asks for that (45 CFR
//! 164.528(a)(2)).
//!
//! Suspensions stand in a stream that has the patient's id and is not the patient's: the version and the times of their
//! record are shown to patients, and whoever sees them move would know that somebody asked for silence. Those that stand
//! in the patient's own stream, from before there was this one, hold and can be ended; nothing of the kind is written there
//! any more.

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

use crate::aggregate::write_all;
use crate::ids::SuspensionId;
use crate::{Personal, StreamKind, Timestamp};

/// Longest suspension after an oral statement, in days from the statement (45 CFR 164.528(a)(2)(ii)(C)).
pub const ORAL_DAYS: i64 = 30;

const MICROS_OF_A_DAY: i64 = 24 * 3_600 * 1_000_000;

/// The suspensions that a stream tells of, ended or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspensions {
    /// Until when each was made.
    made: BTreeMap<SuspensionId, Timestamp>,
    /// Ended before that.
    lifted: BTreeSet<SuspensionId>,
}

impl Suspensions {
    pub(crate) fn add(&mut self, suspension_id: SuspensionId, ends_at: Timestamp) {
        self.made.insert(suspension_id, ends_at);
    }

    pub(crate) fn lift(&mut self, suspension_id: SuspensionId) {
        self.lifted.insert(suspension_id);
    }
}

/// What this stream tells of the accounting that a patient gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    suspensions: Suspensions,
}

impl Accounting {
    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: AccountingCommand) -> Result<Vec<AccountingEvent>, AccountingRejection> {
        let (AccountingCommand::Suspend { patient, .. } | AccountingCommand::Resume { patient, .. }) =
            &command;
        if !patient.is_registered() {
            return Err(AccountingRejection::NotRegistered);
        }
        if let Some(step) = patient.erasure() {
            return Err(AccountingRejection::ErasureUnderWay { step });
        }
        let event = match command {
            AccountingCommand::Suspend { wish, patient } => self.suspend(wish, &patient.suspensions()),
            AccountingCommand::Resume { suspension_id, now, patient } => {
                self.resume(suspension_id, now, &patient.suspensions())
            }
        }?;
        Ok(vec![event])
    }

    fn suspend(
        &self,
        wish: SuspendAccounting,
        of_patient: &Suspensions,
    ) -> Result<AccountingEvent, AccountingRejection> {
        let SuspendAccounting { suspension_id, agency_kind, form, stated_at, ends_at, statement, now } = wish;
        if self.ends_at(suspension_id, of_patient).is_some() {
            return Err(AccountingRejection::SuspensionAlreadyMade { suspension_id });
        }
        if stated_at > now {
            return Err(AccountingRejection::StatedInFuture { stated_at, now });
        }
        if ends_at <= now {
            return Err(AccountingRejection::SuspensionEndsInPast { ends_at, now });
        }
        let latest = stated_at.saturating_add_micros(ORAL_DAYS * MICROS_OF_A_DAY);
        match form {
            StatementForm::Oral if ends_at > latest => {
                Err(AccountingRejection::OralSuspensionTooLong { ends_at, latest })
            }
            StatementForm::Oral | StatementForm::Written => {
                Ok(AccountingEvent::Suspended(AccountingSuspended {
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

    fn resume(
        &self,
        suspension_id: SuspensionId,
        now: Timestamp,
        of_patient: &Suspensions,
    ) -> Result<AccountingEvent, AccountingRejection> {
        let ends_at = self.ends_at(suspension_id, of_patient);
        let ends_at = ends_at.ok_or(AccountingRejection::SuspensionUnknown { suspension_id })?;
        let is_lifted =
            [&self.suspensions, of_patient].iter().any(|told| told.lifted.contains(&suspension_id));
        if is_lifted || ends_at <= now {
            return Err(AccountingRejection::SuspensionNotInForce { suspension_id });
        }
        Ok(AccountingEvent::Resumed(AccountingResumed { suspension_id }))
    }

    fn ends_at(&self, suspension_id: SuspensionId, of_patient: &Suspensions) -> Option<Timestamp> {
        self.suspensions.made.get(&suspension_id).or_else(|| of_patient.made.get(&suspension_id)).copied()
    }
}

impl Aggregate for Accounting {
    const TYPE: &'static str = StreamKind::Accounting.as_str();
    type Command = AccountingCommand;
    type Event = AccountingEvent;
    type Error = AccountingRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: AccountingCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AccountingRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountingEvent) {
        match event {
            AccountingEvent::Suspended(told) => self.suspensions.add(told.suspension_id, told.ends_at),
            AccountingEvent::Resumed(told) => self.suspensions.lift(told.suspension_id),
        }
    }
}
