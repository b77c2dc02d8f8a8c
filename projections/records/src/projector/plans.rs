//! The rows of treatment plans and of their exercises.

use carelog_domain::treatment_plan::{PlanOutcome, SkipReason};
use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;

use super::arrays::{Seals, Stamps, check_written, each, moment};
use crate::model::{PlanExerciseRecord, PlanRecord};

pub(super) async fn write_plans(tables: &mut PgConnection, rows: &[&PlanRecord]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into treatment_plans as t (
            organization_id, treatment_plan_id, patient_id, specialist_id, starts_at, week_count, status, outcome,
            completed_at, assigned_sessions, completed_sessions, skipped_sessions, version, lane, position,
            created_position, created_at, occurred_at, updated_at, personal, personal_key_id, personal_version,
            personal_event_id, personal_event_type, personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::integer[], $7::text[],
            $8::text[], $9::timestamptz[], $10::integer[], $11::integer[], $12::integer[], $13::bigint[],
            $14::smallint[], $15::bigint[], $16::bigint[], $17::timestamptz[], $18::timestamptz[],
            $19::timestamptz[], $20::bytea[], $21::uuid[], $22::bigint[], $23::uuid[], $24::text[],
            $25::smallint[])
        on conflict (organization_id, treatment_plan_id) do update
        set status = excluded.status, outcome = excluded.outcome, completed_at = excluded.completed_at,
            assigned_sessions = excluded.assigned_sessions, completed_sessions = excluded.completed_sessions,
            skipped_sessions = excluded.skipped_sessions, version = excluded.version,
            position = excluded.position, occurred_at = excluded.occurred_at, updated_at = excluded.updated_at
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.treatment_plan_id.uuid()),
        &each(rows, |r| r.patient_id.uuid()),
        &each(rows, |r| r.specialist_id.uuid()),
        &each(rows, |r| moment(r.starts_at)),
        &each(rows, |r| i32::from(r.week_count)),
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| r.outcome.map(PlanOutcome::as_str)) as _,
        &each(rows, |r| r.completed_at.map(moment)) as _,
        &each(rows, |r| i32::from(r.sessions.assigned)),
        &each(rows, |r| i32::from(r.sessions.completed)),
        &each(rows, |r| i32::from(r.sessions.skipped)),
        &stamps.version,
        &stamps.lane,
        &stamps.position,
        &stamps.created_position,
        &stamps.created_at,
        &stamps.occurred_at,
        &stamps.updated_at,
        &seals.bytes as _,
        &seals.key_id as _,
        &seals.version as _,
        &seals.event_id as _,
        &seals.event_type as _,
        &seals.schema_version as _,
    )
    .execute(tables)
    .await?;
    check_written("treatment_plans", rows.len(), done.rows_affected())
}

pub(super) async fn write_exercises(
    tables: &mut PgConnection,
    rows: &[&PlanExerciseRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into treatment_plan_exercises as t (
            organization_id, treatment_plan_id, assignment_id, patient_id, exercise_id, week, sets, repetitions,
            seconds, assigned_sessions, completed_sessions, skipped_sessions, last_session_at, last_pain,
            last_exertion, last_skip_reason, version, lane, position, created_position, created_at, occurred_at,
            updated_at, personal, personal_key_id, personal_version, personal_event_id, personal_event_type,
            personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::integer[], $7::integer[],
            $8::integer[], $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::timestamptz[],
            $14::integer[], $15::integer[], $16::text[], $17::bigint[], $18::smallint[], $19::bigint[],
            $20::bigint[], $21::timestamptz[], $22::timestamptz[], $23::timestamptz[], $24::bytea[], $25::uuid[],
            $26::bigint[], $27::uuid[], $28::text[], $29::smallint[])
        on conflict (organization_id, treatment_plan_id, assignment_id) do update
        set completed_sessions = excluded.completed_sessions, skipped_sessions = excluded.skipped_sessions,
            last_session_at = excluded.last_session_at, last_pain = excluded.last_pain,
            last_exertion = excluded.last_exertion, last_skip_reason = excluded.last_skip_reason,
            version = excluded.version, position = excluded.position, occurred_at = excluded.occurred_at,
            updated_at = excluded.updated_at
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.treatment_plan_id.uuid()),
        &each(rows, |r| r.assignment_id.uuid()),
        &each(rows, |r| r.patient_id.uuid()),
        &each(rows, |r| r.exercise_id.uuid()),
        &each(rows, |r| i32::from(r.week)),
        &each(rows, |r| i32::from(r.sets)),
        &each(rows, |r| r.repetitions.map(i32::from)) as _,
        &each(rows, |r| r.seconds.map(i32::from)) as _,
        &each(rows, |r| i32::from(r.sessions.assigned)),
        &each(rows, |r| i32::from(r.sessions.completed)),
        &each(rows, |r| i32::from(r.sessions.skipped)),
        &each(rows, |r| r.last_session_at.map(moment)) as _,
        &each(rows, |r| r.last_pain.map(i32::from)) as _,
        &each(rows, |r| r.last_exertion.map(i32::from)) as _,
        &each(rows, |r| r.last_skip_reason.map(SkipReason::as_str)) as _,
        &stamps.version,
        &stamps.lane,
        &stamps.position,
        &stamps.created_position,
        &stamps.created_at,
        &stamps.occurred_at,
        &stamps.updated_at,
        &seals.bytes as _,
        &seals.key_id as _,
        &seals.version as _,
        &seals.event_id as _,
        &seals.event_type as _,
        &seals.schema_version as _,
    )
    .execute(tables)
    .await?;
    check_written("treatment_plan_exercises", rows.len(), done.rows_affected())
}
