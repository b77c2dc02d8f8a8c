//! Patients by id, lists of them, and what they agreed to.

use std::collections::HashSet;

use carelog_domain::{LegalHoldId, OrganizationId, PatientId, StreamKind, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::cells::{Cells, QueryError, sealed, stamp};
use super::page::{Page, columns, prefer_custom_plans};
use crate::model::{ConsentKey, ConsentRecord, PatientRecord, PatientStatus, RowKey, Rows};

/// Selects rows; the tail says which.
macro_rules! select_patients {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, patient_id, status, birth_year, onboarded_at, erased_at, version, lane, \
             position, created_position, created_at, occurred_at, updated_at, personal, personal_key_id, \
             personal_version, personal_event_id, personal_event_type, personal_schema_version, legal_holds from patients "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "patients", row: row.patient_id };
            records.push(PatientRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    patient_id: PatientId::new(row.patient_id),
                    status: cells.name("status", &row.status)?,
                    birth_year: cells.optional_count("birth_year", row.birth_year)?,
                    onboarded_at: cells.optional_moment("onboarded_at", row.onboarded_at)?,
                    erased_at: cells.optional_moment("erased_at", row.erased_at)?,
                    legal_holds: row.legal_holds.into_iter().map(LegalHoldId::new).collect(),
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, Patient, row.patient_id, Some(PatientId::new(row.patient_id))),
            });
        }
        records
    }};
}

/// Selects rows; the tail says which.
macro_rules! select_consents {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, patient_id, consent, consent_version, given_at, withdrawn_at, version, \
             lane, position, created_position, created_at, occurred_at, updated_at from patient_consents "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "patient_consents", row: row.patient_id };
            records.push(ConsentRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    patient_id: PatientId::new(row.patient_id),
                    consent: cells.name("consent", &row.consent)?,
                    consent_version: cells.count("consent_version", row.consent_version)?,
                    given_at: cells.moment("given_at", row.given_at)?,
                    withdrawn_at: cells.optional_moment("withdrawn_at", row.withdrawn_at)?,
                stamp: stamp!(cells, row),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_patients<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<RowKey>,
) -> BoxFuture<'a, Result<Rows<RowKey, PatientRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let (organizations, ids) = columns(keys);
        let rows = select_patients!(
            tables,
            "where (organization_id, patient_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.patient_id.uuid())))
    })
}

/// The rows that a page builds upon.
pub(crate) fn load_consents<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<ConsentKey>,
) -> BoxFuture<'a, Result<Rows<ConsentKey, ConsentRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let organizations: Vec<Uuid> = keys.iter().map(|key| key.0.uuid()).collect();
        let patients: Vec<Uuid> = keys.iter().map(|key| key.1).collect();
        let consents: Vec<&str> = keys.iter().map(|key| key.2.as_str()).collect();
        let rows = select_consents!(
            tables,
            "where (organization_id, patient_id, consent) in
             (select * from unnest($1::uuid[], $2::uuid[], $3::text[]))",
            &organizations,
            &patients,
            &consents as _
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.patient_id.uuid(), row.consent)))
    })
}

/// One patient.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_patient(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    patient_id: PatientId,
) -> BoxFuture<'_, Result<Option<PatientRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_patients!(
            connection,
            "where organization_id = $1 and patient_id = $2",
            organization_id.uuid(),
            patient_id.uuid()
        );
        Ok(rows.into_iter().next())
    })
}

/// The organizations with a patient whose erasure is under way. For the worker that carries erasures out: it looks
/// across organizations.
///
/// # Errors
/// When the database fails.
pub fn organizations_with_erasures(
    connection: &mut PgConnection,
) -> BoxFuture<'_, Result<Vec<OrganizationId>, sqlx::Error>> {
    Box::pin(async move {
        let ids = sqlx::query_scalar!(
            "select distinct organization_id from patients where status = 'erasing' order by organization_id"
        )
        .fetch_all(connection)
        .await?;
        Ok(ids.into_iter().map(OrganizationId::new).collect())
    })
}

/// Patients of an organization, the newest first.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_patients(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    status: Option<PatientStatus>,
    page: Page,
) -> BoxFuture<'_, Result<Vec<PatientRecord>, QueryError>> {
    Box::pin(async move {
        prefer_custom_plans(connection).await?;
        Ok(select_patients!(
            connection,
            "where organization_id = $1
           and created_position < $2
           and ($4::text is null or status = $4)
         order by created_position desc
         limit $3",
            organization_id.uuid(),
            page.before(),
            page.limit(),
            status.map(PatientStatus::as_str) as _
        ))
    })
}

/// Everything that a patient ever agreed to, in the order of names.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_consents(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    patient_id: PatientId,
) -> BoxFuture<'_, Result<Vec<ConsentRecord>, QueryError>> {
    Box::pin(async move {
        Ok(select_consents!(
            connection,
            "where organization_id = $1 and patient_id = $2 order by consent",
            organization_id.uuid(),
            patient_id.uuid()
        ))
    })
}

/// Patients whose erasure was complete after a moment, and after one of them where several were at once, of every
/// organization, the latest last.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_erased_patients(
    connection: &mut PgConnection,
    after: (Timestamp, PatientId),
    limit: u16,
) -> BoxFuture<'_, Result<Vec<PatientRecord>, QueryError>> {
    Box::pin(async move {
        Ok(select_patients!(
            connection,
            "where status = 'erased' and (updated_at, patient_id) > ($1, $2)
         order by updated_at, patient_id
         limit $3",
            OffsetDateTime::from(after.0),
            after.1.uuid(),
            i64::from(limit)
        ))
    })
}
