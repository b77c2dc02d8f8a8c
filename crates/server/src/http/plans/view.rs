//! Treatment plans as they are shown.

use carelog_domain::Timestamp;
use carelog_domain::treatment_plan::{ExerciseInstructions, PlanIntent, PlanOutcome, PlanStatus, SkipReason};
use carelog_records::{PlanExerciseRecord, PlanRecord};
use futures::future::BoxFuture;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::caller::Caller;
use crate::http::opening::{Opened, open};
use crate::http::problem::Problem;
use crate::http::schemas;

/// A treatment plan.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanView {
    /// Its id.
    id: Uuid,
    /// Its version.
    version: i64,
    /// Whom it treats.
    patient_id: Uuid,
    /// Who is responsible for it.
    specialist_id: Uuid,
    /// When its first week begins.
    #[schema(schema_with = schemas::moment)]
    starts_at: Timestamp,
    /// How many weeks it has.
    week_count: u16,
    /// Whether it goes on.
    #[schema(schema_with = schemas::plan_status)]
    status: PlanStatus,
    /// How it ended.
    #[schema(value_type = Option<String>)]
    outcome: Option<PlanOutcome>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Timestamp>,
    /// How many sessions of exercises were asked for.
    assigned_sessions: u16,
    /// How many of them were done.
    completed_sessions: u16,
    /// How many of them were skipped.
    skipped_sessions: u16,
    /// Whether its words are gone for ever.
    erased: bool,
    /// When it was made.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

/// A treatment plan with its words and exercises.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct PlanWithExercises {
    #[serde(flatten)]
    plan: PlanView,
    /// Its title.
    title: Option<String>,
    /// What is to be reached, in words.
    goal: Option<String>,
    /// Its exercises, week by week.
    exercises: Vec<PlanExerciseView>,
}

/// An exercise in one week of a plan.
#[derive(Debug, Serialize, ToSchema)]
struct PlanExerciseView {
    /// Its id within the plan.
    assignment_id: Uuid,
    /// The exercise of the clinic's catalogue.
    exercise_id: Uuid,
    /// The week, from 1.
    week: u16,
    /// Sets of a session.
    sets: u16,
    /// Repetitions of a set.
    repetitions: Option<u16>,
    /// How long a set or a hold lasts, seconds.
    seconds: Option<u16>,
    /// How to do it, in words.
    instructions: Option<String>,
    /// Whether these words are gone for ever.
    erased: bool,
    /// How often it is to be done in that week.
    assigned_sessions: u16,
    /// How often it was done.
    completed_sessions: u16,
    /// How often it was skipped.
    skipped_sessions: u16,
    /// When a session was done or skipped last.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_session_at: Option<Timestamp>,
    /// The pain that was told of last, from 0 to 10.
    last_pain: Option<u16>,
    /// The exertion that was told of last, from 0 to 10.
    last_exertion: Option<u16>,
    /// Why a session was skipped last.
    #[schema(value_type = Option<String>)]
    last_skip_reason: Option<SkipReason>,
}

impl PlanView {
    pub(super) fn of(record: &PlanRecord) -> Self {
        Self {
            id: record.treatment_plan_id.uuid(),
            version: record.stamp.version,
            patient_id: record.patient_id.uuid(),
            specialist_id: record.specialist_id.uuid(),
            starts_at: record.starts_at,
            week_count: record.week_count,
            status: record.status,
            outcome: record.outcome,
            completed_at: record.completed_at,
            assigned_sessions: record.sessions.assigned,
            completed_sessions: record.sessions.completed,
            skipped_sessions: record.sessions.skipped,
            erased: record.erased_at.is_some(),
            created_at: record.stamp.created_at,
            updated_at: record.stamp.updated_at,
        }
    }
}

impl PlanWithExercises {
    /// Opens the words of a plan and of its exercises.
    pub(in crate::http) fn open<'a>(
        caller: &'a Caller,
        record: &'a PlanRecord,
        exercises: &'a [PlanExerciseRecord],
    ) -> BoxFuture<'a, Result<Self, Problem>> {
        Box::pin(async move {
            let vault = caller.api.log().vault();
            let intent: Opened<PlanIntent> = open(vault, record.personal.as_ref()).await?;
            let (intent, is_erased) = intent.split();
            let mut plan = PlanView::of(record);
            plan.erased |= is_erased;
            let mut views = Vec::with_capacity(exercises.len());
            for exercise in exercises {
                let words: Opened<ExerciseInstructions> = open(vault, exercise.personal.as_ref()).await?;
                views.push(PlanExerciseView::of(exercise, words));
            }
            let (title, goal) = intent.map(|intent| (intent.title, intent.goal)).unzip();
            Ok(Self { plan, title, goal: goal.flatten(), exercises: views })
        })
    }
}

impl PlanExerciseView {
    fn of(record: &PlanExerciseRecord, words: Opened<ExerciseInstructions>) -> Self {
        let (words, is_erased) = words.split();
        Self {
            assignment_id: record.assignment_id.uuid(),
            exercise_id: record.exercise_id.uuid(),
            week: record.week,
            sets: record.sets,
            repetitions: record.repetitions,
            seconds: record.seconds,
            instructions: words.map(|words| words.instructions),
            erased: is_erased || record.erased_at.is_some(),
            assigned_sessions: record.sessions.assigned,
            completed_sessions: record.sessions.completed,
            skipped_sessions: record.sessions.skipped,
            last_session_at: record.last_session_at,
            last_pain: record.last_pain,
            last_exertion: record.last_exertion,
            last_skip_reason: record.last_skip_reason,
        }
    }
}
