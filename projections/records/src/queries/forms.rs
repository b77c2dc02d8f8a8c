//! Forms by id, and lists of them.

use std::collections::HashSet;

use carelog_domain::form::FormStatus;
use carelog_domain::{
    AppointmentId, FormId, FormTemplateId, OrganizationId, PatientId, StreamKind, Timestamp,
};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::cells::{Cells, QueryError, sealed, stamp};
use super::page::{Page, columns, prefer_custom_plans};
use crate::model::{FormRecord, RowKey, Rows};

/// Which forms are wanted; everything that is given has to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormFilter {
    /// How far they have come.
    pub status: Option<FormStatus>,
    /// Who fills them in.
    pub patient_id: Option<PatientId>,
    /// Before which appointment.
    pub appointment_id: Option<AppointmentId>,
}

/// Selects rows; the tail says which.
macro_rules! select_forms {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, form_id, patient_id, template_id, template_version, appointment_id, due_at, \
             status, answer_count, saved_at, content_sha256, signed_by, signed_at, void_reason, \
             voided_at, erased_at, version, lane, position, created_position, created_at, occurred_at, \
             updated_at, personal, personal_key_id, personal_version, personal_event_id, \
             personal_event_type, personal_schema_version from forms "
                + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = Cells { table: "forms", row: row.form_id };
            records.push(FormRecord {
                    organization_id: OrganizationId::new(row.organization_id),
                    form_id: FormId::new(row.form_id),
                    patient_id: PatientId::new(row.patient_id),
                    template_id: FormTemplateId::new(row.template_id),
                    template_version: cells.count("template_version", row.template_version)?,
                    appointment_id: row.appointment_id.map(AppointmentId::new),
                    due_at: cells.optional_moment("due_at", row.due_at)?,
                    status: cells.name("status", &row.status)?,
                    answer_count: cells.count("answer_count", row.answer_count)?,
                    saved_at: cells.optional_moment("saved_at", row.saved_at)?,
                    content_sha256: cells.optional_digest("content_sha256", row.content_sha256.as_deref())?,
                    signed_by: cells.optional_name("signed_by", row.signed_by.as_deref())?,
                    signed_at: cells.optional_moment("signed_at", row.signed_at)?,
                    void_reason: cells.optional_name("void_reason", row.void_reason.as_deref())?,
                    voided_at: cells.optional_moment("voided_at", row.voided_at)?,
                    erased_at: cells.optional_moment("erased_at", row.erased_at)?,
                stamp: stamp!(cells, row),
                personal: sealed!(cells, row, Form, row.form_id, Some(PatientId::new(row.patient_id))),
            });
        }
        records
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_forms<'a>(
    tables: &'a mut PgConnection,
    keys: &'a HashSet<RowKey>,
) -> BoxFuture<'a, Result<Rows<RowKey, FormRecord>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        let (organizations, ids) = columns(keys);
        let rows = select_forms!(
            tables,
            "where (organization_id, form_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(Rows::loaded(rows, |row| (row.organization_id, row.form_id.uuid())))
    })
}

/// One form.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_form(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    form_id: FormId,
) -> BoxFuture<'_, Result<Option<FormRecord>, QueryError>> {
    Box::pin(async move {
        let rows = select_forms!(
            connection,
            "where organization_id = $1 and form_id = $2",
            organization_id.uuid(),
            form_id.uuid()
        );
        Ok(rows.into_iter().next())
    })
}

/// Forms of an organization, the newest assignment first.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_forms<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a FormFilter,
    page: Page,
) -> BoxFuture<'a, Result<Vec<FormRecord>, QueryError>> {
    Box::pin(async move {
        prefer_custom_plans(connection).await?;
        Ok(select_forms!(
            connection,
            "where organization_id = $1
           and created_position < $2
           and ($4::text is null or status = $4)
           and ($5::uuid is null or patient_id = $5)
           and ($6::uuid is null or appointment_id = $6)
         order by created_position desc
         limit $3",
            organization_id.uuid(),
            page.before(),
            page.limit(),
            filter.status.map(FormStatus::as_str) as _,
            filter.patient_id.map(Uuid::from) as _,
            filter.appointment_id.map(Uuid::from) as _
        ))
    })
}

/// Forms that were signed after a moment, and after one of them where several were at once, and that have no document yet,
/// of every organization, the latest last.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_undocumented_forms(
    connection: &mut PgConnection,
    after: (Timestamp, FormId),
    limit: u16,
) -> BoxFuture<'_, Result<Vec<FormRecord>, QueryError>> {
    Box::pin(async move {
        Ok(select_forms!(
            connection,
            "where status = 'signed' and (updated_at, form_id) > ($1, $2) and personal is not null
           and not exists (
               select from files d
               where d.organization_id = forms.organization_id and d.form_id = forms.form_id
                   and d.kind = 'generated_document' and d.status <> 'requested')
         order by updated_at, form_id
         limit $3",
            OffsetDateTime::from(after.0),
            after.1.uuid(),
            i64::from(limit)
        ))
    })
}
