//! Treatment plans: begun, filled with exercises, carried out session by session, ended, and read.

mod view;

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::treatment_plan::{
    AssignExercise, CreatePlan, Dose, ExerciseInstructions, PlanIntent, PlanOutcome, PlanStatus,
    SessionReport, SkipReason, TreatmentPlan, TreatmentPlanCommand,
};
use carelog_domain::{
    AssignmentId, ExerciseId, PatientId, SpecialistId, StreamKind, Timestamp, TreatmentPlanId,
};
use carelog_records::queries::{self, PlanFilter};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::view::PlanView;
pub(super) use self::view::PlanWithExercises;
use super::body::{PathId, PathName, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Wish, shown};
use super::freshness::View;
use super::page::{Fresh, Page, Window};
use super::problem::Problem;
use super::text::{Line, Lines};
use super::{Api, access, schemas};

const MAX_TITLE: usize = 200;
const MAX_WORDS: usize = 4000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(assign))
        .routes(routes!(complete_exercise))
        .routes(routes!(skip_exercise))
        .routes(routes!(complete))
}

/// A programme of exercises.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreatePlanBody {
    /// Its id; made by the server where it is absent.
    id: Option<Uuid>,
    /// Whom it treats.
    patient_id: Uuid,
    /// Who is responsible for it; where it is absent, the specialist whose key this is.
    specialist_id: Option<Uuid>,
    /// When its first week begins.
    #[schema(schema_with = schemas::moment)]
    starts_at: Timestamp,
    /// How many weeks it has.
    #[schema(minimum = 1, maximum = 52)]
    week_count: u8,
    /// Its title; kept encrypted.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    title: Option<Line<MAX_TITLE>>,
    /// What is to be reached, in words; kept encrypted. Only with a title.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4000)]
    goal: Option<Lines<MAX_WORDS>>,
    /// When it was agreed; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// An exercise for one week.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssignExerciseBody {
    /// Its id within the plan; made by the server where it is absent.
    assignment_id: Option<Uuid>,
    /// The exercise of the clinic's catalogue.
    exercise_id: Uuid,
    /// The week of the plan.
    #[schema(minimum = 1, maximum = 52)]
    week: u8,
    /// How often it is to be done in that week.
    #[schema(minimum = 1, maximum = 21)]
    session_count: u8,
    /// Sets of a session.
    #[schema(minimum = 1)]
    sets: u8,
    /// Repetitions of a set; this or `seconds`, or both.
    repetitions: Option<u16>,
    /// How long a set or a hold lasts, seconds.
    seconds: Option<u16>,
    /// How to do it, in words; kept encrypted.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4000)]
    instructions: Option<Lines<MAX_WORDS>>,
    /// When it was assigned; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// How a session went.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CompleteExerciseBody {
    /// How long it took, seconds.
    duration_seconds: Option<u16>,
    /// Pain, from 0 (none) to 10 (the worst imaginable).
    #[schema(maximum = 10)]
    pain: Option<u8>,
    /// Exertion, from 0 (none) to 10 (all there is).
    #[schema(maximum = 10)]
    exertion: Option<u8>,
    /// When it was done; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Why a session was left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SkipExerciseBody {
    /// Why.
    #[schema(schema_with = schemas::skip_reason)]
    reason: SkipReason,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// How a programme ended.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CompletePlanBody {
    /// How.
    #[schema(schema_with = schemas::plan_outcome)]
    outcome: PlanOutcome,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// What assigning an exercise led to.
#[derive(Debug, Serialize, ToSchema)]
struct AssignedAnswer {
    /// The id of the exercise within the plan.
    assignment_id: Uuid,
    /// What became of the plan.
    #[serde(flatten)]
    plan: CommandAnswer,
}

/// Which plans are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Whether they go on.
    #[param(schema_with = schemas::plan_status, required = false)]
    status: Option<PlanStatus>,
    /// Of one patient.
    patient_id: Option<Uuid>,
    /// Of one specialist.
    specialist_id: Option<Uuid>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// Begin a programme of exercises.
#[utoipa::path(post, path = "/v1/treatment-plans", tag = "treatment plans", request_body = CreatePlanBody,
    responses((status = 201, description = "Begun.", body = CommandAnswer)))]
async fn create(caller: Caller, wish: Wish<CreatePlanBody>) -> Result<Response, Problem> {
    let body = wish.body;
    let patient_id = PatientId::new(body.patient_id);
    caller.require_patient(patient_id).await?;
    let own = caller.principal.as_ref().and_then(|principal| principal.specialist_id);
    let specialist_id = body
        .specialist_id
        .map(SpecialistId::new)
        .or(own)
        .ok_or_else(|| Problem::invalid("/specialist_id", "is missing"))?;
    caller.require_specialist(specialist_id).await?;
    let goal = body.goal.map(String::from);
    let intent = match (body.title, goal) {
        (Some(title), goal) => Some(PlanIntent { title: title.into(), goal }),
        (None, None) => None,
        (None, Some(_)) => return Err(Problem::invalid("/title", "is missing; a goal has a title")),
    };
    let id = wish.terms.id_of_new(&caller, body.id);
    let command = TreatmentPlanCommand::Create(CreatePlan {
        patient_id,
        specialist_id,
        starts_at: body.starts_at,
        week_count: body.week_count,
        intent,
    });
    Ok(caller.create::<TreatmentPlan>(&wish.terms, id, body.occurred_at, command).await?.created())
}

/// Add an exercise to a week.
#[utoipa::path(post, path = "/v1/treatment-plans/{treatment_plan_id}/exercises", tag = "treatment plans",
    params(("treatment_plan_id" = Uuid, Path)), request_body = AssignExerciseBody,
    responses((status = 201, description = "Added.", body = AssignedAnswer)))]
async fn assign(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<AssignExerciseBody>,
) -> Result<Response, Problem> {
    let body = wish.body;
    let assignment_id = wish.terms.id_of_new(&caller, body.assignment_id);
    let instructions = body.instructions.map(|text| ExerciseInstructions { instructions: text.into() });
    let command = TreatmentPlanCommand::AssignExercise(AssignExercise {
        assignment_id: AssignmentId::new(assignment_id),
        exercise_id: ExerciseId::new(body.exercise_id),
        week: body.week,
        session_count: body.session_count,
        dose: Dose { sets: body.sets, repetitions: body.repetitions, seconds: body.seconds },
        instructions,
    });
    let done = caller.change::<TreatmentPlan>(&wish.terms, id, body.occurred_at, command).await?;
    let answer = AssignedAnswer { assignment_id, plan: done.answer.clone() };
    Ok(done.respond(StatusCode::CREATED, &answer))
}

/// Tell that a session of an exercise was done.
#[utoipa::path(post, path = "/v1/treatment-plans/{treatment_plan_id}/exercises/{assignment_id}/complete",
    tag = "treatment plans", params(("treatment_plan_id" = Uuid, Path), ("assignment_id" = Uuid, Path)),
    request_body = CompleteExerciseBody,
    responses((status = 200, description = "Noted.", body = CommandAnswer)))]
async fn complete_exercise(
    caller: Caller,
    PathId(id): PathId,
    PathName(assignment_id): PathName<AssignmentId>,
    wish: Wish<CompleteExerciseBody>,
) -> Result<Response, Problem> {
    caller.may_touch_plan(TreatmentPlanId::new(id)).await?;
    let CompleteExerciseBody { duration_seconds, pain, exertion, occurred_at } = wish.body;
    let report = SessionReport { duration_seconds, pain, exertion };
    let command = TreatmentPlanCommand::CompleteExercise { assignment_id, report };
    Ok(caller.change::<TreatmentPlan>(&wish.terms, id, occurred_at, command).await?.changed())
}

/// Tell that a session of an exercise was left out.
#[utoipa::path(post, path = "/v1/treatment-plans/{treatment_plan_id}/exercises/{assignment_id}/skip",
    tag = "treatment plans", params(("treatment_plan_id" = Uuid, Path), ("assignment_id" = Uuid, Path)),
    request_body = SkipExerciseBody,
    responses((status = 200, description = "Noted.", body = CommandAnswer)))]
async fn skip_exercise(
    caller: Caller,
    PathId(id): PathId,
    PathName(assignment_id): PathName<AssignmentId>,
    wish: Wish<SkipExerciseBody>,
) -> Result<Response, Problem> {
    caller.may_touch_plan(TreatmentPlanId::new(id)).await?;
    let command = TreatmentPlanCommand::SkipExercise { assignment_id, reason: wish.body.reason };
    Ok(caller.change::<TreatmentPlan>(&wish.terms, id, wish.body.occurred_at, command).await?.changed())
}

/// End a programme.
#[utoipa::path(post, path = "/v1/treatment-plans/{treatment_plan_id}/complete", tag = "treatment plans",
    params(("treatment_plan_id" = Uuid, Path)), request_body = CompletePlanBody,
    responses((status = 200, description = "Ended.", body = CommandAnswer)))]
async fn complete(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<CompletePlanBody>,
) -> Result<Response, Problem> {
    let command = TreatmentPlanCommand::Complete { outcome: wish.body.outcome };
    Ok(caller.change::<TreatmentPlan>(&wish.terms, id, wish.body.occurred_at, command).await?.changed())
}

/// Treatment plans without their words and exercises, the newest first.
#[utoipa::path(get, path = "/v1/treatment-plans", tag = "treatment plans", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<PlanView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Records).await?;
    let patient_id = caller.patient_meant(query.patient_id.map(PatientId::new)).await?;
    let filter = PlanFilter {
        status: query.status,
        patient_id,
        specialist_id: query.specialist_id.map(SpecialistId::new),
    };
    let mut tx = caller.read().await?;
    let records = queries::list_plans(&mut tx, caller.organization_id, &filter, window.of_records()).await?;
    tx.commit().await?;
    let (records, next) = window.cut(records, |record| record.stamp.created_position);
    let about: Vec<_> = records.iter().map(|record| Some(record.patient_id)).collect();
    let items: Vec<PlanView> = records.iter().map(PlanView::of).collect();
    access::record_search(&caller, StreamKind::TreatmentPlan, about.into_iter()).await?;
    Ok(Page { items, next }.respond(&uri))
}

/// One treatment plan with its words and exercises.
#[utoipa::path(get, path = "/v1/treatment-plans/{treatment_plan_id}", tag = "treatment plans",
    params(("treatment_plan_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "It.", body = PlanWithExercises)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Records).await?;
    let plan_id = TreatmentPlanId::new(id);
    let mut tx = caller.read().await?;
    let record = queries::get_plan(&mut tx, caller.organization_id, plan_id).await?;
    let exercises = queries::list_plan_exercises(&mut tx, caller.organization_id, plan_id).await?;
    tx.commit().await?;
    let record = record.ok_or_else(Problem::not_found)?;
    caller.may_touch(record.patient_id).await?;
    let view = PlanWithExercises::open(&caller, &record, &exercises).await?;
    access::record_read(&caller, StreamKind::TreatmentPlan, id, Some(record.patient_id)).await?;
    shown(record.stamp.version, &view)
}
