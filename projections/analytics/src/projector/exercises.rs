//! The rows of exercises and of their sessions.

use std::collections::HashSet;

use carelog_domain::treatment_plan::SkipReason;
use carelog_domain::{ExerciseId, OrganizationId};
use carelog_event_log::Position;
use carelog_event_log::runtime::ApplyError;
use carelog_vault::Pseudonym;
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrays::{Cells, check_written, columns, each};
use crate::model::{ExerciseAssignmentFact, ExerciseSessionFact, Key, Rows};

pub(super) async fn load(
    tables: &mut PgConnection,
    keys: &HashSet<Key>,
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
    rows: &[&ExerciseAssignmentFact],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "
        insert into exercise_assignment_facts as t (
            organization_id, position, last_position, assignment, plan, patient, exercise_id, week,
            assigned_sessions, completed_sessions, skipped_sessions)
        select *
        from unnest(
            $1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[],
            $8::smallint[], $9::smallint[], $10::smallint[], $11::smallint[])
        on conflict (organization_id, position) do update
        set
            last_position = excluded.last_position, completed_sessions = excluded.completed_sessions,
            skipped_sessions = excluded.skipped_sessions
        where t.last_position < excluded.last_position
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
    check_written("exercise_assignment_facts", rows.len(), done.rows_affected())
}

pub(super) async fn write_sessions(
    tables: &mut PgConnection,
    rows: &[&ExerciseSessionFact],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "
        insert into exercise_session_facts as t (
            organization_id, position, plan, patient, exercise_id, week, session, outcome, skip_reason,
            pain, exertion, duration_minutes, happened_on)
        select *
        from unnest(
            $1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::smallint[],
            $7::smallint[], $8::text[], $9::text[], $10::smallint[], $11::smallint[], $12::integer[],
            $13::date[])
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
    check_written("exercise_session_facts", rows.len(), done.rows_affected())
}
