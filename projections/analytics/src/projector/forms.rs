//! The rows of forms.

use carelog_domain::{FormTemplateId, OrganizationId};
use carelog_event_log::runtime::ApplyError;
use carelog_vault::Pseudonym;
use sqlx::PgConnection;

use super::arrays::{Cells, check_written, columns, each, moment};
use crate::model::{Changes, FormFact, Key, Rows};

pub(super) async fn load(tables: &mut PgConnection, keys: &[Key]) -> Result<Rows<FormFact>, ApplyError> {
    if keys.is_empty() {
        return Ok(Rows::default());
    }
    let (organizations, pseudonyms) = columns(keys);
    let rows = sqlx::query!(
        "
        select organization_id, position, last_position, form, patient, template_id,
            template_version, status, assigned_at, due_at, save_count, turnaround_hours,
            is_late
        from form_facts
        where (organization_id, form) in (select * from unnest($1::uuid[], $2::uuid[]))
        ",
        &organizations,
        &pseudonyms
    )
    .fetch_all(tables)
    .await?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in rows {
        let cells = Cells { table: "form_facts", position: row.position };
        let fact = FormFact {
            organization_id: OrganizationId::new(row.organization_id),
            position: row.position,
            last_position: row.last_position,
            form: Pseudonym::stored(row.form),
            patient: Pseudonym::stored(row.patient),
            template_id: FormTemplateId::new(row.template_id),
            template_version: cells.number("template_version", row.template_version)?,
            status: cells.name("status", &row.status)?,
            assigned_at: cells.coarse("assigned_at", row.assigned_at)?,
            due_at: row.due_at.map(|at| cells.coarse("due_at", at)).transpose()?,
            save_count: row.save_count,
            turnaround_hours: row.turnaround_hours,
            is_late: row.is_late,
        };
        loaded.push(((fact.organization_id, fact.form), fact));
    }
    Ok(Rows::loaded(loaded))
}

pub(super) async fn write(tables: &mut PgConnection, rows: &Changes<'_, FormFact>) -> Result<(), ApplyError> {
    insert(tables, &rows.made).await?;
    update(tables, &rows.changed).await
}

async fn insert(tables: &mut PgConnection, rows: &[&FormFact]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into form_facts (
            organization_id, position, last_position, form, patient, template_id, template_version, status,
            assigned_at, due_at, save_count, turnaround_hours, is_late)
        select
            unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::uuid[]),
            unnest($5::uuid[]), unnest($6::uuid[]), unnest($7::integer[]), unnest($8::text[]),
            unnest($9::timestamptz[]), unnest($10::timestamptz[]), unnest($11::integer[]),
            unnest($12::integer[]), unnest($13::boolean[])
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.last_position),
        &each(rows, |r| r.form.uuid()),
        &each(rows, |r| r.patient.uuid()),
        &each(rows, |r| r.template_id.uuid()),
        &each(rows, |r| i32::from(r.template_version)),
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| moment(r.assigned_at)),
        &each(rows, |r| r.due_at.map(moment)) as _,
        &each(rows, |r| r.save_count),
        &each(rows, |r| r.turnaround_hours) as _,
        &each(rows, |r| r.is_late) as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}

async fn update(tables: &mut PgConnection, rows: &[&FormFact]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "
        update form_facts t
        set
            last_position = n.last_position, status = n.status, save_count = n.save_count,
            turnaround_hours = n.turnaround_hours, is_late = n.is_late
        from (
            select
                unnest($1::uuid[]) as organization_id, unnest($2::bigint[]) as position,
                unnest($3::bigint[]) as last_position, unnest($4::text[]) as status,
                unnest($5::integer[]) as save_count, unnest($6::integer[]) as turnaround_hours,
                unnest($7::boolean[]) as is_late
        ) n
        where t.organization_id = n.organization_id and t.position = n.position
            and t.last_position < n.last_position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.last_position),
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| r.save_count),
        &each(rows, |r| r.turnaround_hours) as _,
        &each(rows, |r| r.is_late) as _,
    )
    .execute(tables)
    .await?;
    check_written("form_facts", rows.len(), done.rows_affected())
}
