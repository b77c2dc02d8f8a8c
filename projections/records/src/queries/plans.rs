//! Treatment plans by id and in lists, and the exercises of one.

use std::collections::HashSet;

use carelog_domain::treatment_plan::PlanStatus;
use carelog_domain::{
    AssignmentId, ExerciseId, OrganizationId, PatientId, SpecialistId, StreamKind, TreatmentPlanId,
};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use super::cells::{Cells, QueryError, sealed, stamp};
use super::page::{Page, columns, prefer_custom_plans};
use crate::model::{ExerciseKey, PlanExerciseRecord, PlanRecord, RowKey, Rows, SessionCounts};

/// Which treatment plans are wanted; everything that is given has to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanFilter {
    /// Whether they go on.
    pub status: Option<PlanStatus>,
    /// Whom they treat.
    pub patient_id: Option<PatientId>,
    /// Who is responsible for them.
    pub specialist_id: Option<SpecialistId>,
}

/// The counts of a row.
macro_rules! sessions {
    ($cells:ident, $row:ident) => {
        SessionCounts {
            assigned: $cells.count("assigned_sessions", $row.assigned_sessions)?,
            completed: $cells.count("completed_sessions", $row.completed_sessions)?,
            skipped: $cells.count("skipped_sessions", $row.skipped_sessions)?,
        }
    };
}

/// Selects rows; the tail says which.
macro_rules! select_plans {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, treatment_plan_id, patient_id, specialist_id, starts_at, week_count, status, \
             outcome, completed_at, assigned_sessions, completed_sessions, skipped_sessions, erased_at, version, \
             lane, position, created_position, created_at, occurred_at, updated_at, personal, personal_key_id, \
             personal_version, personal_event_id, personal_event_type, personal_schema_version \
             from treatment_plans "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "treatment_plans", row: row.treatment_plan_id };
            let patient_id = PatientId::new(row.patient_id);
            records.push(PlanRecord {
                organization_id: OrganizationId::new(row.organization_id),
                treatment_plan_id: TreatmentPlanId::new(row.treatment_plan_id),
                patient_id,
                specialist_id: SpecialistId::new(row.specialist_id),
                starts_at: cells.moment("starts_at", row.starts_at)?,
                week_count: cells.count("week_count", row.week_count)?,
                status: cells.name("status", &row.status)?,
                outcome: cells.optional_name("outcome", row.outcome.as_deref())?,
                completed_at: cells.optional_moment("completed_at", row.completed_at)?,
                sessions: sessions!(cells, row),
                erased_at: cells.optional_moment("erased_at", row.erased_at)?,
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, TreatmentPlan, row.treatment_plan_id, Some(patient_id)),
            });
        }
        records
    }};
}

/// Selects rows of exercises; the tail says which.
macro_rules! select_exercises {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, treatment_plan_id, assignment_id, patient_id, exercise_id, week, sets, \
             repetitions, seconds, assigned_sessions, completed_sessions, skipped_sessions, last_session_at, \
             last_pain, last_exertion, last_skip_reason, erased_at, version, lane, position, created_position, \
             created_at, occurred_at, updated_at, personal, personal_key_id, personal_version, personal_event_id, \
             personal_event_type, personal_schema_version from treatment_plan_exercises "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "treatment_plan_exercises", row: row.assignment_id };
            let patient_id = PatientId::new(row.patient_id);
            records.push(PlanExerciseRecord {
                organization_id: OrganizationId::new(row.organization_id),
                treatment_plan_id: TreatmentPlanId::new(row.treatment_plan_id),
                assignment_id: AssignmentId::new(row.assignment_id),
                patient_id,
                exercise_id: ExerciseId::new(row.exercise_id),
                week: cells.count("week", row.week)?,
                sets: cells.count("sets", row.sets)?,
                repetitions: cells.optional_count("repetitions", row.repetitions)?,
                seconds: cells.optional_count("seconds", row.seconds)?,
                sessions: sessions!(cells, row),
                last_session_at: cells.optional_moment("last_session_at", row.last_session_at)?,
                last_pain: cells.optional_count("last_pain", row.last_pain)?,
                last_exertion: cells.optional_count("last_exertion", row.last_exertion)?,
                last_skip_reason: cells.optional_name("last_skip_reason", row.last_skip_reason.as_deref())?,
                erased_at: cells.optional_moment("erased_at", row.erased_at)?,
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, TreatmentPlan, row.treatment_plan_id, Some(patient_id)),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_plans<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<RowKey>,
) -> BoxFuture<'a, Result<Rows<RowKey, PlanRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let (organizations, ids) = columns(keys);
        let rows = select_plans!(
            tables,
            "where (organization_id, treatment_plan_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.treatment_plan_id.uuid())))
    })
}

/// The rows of exercises that a page builds upon.
pub(crate) fn load_exercises<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<ExerciseKey>,
) -> BoxFuture<'a, Result<Rows<ExerciseKey, PlanExerciseRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let column = |value: fn(&ExerciseKey) -> Uuid| keys.iter().map(value).collect::<Vec<_>>();
        let rows = select_exercises!(
            tables,
            "where (organization_id, treatment_plan_id, assignment_id)
               in (select * from unnest($1::uuid[], $2::uuid[], $3::uuid[]))",
            &column(|key| key.0.uuid()),
            &column(|key| key.1),
            &column(|key| key.2.uuid())
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.treatment_plan_id.uuid(), row.assignment_id)))
    })
}

/// One treatment plan, without its exercises.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_plan(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    treatment_plan_id: TreatmentPlanId,
) -> BoxFuture<'_, Result<Option<PlanRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_plans!(
            connection,
            "where organization_id = $1 and treatment_plan_id = $2",
            organization_id.uuid(),
            treatment_plan_id.uuid()
        );
        Ok(rows.into_iter().next())
    })
}

/// The exercises of a treatment plan, week by week, in the order in which they were assigned. A plan has a bounded
/// number of them.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_plan_exercises(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    treatment_plan_id: TreatmentPlanId,
) -> BoxFuture<'_, Result<Vec<PlanExerciseRecord>, QueryError>> {
    Box::pin(async move {
        Ok(select_exercises!(
            connection,
            "where organization_id = $1 and treatment_plan_id = $2
         order by week, created_position",
            organization_id.uuid(),
            treatment_plan_id.uuid()
        ))
    })
}

/// Treatment plans of an organization, the newest first.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_plans<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a PlanFilter,
    page: Page,
) -> BoxFuture<'a, Result<Vec<PlanRecord>, QueryError>> {
    Box::pin(async move {
        prefer_custom_plans(connection).await?;
        Ok(select_plans!(
            connection,
            "where organization_id = $1
           and created_position < $2
           and ($4::text is null or status = $4)
           and ($5::uuid is null or patient_id = $5)
           and ($6::uuid is null or specialist_id = $6)
         order by created_position desc
         limit $3",
            organization_id.uuid(),
            page.before(),
            page.limit(),
            filter.status.map(PlanStatus::as_str) as _,
            filter.patient_id.map(Uuid::from) as _,
            filter.specialist_id.map(Uuid::from) as _
        ))
    })
}
