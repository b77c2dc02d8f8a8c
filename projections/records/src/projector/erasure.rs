//! Taking sealed values of patients whose keys are gone out of the rows that other streams made.

use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::RowKey;

/// Patients whose keys are gone, column by column.
struct Erased {
    organizations: Vec<Uuid>,
    patients: Vec<Uuid>,
    moments: Vec<OffsetDateTime>,
}

/// Empties the sealed columns of these patients' appointments, forms, files and treatment plans, as far as the patients
/// are erased.
pub(super) async fn erase_sealed(
    tables: &mut PgConnection,
    candidates: impl Iterator<Item = RowKey>,
) -> Result<(), ApplyError> {
    let erased = erased_among(tables, candidates).await?;
    if erased.patients.is_empty() {
        return Ok(());
    }
    erase_appointments(tables, &erased).await?;
    erase_forms(tables, &erased).await?;
    erase_files(tables, &erased).await?;
    erase_plans(tables, &erased).await?;
    erase_exercises(tables, &erased).await?;
    Ok(())
}

async fn erased_among(
    tables: &mut PgConnection,
    candidates: impl Iterator<Item = RowKey>,
) -> Result<Erased, sqlx::Error> {
    let (organizations, patients): (Vec<Uuid>, Vec<Uuid>) =
        candidates.map(|(organization_id, patient_id)| (organization_id.uuid(), patient_id)).unzip();
    let mut erased = Erased { organizations: Vec::new(), patients: Vec::new(), moments: Vec::new() };
    if patients.is_empty() {
        return Ok(erased);
    }
    let rows = sqlx::query!(
        r#"
        select organization_id, patient_id, erased_at as "erased_at!"
        from patients
        where erased_at is not null
          and (organization_id, patient_id) in (select * from unnest($1::uuid[], $2::uuid[]))
        "#,
        &organizations,
        &patients
    )
    .fetch_all(tables)
    .await?;
    for row in rows {
        erased.organizations.push(row.organization_id);
        erased.patients.push(row.patient_id);
        erased.moments.push(row.erased_at);
    }
    Ok(erased)
}

async fn erase_appointments(tables: &mut PgConnection, erased: &Erased) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update appointments a
        set erased_at = e.erased_at, personal = null, personal_key_id = null, personal_version = null,
            personal_event_id = null, personal_event_type = null, personal_schema_version = null
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as e (organization_id, patient_id, erased_at)
        where a.organization_id = e.organization_id and a.patient_id = e.patient_id and a.personal is not null
        ",
        &erased.organizations,
        &erased.patients,
        &erased.moments
    )
    .execute(tables)
    .await?;
    Ok(())
}

async fn erase_forms(tables: &mut PgConnection, erased: &Erased) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update forms f
        set erased_at = e.erased_at, personal = null, personal_key_id = null, personal_version = null,
            personal_event_id = null, personal_event_type = null, personal_schema_version = null
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as e (organization_id, patient_id, erased_at)
        where f.organization_id = e.organization_id and f.patient_id = e.patient_id and f.personal is not null
        ",
        &erased.organizations,
        &erased.patients,
        &erased.moments
    )
    .execute(tables)
    .await?;
    Ok(())
}

async fn erase_files(tables: &mut PgConnection, erased: &Erased) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update files f
        set erased_at = e.erased_at, personal = null, personal_key_id = null, personal_version = null,
            personal_event_id = null, personal_event_type = null, personal_schema_version = null
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as e (organization_id, patient_id, erased_at)
        where f.organization_id = e.organization_id and f.patient_id = e.patient_id and f.personal is not null
        ",
        &erased.organizations,
        &erased.patients,
        &erased.moments
    )
    .execute(tables)
    .await?;
    Ok(())
}

async fn erase_plans(tables: &mut PgConnection, erased: &Erased) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update treatment_plans p
        set erased_at = e.erased_at, personal = null, personal_key_id = null, personal_version = null,
            personal_event_id = null, personal_event_type = null, personal_schema_version = null
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as e (organization_id, patient_id, erased_at)
        where p.organization_id = e.organization_id and p.patient_id = e.patient_id and p.personal is not null
        ",
        &erased.organizations,
        &erased.patients,
        &erased.moments
    )
    .execute(tables)
    .await?;
    Ok(())
}

async fn erase_exercises(tables: &mut PgConnection, erased: &Erased) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update treatment_plan_exercises x
        set erased_at = e.erased_at, personal = null, personal_key_id = null, personal_version = null,
            personal_event_id = null, personal_event_type = null, personal_schema_version = null
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as e (organization_id, patient_id, erased_at)
        where x.organization_id = e.organization_id and x.patient_id = e.patient_id and x.personal is not null
        ",
        &erased.organizations,
        &erased.patients,
        &erased.moments
    )
    .execute(tables)
    .await?;
    Ok(())
}
