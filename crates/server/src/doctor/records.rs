//! Whether the rows of current state are as new as their streams.

use sqlx::PgConnection;

use super::{Finding, MAX_NAMED};

pub(super) async fn records(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(
        r#"
        select (select count(*) from records.organizations) + (select count(*) from records.patients)
             + (select count(*) from records.specialists) + (select count(*) from records.appointments)
             + (select count(*) from records.forms) + (select count(*) from records.files)
             + (select count(*) from records.treatment_plans) as "count!"
        "#
    )
    .fetch_one(&mut *connection)
    .await?;
    // Every event of these streams touches the row of its stream.
    let damage = sqlx::query_scalar!(
        r#"
        with checkpoints as materialized (
            select c.lane, c.position, c.version
            from runtime.checkpoints c
            join runtime.projections p on p.projector = c.projector and p.live_version = c.version
            where c.projector = 'records'
        ),
        rows as (
            select 'organization' as stream_kind, organization_id, organization_id as stream_id, version, position
            from records.organizations
            union all
            select 'patient', organization_id, patient_id, version, position from records.patients
            union all
            select 'specialist', organization_id, specialist_id, version, position from records.specialists
            union all
            select 'appointment', organization_id, appointment_id, version, position from records.appointments
            union all
            select 'form', organization_id, form_id, version, position from records.forms
            union all
            select 'file', organization_id, file_id, version, position from records.files
            union all
            select 'treatment_plan', organization_id, treatment_plan_id, version, position
            from records.treatment_plans
        ),
        heads as (
            select h.stream_kind, h.organization_id, h.stream_id, h.version, h.first_position, h.last_position,
                   coalesce(c.position, 0) as checkpoint
            from log.stream_heads h
            join log.organizations o on o.organization_id = h.organization_id
            left join checkpoints c on c.lane = o.lane
            where h.stream_kind in ('organization', 'patient', 'specialist', 'appointment', 'form', 'file',
                                    'treatment_plan')
              and not exists (
                  select
                  from runtime.quarantine q
                  where q.projector = 'records'
                    and q.version = c.version
                    and q.organization_id = h.organization_id
                    and q.stream_id = h.stream_id
              )
        )
        select case
                   when h.version is null then format('%s %s of organization %s: a row without a stream',
                                                      stream_kind, stream_id, organization_id)
                   when r.version is null then format('%s %s of organization %s: no row, though its first event is applied',
                                                      stream_kind, stream_id, organization_id)
                   else format('%s %s of organization %s: the row shows version %s, its stream has %s up to position %s and the checkpoint is %s',
                               stream_kind, stream_id, organization_id, r.version, h.version, h.last_position,
                               h.checkpoint)
               end as "damage!"
        from heads h
        full join rows r using (stream_kind, organization_id, stream_id)
        where (h.version is null and not exists (
                  select from runtime.quarantine q
                  where q.projector = 'records' and q.organization_id = r.organization_id and q.stream_id = r.stream_id
              ))
           or (r.version is null and h.first_position <= h.checkpoint)
           or r.version > h.version
           or r.position > h.checkpoint
           or (r.version <> h.version and h.last_position <= h.checkpoint)
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("records are as new as their streams", checked, damage))
}
