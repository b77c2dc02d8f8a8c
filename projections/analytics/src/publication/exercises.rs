//! Figures about exercises: what was done in each week of a plan, and on how many days in a row.

use carelog_domain::OrganizationId;
use carelog_domain::access::{AnalyticsDimension as Dimension, CellName, CellValue};
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::PublishError;
use super::cells::{Cells, Measure};
use super::disclosure::{COUNT_STEP, Shown, disclose};
use super::rows::{self, Table, rate, sums};

const ASSIGNED: usize = 0;
const COMPLETED: usize = 1;
const SKIPPED: usize = 2;
const MEASURES: [Measure; 3] = [Measure::whole(COUNT_STEP), Measure::status(), Measure::status()];

pub(super) async fn publish_weeks(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    threshold: usize,
) -> Result<(), PublishError> {
    let weeks = disclose(&read_weeks(tx, organization_id).await?, threshold);
    write_weeks(tx, organization_id, &weeks).await
}

pub(super) async fn publish_streaks(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    threshold: usize,
) -> Result<(), PublishError> {
    let streaks = disclose(&read_streaks(tx, organization_id).await?, threshold);
    write_streaks(tx, organization_id, &streaks).await
}

async fn read_weeks(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
) -> Result<Cells<3>, PublishError> {
    let mut facts = sqlx::query!(
        "
        select position, patient, week, assigned_sessions, completed_sessions, skipped_sessions
        from analytics.exercise_assignment_facts
        where organization_id = $1
        ",
        organization_id.uuid()
    )
    .fetch(tx);
    let mut cells = Cells::new(MEASURES);
    while let Some(fact) = facts.try_next().await? {
        let count = |column, sessions: i16| {
            u64::try_from(sessions)
                .map_err(|_| rows::wrong("exercise_assignment_facts", column, fact.position))
        };
        let week = u16::try_from(fact.week)
            .map_err(|_| rows::wrong("exercise_assignment_facts", "week", fact.position))?;
        let weights = [
            count("assigned_sessions", fact.assigned_sessions)?,
            count("completed_sessions", fact.completed_sessions)?,
            count("skipped_sessions", fact.skipped_sessions)?,
        ];
        cells.add(fact.patient, &[(Dimension::ProgrammeWeek, CellValue::Number(week))], weights, [None]);
    }
    Ok(cells)
}

async fn write_weeks(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    shown: &[Shown<3>],
) -> Result<(), PublishError> {
    let cells: Vec<&Shown<3>> = shown.iter().collect();
    let table = Table::of(organization_id, &cells);
    let rates: Vec<Option<f64>> =
        cells.iter().map(|cell| rate(cell.figures[COMPLETED], cell.figures[ASSIGNED])).collect();
    sqlx::query!(
        "delete from published.exercise_completion where organization_id = $1",
        organization_id.uuid()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "
        insert into published.exercise_completion (
            organization_id, dimension, value, is_suppressed, patients, assigned_sessions, completed_sessions,
            skipped_sessions, completion_rate)
        select $1, * from unnest($2::text[], $3::text[], $4::boolean[], $5::integer[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::float8[])
        ",
        table.organization_id,
        &table.dimensions,
        &table.values,
        &table.suppressed,
        &table.patients as _,
        &sums(&cells, ASSIGNED) as _,
        &sums(&cells, COMPLETED) as _,
        &sums(&cells, SKIPPED) as _,
        &rates as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Each patient once, under the most days in a row.
async fn read_streaks(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
) -> Result<Cells<1>, PublishError> {
    let mut patients = sqlx::query!(
        r#"
        with days as (
            select distinct patient, happened_on
            from analytics.exercise_session_facts
            where outcome = 'completed' and organization_id = $1
        ), runs as (
            select patient,
                happened_on - (row_number() over (partition by patient order by happened_on))::integer as run
            from days
        ), lengths as (
            select patient, run, count(*) as days from runs group by patient, run
        )
        select patient, max(days) as "days!" from lengths group by patient
        "#,
        organization_id.uuid()
    )
    .fetch(tx);
    let mut cells = Cells::new([Measure::whole(COUNT_STEP)]);
    while let Some(patient) = patients.try_next().await? {
        let value = match patient.days {
            ..=1 => CellValue::Number(1),
            2..=3 => CellValue::Name(CellName::Days2To3),
            4..=6 => CellValue::Name(CellName::Days4To6),
            7.. => CellValue::Name(CellName::Days7),
        };
        cells.add(patient.patient, &[(Dimension::LongestStreak, value)], [1], [None]);
    }
    Ok(cells)
}

async fn write_streaks(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    shown: &[Shown<1>],
) -> Result<(), PublishError> {
    let cells: Vec<&Shown<1>> = shown.iter().collect();
    let table = Table::of(organization_id, &cells);
    sqlx::query!("delete from published.exercise_streaks where organization_id = $1", organization_id.uuid())
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "
        insert into published.exercise_streaks (organization_id, dimension, value, is_suppressed, patients)
        select $1, * from unnest($2::text[], $3::text[], $4::boolean[], $5::integer[])
        ",
        table.organization_id,
        &table.dimensions,
        &table.values,
        &table.suppressed,
        &table.patients as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}
