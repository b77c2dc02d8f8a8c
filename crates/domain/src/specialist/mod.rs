//! A specialist of a clinic.

mod commands;
mod events;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;

use crate::aggregate::write_all;
use crate::{Personal, StreamKind};

/// What a specialist needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Specialist {
    /// Not known yet.
    #[default]
    Absent,
    /// Works here.
    Active,
    /// Worked here.
    Inactive {
        /// Why no longer.
        reason: DeactivationReason,
    },
}

impl Specialist {
    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: SpecialistCommand) -> Result<Vec<SpecialistEvent>, SpecialistRejection> {
        let event = match (self, command) {
            (Self::Absent, SpecialistCommand::Add { profession, profile }) => {
                let personal = Some(Personal::Open(profile));
                SpecialistEvent::Added(SpecialistAdded { profession, personal })
            }
            (Self::Absent, SpecialistCommand::Deactivate { .. }) => {
                return Err(SpecialistRejection::NotAdded);
            }
            (Self::Active | Self::Inactive { .. }, SpecialistCommand::Add { .. }) => {
                return Err(SpecialistRejection::AlreadyAdded);
            }
            (Self::Active, SpecialistCommand::Deactivate { reason }) => {
                SpecialistEvent::Deactivated(SpecialistDeactivated { reason })
            }
            (Self::Inactive { reason }, SpecialistCommand::Deactivate { .. }) => {
                return Err(SpecialistRejection::AlreadyDeactivated { reason: *reason });
            }
        };
        Ok(vec![event])
    }
}

impl Aggregate for Specialist {
    const TYPE: &'static str = StreamKind::Specialist.as_str();
    type Command = SpecialistCommand;
    type Event = SpecialistEvent;
    type Error = SpecialistRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: SpecialistCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SpecialistRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: SpecialistEvent) {
        *self = match event {
            SpecialistEvent::Added(_) => Self::Active,
            SpecialistEvent::Deactivated(deactivated) => Self::Inactive { reason: deactivated.reason },
        };
    }
}
