//! The legal holds on one patient's data, in a stream that has the patient's id and is not the patient's: the version and
//! the times of their record are shown to patients, and that somebody asked for the data to be kept is not theirs to see.
//!
//! Neither stream decides alone: no hold is placed once an erasure has begun, since keys may be gone, and no erasure begins
//! under a hold. Each command is told what the other stream tells, and what it decides is appended only if that has not
//! moved since.
//!
//! Holds that were placed and released in the patient's own stream, before there was this one, stay in force and can be
//! released; nothing of the kind is written there any more.

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
use crate::{LegalHoldId, StreamKind};

/// What this stream tells of the holds on a patient's data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalHolds {
    /// Whether each of them is in force.
    holds: BTreeMap<LegalHoldId, bool>,
}

impl LegalHolds {
    /// The holds in force, with those that the patient's own stream tells of.
    pub fn in_force(&self, of_patient: &BTreeSet<LegalHoldId>) -> BTreeSet<LegalHoldId> {
        let is_released = |id: &LegalHoldId| self.holds.get(id) == Some(&false);
        let placed = self.holds.iter().filter(|(_, is_in_force)| **is_in_force).map(|(id, _)| *id);
        of_patient.iter().copied().filter(|id| !is_released(id)).chain(placed).collect()
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: LegalHoldCommand) -> Result<Vec<LegalHoldEvent>, LegalHoldRejection> {
        let (LegalHoldCommand::Place { patient, .. } | LegalHoldCommand::Release { patient, .. }) = &command;
        if !patient.is_registered() {
            return Err(LegalHoldRejection::NotRegistered);
        }
        let (erasure, in_force) = (patient.erasure(), self.in_force(&patient.legal_holds()));
        let event = match (command, erasure) {
            (LegalHoldCommand::Place { .. }, Some(step)) => Err(LegalHoldRejection::ErasureUnderWay { step }),
            (LegalHoldCommand::Place { legal_hold_id, .. }, None) if in_force.contains(&legal_hold_id) => {
                Err(LegalHoldRejection::AlreadyPlaced)
            }
            (LegalHoldCommand::Place { legal_hold_id, reason, .. }, None) => {
                Ok(LegalHoldEvent::Placed(LegalHoldPlaced { legal_hold_id, reason }))
            }
            (LegalHoldCommand::Release { legal_hold_id, .. }, _) if in_force.contains(&legal_hold_id) => {
                Ok(LegalHoldEvent::Released(LegalHoldReleased { legal_hold_id }))
            }
            (LegalHoldCommand::Release { .. }, _) => Err(LegalHoldRejection::NotPlaced),
        }?;
        Ok(vec![event])
    }
}

impl Aggregate for LegalHolds {
    const TYPE: &'static str = StreamKind::LegalHold.as_str();
    type Command = LegalHoldCommand;
    type Event = LegalHoldEvent;
    type Error = LegalHoldRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: LegalHoldCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), LegalHoldRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: LegalHoldEvent) {
        match event {
            LegalHoldEvent::Placed(placed) => self.holds.insert(placed.legal_hold_id, true),
            LegalHoldEvent::Released(released) => self.holds.insert(released.legal_hold_id, false),
        };
    }
}
