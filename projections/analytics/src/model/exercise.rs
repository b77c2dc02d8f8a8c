//! Facts about exercises: what was asked for, and each session.

use carelog_domain::treatment_plan::{SkipReason, TreatmentPlanEvent};
use carelog_domain::{AssignmentId, ExerciseId, OrganizationId, closed_enum};
use carelog_vault::Pseudonym;
use time::Date;

use super::Known;
use super::analytic::{analytic_facts, cut_minutes, day};

closed_enum! {
    /// Whether a session was done.
    pub enum SessionOutcome {
        /// It was.
        Completed = "completed",
        /// It was left out.
        Skipped = "skipped",
    }
}

analytic_facts! {
    /// An exercise of a week of a plan.
    pub struct ExerciseAssignmentFact in "exercise_assignment_facts"
    at {
        /// Place of the assignment.
        pub position,
        /// Place of the newest event.
        pub last_position,
    }
    says {
        /// The clinic.
        pub organization_id: OrganizationId,
        /// The exercise in its week of its plan.
        pub assignment: Pseudonym,
        /// The plan.
        pub plan: Pseudonym,
        /// The patient.
        pub patient: Pseudonym,
        /// The exercise of the catalogue.
        pub exercise_id: ExerciseId,
        /// The week.
        pub week: u8,
        /// Sessions that were asked for.
        pub assigned_sessions: u8,
        /// Those that were done.
        pub completed_sessions: u8,
        /// Those that were skipped.
        pub skipped_sessions: u8,
    }

    /// A session that was done or skipped.
    pub struct ExerciseSessionFact in "exercise_session_facts"
    at {
        /// Its place.
        pub position,
    }
    says {
        /// The clinic.
        pub organization_id: OrganizationId,
        /// The plan.
        pub plan: Pseudonym,
        /// The patient.
        pub patient: Pseudonym,
        /// The exercise of the catalogue.
        pub exercise_id: ExerciseId,
        /// The week of the plan.
        pub week: u8,
        /// Which session in that week.
        pub session: u8,
        /// Whether it was done.
        pub outcome: SessionOutcome,
        /// Why it was not.
        pub skip_reason: Option<SkipReason>,
        /// Pain, 0 to 10.
        pub pain: Option<u8>,
        /// Exertion, 0 to 10.
        pub exertion: Option<u8>,
        /// How long it took.
        pub duration_minutes: Option<i32>,
        /// On which day.
        pub happened_on: Date,
    }
}

/// The exercise of a plan that an event is about.
pub(super) const fn assignment_of(event: &TreatmentPlanEvent) -> Option<AssignmentId> {
    match event {
        TreatmentPlanEvent::ExerciseAssigned(assigned) => Some(assigned.assignment_id),
        TreatmentPlanEvent::ExerciseCompleted(completed) => Some(completed.assignment_id),
        TreatmentPlanEvent::ExerciseSkipped(skipped) => Some(skipped.assignment_id),
        TreatmentPlanEvent::Created(_) | TreatmentPlanEvent::Completed(_) => None,
    }
}

impl ExerciseAssignmentFact {
    pub(super) fn apply(
        row: Option<&Self>,
        event: &TreatmentPlanEvent,
        known: &Known<'_>,
        assignment: Pseudonym,
    ) -> Option<Self> {
        let position = known.recorded.position;
        if let TreatmentPlanEvent::ExerciseAssigned(assigned) = event {
            let fact = Self {
                organization_id: known.organization_id(),
                position,
                last_position: position,
                assignment,
                plan: known.stream,
                patient: known.patient(assigned.patient_id),
                exercise_id: assigned.exercise_id,
                week: assigned.week,
                assigned_sessions: assigned.session_count,
                completed_sessions: 0,
                skipped_sessions: 0,
            };
            return row.is_none().then_some(fact);
        }
        let mut row = row?.clone();
        row.last_position = position;
        match event {
            TreatmentPlanEvent::ExerciseCompleted(_) => {
                row.completed_sessions = row.completed_sessions.saturating_add(1);
            }
            TreatmentPlanEvent::ExerciseSkipped(_) => {
                row.skipped_sessions = row.skipped_sessions.saturating_add(1);
            }
            TreatmentPlanEvent::Created(_)
            | TreatmentPlanEvent::ExerciseAssigned(_)
            | TreatmentPlanEvent::Completed(_) => {}
        }
        Some(row)
    }
}

impl ExerciseSessionFact {
    /// The session that an event tells of.
    pub(super) fn of(event: &TreatmentPlanEvent, known: &Known<'_>) -> Option<Self> {
        let plan = known.stream;
        let (organization_id, position) = (known.organization_id(), known.recorded.position);
        let happened_on = day(known.recorded.occurred_at);
        match event {
            TreatmentPlanEvent::ExerciseCompleted(done) => Some(Self {
                organization_id,
                position,
                plan,
                patient: known.patient(done.patient_id),
                exercise_id: done.exercise_id,
                week: done.week,
                session: done.session,
                outcome: SessionOutcome::Completed,
                skip_reason: None,
                pain: done.pain,
                exertion: done.exertion,
                duration_minutes: done.duration_seconds.map(|seconds| cut_minutes(i32::from(seconds) / 60)),
                happened_on,
            }),
            TreatmentPlanEvent::ExerciseSkipped(skipped) => Some(Self {
                organization_id,
                position,
                plan,
                patient: known.patient(skipped.patient_id),
                exercise_id: skipped.exercise_id,
                week: skipped.week,
                session: skipped.session,
                outcome: SessionOutcome::Skipped,
                skip_reason: Some(skipped.reason),
                pain: None,
                exertion: None,
                duration_minutes: None,
                happened_on,
            }),
            TreatmentPlanEvent::Created(_)
            | TreatmentPlanEvent::ExerciseAssigned(_)
            | TreatmentPlanEvent::Completed(_) => None,
        }
    }
}
