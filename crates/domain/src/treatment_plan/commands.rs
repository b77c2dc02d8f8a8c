//! What can be asked of a treatment plan, and how it refuses.

use super::PlanStatus;
use super::events::{Dose, ExerciseInstructions, PlanIntent, PlanOutcome, SkipReason};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::ids::{AssignmentId, ExerciseId, PatientId, SpecialistId};

/// A wish about a treatment plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreatmentPlanCommand {
    /// Begin a programme.
    Create(CreatePlan),
    /// Add an exercise to one of its weeks.
    AssignExercise(AssignExercise),
    /// Say that a session of an exercise was done.
    CompleteExercise {
        /// Which exercise of the programme.
        assignment_id: AssignmentId,
        /// How it went.
        report: SessionReport,
    },
    /// Say that a session of an exercise was left out.
    SkipExercise {
        /// Which exercise of the programme.
        assignment_id: AssignmentId,
        /// Why.
        reason: SkipReason,
    },
    /// End the programme.
    Complete {
        /// How it ended.
        outcome: PlanOutcome,
    },
}

/// A programme to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePlan {
    /// Whom it treats.
    pub patient_id: PatientId,
    /// Who is responsible for it.
    pub specialist_id: SpecialistId,
    /// When its first week begins.
    pub starts_at: Timestamp,
    /// How many weeks it has.
    pub week_count: u8,
    /// What it is for, in words.
    pub intent: Option<PlanIntent>,
}

/// An exercise to be added to a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignExercise {
    /// Its id within the programme.
    pub assignment_id: AssignmentId,
    /// Which exercise of the clinic's catalogue.
    pub exercise_id: ExerciseId,
    /// In which week, from 1.
    pub week: u8,
    /// How often in that week.
    pub session_count: u8,
    /// How much in each session.
    pub dose: Dose,
    /// How to do it, in words.
    pub instructions: Option<ExerciseInstructions>,
}

/// What a patient tells about a session that was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionReport {
    /// How long it took, seconds.
    pub duration_seconds: Option<u16>,
    /// Pain, from 0 (none) to 10 (the worst imaginable).
    pub pain: Option<u8>,
    /// Exertion, from 0 (none) to 10 (all there is).
    pub exertion: Option<u8>,
}

rejections! {
    /// Why a treatment plan refuses a command.
    pub enum TreatmentPlanRejection {
        NotCreated = NotFound "not_created", "there is no such treatment plan";
        AlreadyCreated { status: PlanStatus } = Conflict "already_created",
            "the treatment plan already exists and is {status}";
        BadWeekCount { limit: u8 } = Invalid "bad_week_count", "a programme has 1 to {limit} weeks";
        NoSuchWeek { week_count: u8 } = Invalid "no_such_week", "the programme has the weeks 1 to {week_count}";
        BadSessionCount { limit: u8 } = Invalid "bad_session_count",
            "an exercise has 1 to {limit} sessions in its week";
        EmptyDose = Invalid "empty_dose",
            "a dose has at least one set, and repetitions or seconds that are not zero";
        AlreadyAssigned = Conflict "already_assigned", "the programme already has an exercise under this id";
        TooManyExercises { limit: u16 } = Conflict "too_many_exercises",
            "a programme has at most {limit} exercises";
        NotAssigned = NotFound "not_assigned", "the programme has no such exercise";
        NoSessionLeft { session_count: u8 } = Conflict "no_session_left",
            "all {session_count} sessions of the exercise were done or skipped";
        BadRating { limit: u8 } = Invalid "bad_rating", "pain and exertion go from 0 to {limit}";
        AlreadyCompleted = Conflict "already_completed", "the treatment plan has ended";
    }
}
