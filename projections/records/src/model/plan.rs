//! How events change the row of a treatment plan, and those of its exercises.

use carelog_domain::treatment_plan::{
    PlanOutcome, PlanStatus, SkipReason, TreatmentPlanCreated, TreatmentPlanEvent,
    TreatmentPlanExerciseAssigned,
};
use carelog_domain::{
    AssignmentId, ExerciseId, OrganizationId, PatientId, SpecialistId, Timestamp, TreatmentPlanId,
};
use carelog_event_log::RecordedEvent;

use super::row::{FoldError, SealedColumns, Stamp, absent, existing};

/// A treatment plan as it stands now. Its personal part is its title and goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The plan.
    pub treatment_plan_id: TreatmentPlanId,
    /// Whom it treats.
    pub patient_id: PatientId,
    /// Who is responsible for it.
    pub specialist_id: SpecialistId,
    /// When its first week begins.
    pub starts_at: Timestamp,
    /// How many weeks it has.
    pub week_count: u16,
    /// Whether it goes on.
    pub status: PlanStatus,
    /// How it ended.
    pub outcome: Option<PlanOutcome>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Sessions that were asked for, those done, and those skipped.
    pub sessions: SessionCounts,
    /// When the patient's keys were destroyed, where there had been words.
    pub erased_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed words.
    pub personal: Option<SealedColumns>,
}

/// How many sessions of exercises there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Asked for.
    pub assigned: u16,
    /// Done.
    pub completed: u16,
    /// Left out.
    pub skipped: u16,
}

/// An exercise in one week of a plan. Its personal part is how to do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanExerciseRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The plan.
    pub treatment_plan_id: TreatmentPlanId,
    /// Its id within the plan.
    pub assignment_id: AssignmentId,
    /// Who does it.
    pub patient_id: PatientId,
    /// The exercise of the clinic's catalogue.
    pub exercise_id: ExerciseId,
    /// The week, from 1.
    pub week: u16,
    /// Sets of a session.
    pub sets: u16,
    /// Repetitions of a set.
    pub repetitions: Option<u16>,
    /// Seconds of a set or a hold.
    pub seconds: Option<u16>,
    /// Its sessions.
    pub sessions: SessionCounts,
    /// When a session was done or skipped last.
    pub last_session_at: Option<Timestamp>,
    /// The pain that was told of last, from 0 to 10.
    pub last_pain: Option<u16>,
    /// The exertion that was told of last, from 0 to 10.
    pub last_exertion: Option<u16>,
    /// Why a session was skipped last.
    pub last_skip_reason: Option<SkipReason>,
    /// When the patient's keys were destroyed, where there had been words.
    pub erased_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed words.
    pub personal: Option<SealedColumns>,
}

impl PlanRecord {
    pub(super) fn apply(
        row: Option<Self>,
        event: &TreatmentPlanEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        if let TreatmentPlanEvent::Created(created) = event {
            absent(row.as_ref(), recorded)?;
            return Ok(Self::create(created, recorded));
        }
        let mut row = existing(row, recorded)?;
        row.stamp.touch(recorded);
        match event {
            // Made a new row above.
            TreatmentPlanEvent::Created(_) => {}
            TreatmentPlanEvent::ExerciseAssigned(assigned) => {
                row.sessions.assigned =
                    row.sessions.assigned.saturating_add(u16::from(assigned.session_count));
            }
            TreatmentPlanEvent::ExerciseCompleted(_) => row.sessions.complete_one(),
            TreatmentPlanEvent::ExerciseSkipped(_) => row.sessions.skip_one(),
            TreatmentPlanEvent::Completed(completed) => {
                row.status = PlanStatus::Completed;
                row.outcome = Some(completed.outcome);
                row.completed_at = Some(recorded.occurred_at);
            }
        }
        Ok(row)
    }

    fn create(created: &TreatmentPlanCreated, recorded: &RecordedEvent) -> Self {
        Self {
            organization_id: recorded.stream.organization_id,
            treatment_plan_id: TreatmentPlanId::new(recorded.stream.id),
            patient_id: created.patient_id,
            specialist_id: created.specialist_id,
            starts_at: created.starts_at,
            week_count: u16::from(created.week_count),
            status: PlanStatus::Active,
            outcome: None,
            completed_at: None,
            sessions: SessionCounts::default(),
            erased_at: None,
            stamp: Stamp::new(recorded),
            personal: SealedColumns::of(recorded),
        }
    }
}

impl SessionCounts {
    const fn complete_one(&mut self) {
        self.completed = self.completed.saturating_add(1);
    }

    const fn skip_one(&mut self) {
        self.skipped = self.skipped.saturating_add(1);
    }
}

/// The exercise of a plan that an event is about.
pub(super) const fn exercise_of(event: &TreatmentPlanEvent) -> Option<AssignmentId> {
    match event {
        TreatmentPlanEvent::ExerciseAssigned(assigned) => Some(assigned.assignment_id),
        TreatmentPlanEvent::ExerciseCompleted(completed) => Some(completed.assignment_id),
        TreatmentPlanEvent::ExerciseSkipped(skipped) => Some(skipped.assignment_id),
        TreatmentPlanEvent::Created(_) | TreatmentPlanEvent::Completed(_) => None,
    }
}

impl PlanExerciseRecord {
    /// `event` is one of an exercise; others leave the row as it is.
    pub(super) fn apply(
        row: Option<Self>,
        event: &TreatmentPlanEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        if let TreatmentPlanEvent::ExerciseAssigned(assigned) = event {
            absent(row.as_ref(), recorded)?;
            return Ok(Self::assign(assigned, recorded));
        }
        let mut row = existing(row, recorded)?;
        row.stamp.touch(recorded);
        match event {
            TreatmentPlanEvent::ExerciseCompleted(completed) => {
                row.sessions.complete_one();
                row.last_session_at = Some(recorded.occurred_at);
                row.last_pain = completed.pain.map(u16::from).or(row.last_pain);
                row.last_exertion = completed.exertion.map(u16::from).or(row.last_exertion);
            }
            TreatmentPlanEvent::ExerciseSkipped(skipped) => {
                row.sessions.skip_one();
                row.last_session_at = Some(recorded.occurred_at);
                row.last_skip_reason = Some(skipped.reason);
            }
            TreatmentPlanEvent::Created(_)
            | TreatmentPlanEvent::ExerciseAssigned(_)
            | TreatmentPlanEvent::Completed(_) => {}
        }
        Ok(row)
    }

    fn assign(assigned: &TreatmentPlanExerciseAssigned, recorded: &RecordedEvent) -> Self {
        let sessions =
            SessionCounts { assigned: u16::from(assigned.session_count), ..SessionCounts::default() };
        Self {
            organization_id: recorded.stream.organization_id,
            treatment_plan_id: TreatmentPlanId::new(recorded.stream.id),
            assignment_id: assigned.assignment_id,
            patient_id: assigned.patient_id,
            exercise_id: assigned.exercise_id,
            week: u16::from(assigned.week),
            sets: u16::from(assigned.sets),
            repetitions: assigned.repetitions,
            seconds: assigned.seconds,
            sessions,
            last_session_at: None,
            last_pain: None,
            last_exertion: None,
            last_skip_reason: None,
            erased_at: None,
            stamp: Stamp::new(recorded),
            personal: SealedColumns::of(recorded),
        }
    }
}
