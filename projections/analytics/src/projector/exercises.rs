//! The rows of exercises and of their sessions.

use carelog_domain::treatment_plan::SkipReason;
use carelog_domain::{ExerciseId, OrganizationId};
use carelog_event_log::Position;
use carelog_event_log::runtime::ApplyError;
use carelog_vault::Pseudonym;
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrays::{Cells, check_written, columns, each};
use crate::model::{Changes, ExerciseAssignmentFact, ExerciseSessionFact, Key, Rows};

pub(super) async fn load(
    tables: &mut PgConnection,
    keys: &[Key],
) -> Result<Rows<ExerciseAssignmentFact>, ApplyError> {
    if keys.is_empty() {
        return Ok(Rows::default());
    }
    let (organizations, pseudonyms) = columns(keys);
    let rows = sqlx::query!(
        "
        select organization_id, position, last_position, assignment, plan, patient,
            exercise_id, week, assigned_sessions, completed_sessions, skipped_sessions
        from exercise_assignment_facts
        where (organization_id, assignment) in (select * from unnest($1::uuid[], $2::uuid[]))
        ",
        &organizations,
        &pseudonyms
    )
    .fetch_all(tables)
    .await?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in rows {
        let cells = Cells { table: "exercise_assignment_facts", position: row.position };
        let fact = ExerciseAssignmentFact {
            organization_id: OrganizationId::new(row.organization_id),
            position: row.position,
            last_position: row.last_position,
            assignment: Pseudonym::stored(row.assignment),
            plan: Pseudonym::stored(row.plan),
            patient: Pseudonym::stored(row.patient),
            exercise_id: ExerciseId::new(row.exercise_id),
            week: cells.number("week", row.week)?,
            assigned_sessions: cells.number("assigned_sessions", row.assigned_sessions)?,
            completed_sessions: cells.number("completed_sessions", row.completed_sessions)?,
            skipped_sessions: cells.number("skipped_sessions", row.skipped_sessions)?,
        };
        loaded.push(((fact.organization_id, fact.assignment), fact));
    }
    Ok(Rows::loaded(loaded))
}

/// The sessions that events at these places tell of.
pub(super) async fn load_sessions(
    tables: &mut PgConnection,
    organizations: &[Uuid],
    positions: &[Position],
) -> Result<Vec<ExerciseSessionFact>, ApplyError> {
    let rows = sqlx::query!(
        "
        select organization_id, position, plan, patient, exercise_id, week, session, outcome, skip_reason, pain,
            exertion, duration_minutes, happened_on
        from exercise_session_facts
        where (organization_id, position) in (select * from unnest($1::uuid[], $2::bigint[]))
        order by position
        ",
        organizations,
        positions
    )
    .fetch_all(tables)
    .await?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in rows {
        let cells = Cells { table: "exercise_session_facts", position: row.position };
        let reason = row.skip_reason.map(|name| cells.name("skip_reason", &name));
        loaded.push(ExerciseSessionFact {
            organization_id: OrganizationId::new(row.organization_id),
            position: row.position,
            plan: Pseudonym::stored(row.plan),
            patient: Pseudonym::stored(row.patient),
            exercise_id: ExerciseId::new(row.exercise_id),
            week: cells.number("week", row.week)?,
            session: cells.number("session", row.session)?,
            outcome: cells.name("outcome", &row.outcome)?,
            skip_reason: reason.transpose()?,
            pain: row.pain.map(|pain| cells.number("pain", pain)).transpose()?,
            exertion: row.exertion.map(|exertion| cells.number("exertion", exertion)).transpose()?,
            duration_minutes: row.duration_minutes,
            happened_on: row.happened_on,
        });
    }
    Ok(loaded)
}

pub(super) async fn write_assignments(
    tables: &mut PgConnection,
    rows: &Changes<'_, ExerciseAssignmentFact>,
) -> Result<(), ApplyError> {
    insert_assignments(tables, &rows.made).await?;
    update_assignments(tables, &rows.changed).await
}

async fn insert_assignments(
    tables: &mut PgConnection,
    rows: &[&ExerciseAssignmentFact],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into exercise_assignment_facts (
            organization_id, position, last_position, assignment, plan, patient, exercise_id, week,
            assigned_sessions, completed_sessions, skipped_sessions)
        select
            unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::uuid[]),
            unnest($5::uuid[]), unnest($6::uuid[]), unnest($7::uuid[]), unnest($8::smallint[]),
            unnest($9::smallint[]), unnest($10::smallint[]), unnest($11::smallint[])
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.last_position),
        &each(rows, |r| r.assignment.uuid()),
        &each(rows, |r| r.plan.uuid()),
        &each(rows, |r| r.patient.uuid()),
        &each(rows, |r| r.exercise_id.uuid()),
        &each(rows, |r| i16::from(r.week)),
        &each(rows, |r| i16::from(r.assigned_sessions)),
        &each(rows, |r| i16::from(r.completed_sessions)),
        &each(rows, |r| i16::from(r.skipped_sessions)),
    )
    .execute(tables)
    .await?;
    Ok(())
}

async fn update_assignments(
    tables: &mut PgConnection,
    rows: &[&ExerciseAssignmentFact],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "
        update exercise_assignment_facts t
        set
            last_position = n.last_position, completed_sessions = n.completed_sessions,
            skipped_sessions = n.skipped_sessions
        from (
            select
                unnest($1::uuid[]) as organization_id, unnest($2::bigint[]) as position,
                unnest($3::bigint[]) as last_position, unnest($4::smallint[]) as completed_sessions,
                unnest($5::smallint[]) as skipped_sessions
        ) n
        where t.organization_id = n.organization_id and t.position = n.position
            and t.last_position < n.last_position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.last_position),
        &each(rows, |r| i16::from(r.completed_sessions)),
        &each(rows, |r| i16::from(r.skipped_sessions)),
    )
    .execute(tables)
    .await?;
    check_written("exercise_assignment_facts", rows.len(), done.rows_affected())
}

pub(super) async fn write_sessions(
    tables: &mut PgConnection,
    rows: &[&ExerciseSessionFact],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into exercise_session_facts (
            organization_id, position, plan, patient, exercise_id, week, session, outcome, skip_reason, pain,
            exertion, duration_minutes, happened_on)
        select
            unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::uuid[]), unnest($4::uuid[]),
            unnest($5::uuid[]), unnest($6::smallint[]), unnest($7::smallint[]), unnest($8::text[]),
            unnest($9::text[]), unnest($10::smallint[]), unnest($11::smallint[]), unnest($12::integer[]),
            unnest($13::date[])
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.plan.uuid()),
        &each(rows, |r| r.patient.uuid()),
        &each(rows, |r| r.exercise_id.uuid()),
        &each(rows, |r| i16::from(r.week)),
        &each(rows, |r| i16::from(r.session)),
        &each(rows, |r| r.outcome.as_str()) as _,
        &each(rows, |r| r.skip_reason.map(SkipReason::as_str)) as _,
        &each(rows, |r| r.pain.map(i16::from)) as _,
        &each(rows, |r| r.exertion.map(i16::from)) as _,
        &each(rows, |r| r.duration_minutes) as _,
        &each(rows, |r| r.happened_on),
    )
    .execute(tables)
    .await?;
    Ok(())
}
