//! A form that a patient fills in: assigned, saved as often as wished, signed once.
//!
//! A signed form is never changed. If it turns out to be wrong it is voided and another one is assigned.

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
use crate::ids::PatientId;
use crate::{Personal, StreamKind, closed_enum};

/// More questions than any form has; the bound keeps an event small.
pub const MAX_ANSWERS: u16 = 2_000;

closed_enum! {
    /// How far a form has come.
    pub enum FormStatus {
        /// Nothing is answered yet.
        Assigned = "assigned",
        /// Answers are kept.
        Saved = "saved",
        /// Signed.
        Signed = "signed",
        /// It no longer counts.
        Voided = "voided",
    }
}

/// What a form needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    assignment: Option<Assignment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Assignment {
    patient_id: PatientId,
    status: FormStatus,
}

impl Form {
    /// How far it has come; nothing before it is assigned.
    pub fn status(&self) -> Option<FormStatus> {
        self.assignment.as_ref().map(|assignment| assignment.status)
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: FormCommand) -> Result<Vec<FormEvent>, FormRejection> {
        let event = match (&self.assignment, command) {
            (None, FormCommand::Assign(assign)) => Ok(FormEvent::Assigned(FormAssigned {
                patient_id: assign.patient_id,
                template_id: assign.template_id,
                template_version: assign.template_version,
                appointment_id: assign.appointment_id,
                due_at: assign.due_at,
            })),
            (None, _) => Err(FormRejection::NotAssigned),
            (Some(assignment), FormCommand::Assign(_)) => {
                Err(FormRejection::AlreadyAssigned { status: assignment.status })
            }
            (Some(assignment), FormCommand::Save { answers }) => assignment.save(answers),
            (Some(assignment), FormCommand::Sign { content_sha256, signed_by }) => {
                assignment.unless_ended()?;
                if assignment.status == FormStatus::Assigned {
                    return Err(FormRejection::NothingSaved);
                }
                let patient_id = assignment.patient_id;
                Ok(FormEvent::Signed(FormSigned { patient_id, content_sha256, signed_by }))
            }
            (Some(assignment), FormCommand::Void { reason }) => {
                if assignment.status == FormStatus::Voided {
                    return Err(FormRejection::AlreadyVoided);
                }
                Ok(FormEvent::Voided(FormVoided { patient_id: assignment.patient_id, reason }))
            }
        }?;
        Ok(vec![event])
    }
}

impl Assignment {
    fn unless_ended(&self) -> Result<(), FormRejection> {
        match self.status {
            FormStatus::Assigned | FormStatus::Saved => Ok(()),
            FormStatus::Signed => Err(FormRejection::AlreadySigned),
            FormStatus::Voided => Err(FormRejection::AlreadyVoided),
        }
    }

    fn save(&self, answers: FormAnswers) -> Result<FormEvent, FormRejection> {
        self.unless_ended()?;
        if answers.answers.is_empty() {
            return Err(FormRejection::NoAnswers);
        }
        let answer_count = u16::try_from(answers.answers.len())
            .ok()
            .filter(|count| *count <= MAX_ANSWERS)
            .ok_or(FormRejection::TooManyAnswers { limit: MAX_ANSWERS })?;
        let personal = Some(Personal::Open(answers));
        Ok(FormEvent::Saved(FormSaved { patient_id: self.patient_id, answer_count, personal }))
    }
}

impl Aggregate for Form {
    const TYPE: &'static str = StreamKind::Form.as_str();
    type Command = FormCommand;
    type Event = FormEvent;
    type Error = FormRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: FormCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), FormRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: FormEvent) {
        let (patient_id, status) = match event {
            FormEvent::Assigned(assigned) => (assigned.patient_id, FormStatus::Assigned),
            FormEvent::Saved(saved) => (saved.patient_id, FormStatus::Saved),
            FormEvent::Signed(signed) => (signed.patient_id, FormStatus::Signed),
            FormEvent::Voided(voided) => (voided.patient_id, FormStatus::Voided),
        };
        self.assignment = Some(Assignment { patient_id, status });
    }
}
