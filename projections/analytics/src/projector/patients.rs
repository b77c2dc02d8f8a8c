//! The rows of patients.

use carelog_domain::OrganizationId;
use carelog_event_log::runtime::ApplyError;
use carelog_vault::Pseudonym;
use sqlx::PgConnection;

use super::arrays::{Cells, columns, each};
use crate::model::{Key, PatientFact, Rows};

pub(super) async fn load(tables: &mut PgConnection, keys: &[Key]) -> Result<Rows<PatientFact>, ApplyError> {
    if keys.is_empty() {
        return Ok(Rows::default());
    }
    let (organizations, pseudonyms) = columns(keys);
    let rows = sqlx::query!(
        "
        select organization_id, position, patient, age_band
        from patient_facts
        where (organization_id, patient) in (select * from unnest($1::uuid[], $2::uuid[]))
        ",
        &organizations,
        &pseudonyms
    )
    .fetch_all(tables)
    .await?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in rows {
        let cells = Cells { table: "patient_facts", position: row.position };
        let fact = PatientFact {
            organization_id: OrganizationId::new(row.organization_id),
            position: row.position,
            patient: Pseudonym::stored(row.patient),
            age_band: cells.name("age_band", &row.age_band)?,
        };
        loaded.push(((fact.organization_id, fact.patient), fact));
    }
    Ok(Rows::loaded(loaded))
}

pub(super) async fn write(tables: &mut PgConnection, rows: &[&PatientFact]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into patient_facts (
            organization_id, position, patient, age_band)
        select
            unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::uuid[]), unnest($4::text[])
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.patient.uuid()),
        &each(rows, |r| r.age_band.as_str()) as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}
