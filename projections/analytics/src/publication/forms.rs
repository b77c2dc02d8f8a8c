//! Figures about forms: how many are signed, and how long that takes.

use carelog_domain::access::{AnalyticsDimension as Dimension, CellName, CellValue};
use carelog_domain::{FormTemplateId, OrganizationId};
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::PublishError;
use super::cells::{Cells, Measure};
use super::disclosure::{COUNT_STEP, Shown, disclose};
use super::rows::{Table, figures};

const ASSIGNED: usize = 0;
const SIGNED: usize = 1;
const LATE: usize = 2;
const MEASURES: [Measure; 3] = [Measure::whole(COUNT_STEP), Measure::status(), Measure::part_of(SIGNED)];

pub(super) async fn publish(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    threshold: usize,
) -> Result<(), PublishError> {
    let shown = disclose(&read(tx, organization_id).await?, threshold);
    write(tx, organization_id, &shown).await
}

async fn read(tx: &mut PgConnection, organization_id: OrganizationId) -> Result<Cells<3>, PublishError> {
    let mut facts = sqlx::query!(
        "select patient, template_id, turnaround_hours, is_late from analytics.form_facts where organization_id = $1",
        organization_id.uuid()
    )
    .fetch(tx);
    let mut cells = Cells::new(MEASURES);
    while let Some(fact) = facts.try_next().await? {
        let places = [
            (Dimension::Clinic, CellValue::Name(CellName::All)),
            (Dimension::Template, CellValue::Template(FormTemplateId::new(fact.template_id))),
        ];
        let is_signed = u64::from(fact.turnaround_hours.is_some());
        let weights = [1, is_signed, is_signed * u64::from(fact.is_late == Some(true))];
        cells.add(fact.patient, &places, weights, [fact.turnaround_hours]);
    }
    Ok(cells)
}

async fn write(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    shown: &[Shown<3>],
) -> Result<(), PublishError> {
    let cells: Vec<&Shown<3>> = shown.iter().collect();
    let table = Table::of(organization_id, &cells);
    let medians: Vec<Option<i32>> = cells.iter().map(|cell| cell.medians[0]).collect();
    sqlx::query!("delete from published.form_turnaround where organization_id = $1", organization_id.uuid())
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "
        insert into published.form_turnaround (
            organization_id, dimension, value, is_suppressed, patients, assigned, signed, late, median_turnaround_hours)
        select $1, * from unnest($2::text[], $3::text[], $4::boolean[], $5::integer[], $6::integer[], $7::integer[],
            $8::integer[], $9::integer[])
        ",
        table.organization_id,
        &table.dimensions,
        &table.values,
        &table.suppressed,
        &table.patients as _,
        &figures(&cells, ASSIGNED) as _,
        &figures(&cells, SIGNED) as _,
        &figures(&cells, LATE) as _,
        &medians as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}
