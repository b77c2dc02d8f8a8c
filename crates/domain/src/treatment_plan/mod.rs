//! A treatment plan: a programme of exercises over some weeks, assigned by a specialist, done or skipped by the
//! patient.
//!
//! An exercise is assigned to one week of the programme, to be done so many times in that week; each of these
//! sessions is completed or skipped once. Which week it is by the calendar is not decided here: a session may be
//! caught up on later, and is told with the moment at which it happened. A programme that has ended is not changed.

mod commands;
mod events;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;

use crate::aggregate::write_all;
use crate::ids::{AssignmentId, ExerciseId, PatientId};
use crate::{Personal, StreamKind, closed_enum};

/// The longest programme, weeks: a year.
pub const MAX_WEEKS: u8 = 52;
/// Three times on each day of a week.
pub const MAX_SESSIONS: u8 = 21;
/// Ten exercises in each week of a year. With all of their sessions that would be some ten thousand events, which are
/// read for every command: more than any programme has.
pub const MAX_EXERCISES: u16 = 520;
/// The end of the scales of pain and exertion.
pub const MAX_RATING: u8 = 10;

closed_enum! {
    /// Whether a programme goes on.
    pub enum PlanStatus {
        /// It does.
        Active = "active",
        /// It has ended.
        Completed = "completed",
    }
}

/// What a treatment plan needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreatmentPlan {
    programme: Option<Programme>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Programme {
    patient_id: PatientId,
    week_count: u8,
    status: PlanStatus,
    exercises: BTreeMap<AssignmentId, Planned>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Planned {
    exercise_id: ExerciseId,
    week: u8,
    session_count: u8,
    completed: u8,
    skipped: u8,
}

type Decision = Result<TreatmentPlanEvent, TreatmentPlanRejection>;

impl TreatmentPlan {
    /// Whether it goes on; nothing before it is created.
    pub fn status(&self) -> Option<PlanStatus> {
        self.programme.as_ref().map(|programme| programme.status)
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(
        &self,
        command: TreatmentPlanCommand,
    ) -> Result<Vec<TreatmentPlanEvent>, TreatmentPlanRejection> {
        let event = match (&self.programme, command) {
            (None, TreatmentPlanCommand::Create(create)) => create_plan(create),
            (None, _) => Err(TreatmentPlanRejection::NotCreated),
            (Some(programme), TreatmentPlanCommand::Create(_)) => {
                Err(TreatmentPlanRejection::AlreadyCreated { status: programme.status })
            }
            (Some(programme), _) if programme.status == PlanStatus::Completed => {
                Err(TreatmentPlanRejection::AlreadyCompleted)
            }
            (Some(programme), TreatmentPlanCommand::AssignExercise(assign)) => programme.assign(assign),
            (Some(programme), TreatmentPlanCommand::CompleteExercise { assignment_id, report }) => {
                programme.complete_exercise(assignment_id, report)
            }
            (Some(programme), TreatmentPlanCommand::SkipExercise { assignment_id, reason }) => {
                programme.skip_exercise(assignment_id, reason)
            }
            (Some(programme), TreatmentPlanCommand::Complete { outcome }) => Ok(programme.complete(outcome)),
        }?;
        Ok(vec![event])
    }
}

fn create_plan(create: CreatePlan) -> Decision {
    if !(1..=MAX_WEEKS).contains(&create.week_count) {
        return Err(TreatmentPlanRejection::BadWeekCount { limit: MAX_WEEKS });
    }
    Ok(TreatmentPlanEvent::Created(TreatmentPlanCreated {
        patient_id: create.patient_id,
        specialist_id: create.specialist_id,
        starts_at: create.starts_at,
        week_count: create.week_count,
        personal: create.intent.map(Personal::Open),
    }))
}

impl Dose {
    const fn is_empty(self) -> bool {
        let counts = matches!(self.repetitions, Some(1..)) || matches!(self.seconds, Some(1..));
        self.sets == 0 || !counts
    }
}

impl Programme {
    fn assign(&self, assign: AssignExercise) -> Decision {
        if self.exercises.contains_key(&assign.assignment_id) {
            return Err(TreatmentPlanRejection::AlreadyAssigned);
        }
        if self.exercises.len() >= usize::from(MAX_EXERCISES) {
            return Err(TreatmentPlanRejection::TooManyExercises { limit: MAX_EXERCISES });
        }
        if !(1..=self.week_count).contains(&assign.week) {
            return Err(TreatmentPlanRejection::NoSuchWeek { week_count: self.week_count });
        }
        if !(1..=MAX_SESSIONS).contains(&assign.session_count) {
            return Err(TreatmentPlanRejection::BadSessionCount { limit: MAX_SESSIONS });
        }
        if assign.dose.is_empty() {
            return Err(TreatmentPlanRejection::EmptyDose);
        }
        Ok(TreatmentPlanEvent::ExerciseAssigned(TreatmentPlanExerciseAssigned {
            patient_id: self.patient_id,
            assignment_id: assign.assignment_id,
            exercise_id: assign.exercise_id,
            week: assign.week,
            session_count: assign.session_count,
            sets: assign.dose.sets,
            repetitions: assign.dose.repetitions,
            seconds: assign.dose.seconds,
            personal: assign.instructions.map(Personal::Open),
        }))
    }

    fn complete_exercise(&self, assignment_id: AssignmentId, report: SessionReport) -> Decision {
        let (exercise, session) = self.next_session(assignment_id)?;
        if [report.pain, report.exertion].into_iter().flatten().any(|rating| rating > MAX_RATING) {
            return Err(TreatmentPlanRejection::BadRating { limit: MAX_RATING });
        }
        Ok(TreatmentPlanEvent::ExerciseCompleted(TreatmentPlanExerciseCompleted {
            patient_id: self.patient_id,
            assignment_id,
            exercise_id: exercise.exercise_id,
            week: exercise.week,
            session,
            duration_seconds: report.duration_seconds,
            pain: report.pain,
            exertion: report.exertion,
        }))
    }

    fn skip_exercise(&self, assignment_id: AssignmentId, reason: SkipReason) -> Decision {
        let (exercise, session) = self.next_session(assignment_id)?;
        Ok(TreatmentPlanEvent::ExerciseSkipped(TreatmentPlanExerciseSkipped {
            patient_id: self.patient_id,
            assignment_id,
            exercise_id: exercise.exercise_id,
            week: exercise.week,
            session,
            reason,
        }))
    }

    fn next_session(&self, assignment_id: AssignmentId) -> Result<(&Planned, u8), TreatmentPlanRejection> {
        let exercise = self.exercises.get(&assignment_id).ok_or(TreatmentPlanRejection::NotAssigned)?;
        let session_count = exercise.session_count;
        let over = exercise.completed.saturating_add(exercise.skipped);
        if over >= session_count {
            return Err(TreatmentPlanRejection::NoSessionLeft { session_count });
        }
        Ok((exercise, over.saturating_add(1)))
    }

    fn complete(&self, outcome: PlanOutcome) -> TreatmentPlanEvent {
        let sum = |count: fn(&Planned) -> u8| self.exercises.values().map(|one| u32::from(count(one))).sum();
        TreatmentPlanEvent::Completed(TreatmentPlanCompleted {
            patient_id: self.patient_id,
            outcome,
            assigned_sessions: sum(|exercise| exercise.session_count),
            completed_sessions: sum(|exercise| exercise.completed),
            skipped_sessions: sum(|exercise| exercise.skipped),
        })
    }

    fn apply(&mut self, event: TreatmentPlanEvent) {
        match event {
            TreatmentPlanEvent::Created(_) => {}
            TreatmentPlanEvent::ExerciseAssigned(assigned) => {
                let TreatmentPlanExerciseAssigned { exercise_id, week, session_count, .. } = assigned;
                let exercise = Planned { exercise_id, week, session_count, completed: 0, skipped: 0 };
                self.exercises.insert(assigned.assignment_id, exercise);
            }
            TreatmentPlanEvent::ExerciseCompleted(completed) => {
                if let Some(exercise) = self.exercises.get_mut(&completed.assignment_id) {
                    exercise.completed = exercise.completed.saturating_add(1);
                }
            }
            TreatmentPlanEvent::ExerciseSkipped(skipped) => {
                if let Some(exercise) = self.exercises.get_mut(&skipped.assignment_id) {
                    exercise.skipped = exercise.skipped.saturating_add(1);
                }
            }
            TreatmentPlanEvent::Completed(_) => self.status = PlanStatus::Completed,
        }
    }
}

impl Aggregate for TreatmentPlan {
    const TYPE: &'static str = StreamKind::TreatmentPlan.as_str();
    type Command = TreatmentPlanCommand;
    type Event = TreatmentPlanEvent;
    type Error = TreatmentPlanRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: TreatmentPlanCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), TreatmentPlanRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: TreatmentPlanEvent) {
        if let TreatmentPlanEvent::Created(created) = &event {
            let TreatmentPlanCreated { patient_id, week_count, .. } = *created;
            let (status, exercises) = (PlanStatus::Active, BTreeMap::new());
            self.programme = Some(Programme { patient_id, week_count, status, exercises });
        } else if let Some(programme) = &mut self.programme {
            programme.apply(event);
        }
    }
}
