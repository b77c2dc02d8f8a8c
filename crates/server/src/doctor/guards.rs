//! What keeps the log from being changed, and its next events from having no place.

use sqlx::PgConnection;

use super::Finding;

/// Every table that events lie in refuses changes, for everybody and in every mode of the session: a trigger for
/// each statement guards only the table that the statement names.
pub(super) async fn triggers(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    // 58 = before (2), delete (8), update (16), truncate (32); bit 1 would be "for each row".
    let rows = sqlx::query!(
        r#"
        select t.relid::regclass::text as "table!",
               exists (
                   select
                   from pg_trigger g
                   join pg_proc p on p.oid = g.tgfoid
                   where g.tgrelid = t.relid
                     and g.tgtype = 58
                     and g.tgenabled = 'A'
                     and g.tgqual is null
                     and p.oid = 'log.refuse_change'::regproc
                     and p.prosrc like '%raise exception%'
               ) as "is_guarded!"
        from pg_partition_tree('log.events') t
        order by 1
        "#
    )
    .fetch_all(connection)
    .await?;
    let checked = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let damage = rows
        .into_iter()
        .filter(|row| !row.is_guarded)
        .map(|row| format!("{} has no trigger that always refuses update, delete and truncate", row.table))
        .collect();
    Ok(Finding::new("every table of the log refuses changes", checked, damage))
}

pub(super) async fn partitions(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select wanted.name as "name!",
               exists (
                   select
                   from pg_partition_tree('log.events') t
                   where t.isleaf and t.relid = to_regclass('log.' || wanted.name)
               ) as "is_there!",
               (
                   select count(*)
                   from pg_index i
                   join pg_class c on c.oid = i.indexrelid
                   where i.indrelid = to_regclass('log.' || wanted.name)
                     and i.indisunique
                     and i.indisvalid
                     and c.relname in (wanted.name || '_sequence', wanted.name || '_stream')
               ) as "indexes!"
        from (
            select distinct format('events_lane_%s_from_%s', h.lane, at / log.leaf_size() * log.leaf_size() + 1) as name
            from log.lane_heads h
            cross join lateral unnest(array[greatest(h.position - 1, 0), h.position]) as at
            union
            select c.relname
            from pg_partition_tree('log.events') t
            join pg_class c on c.oid = t.relid
            where t.isleaf
        ) wanted
        order by 1
        "#
    )
    .fetch_all(connection)
    .await?;
    let checked = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let mut damage = Vec::new();
    for row in rows {
        if !row.is_there {
            damage.push(format!("the partition log.{} is missing", row.name));
        } else if row.indexes != 2 {
            damage.push(format!("log.{} lacks a unique index over sequences or streams", row.name));
        }
    }
    Ok(Finding::new("partitions for the next events are there, with their unique indexes", checked, damage))
}

/// The run-time roles append through a function and by no other way.
pub(super) async fn rights(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select r.rolname::text as "role!", t.relid::regclass::text as "table!",
               has_table_privilege(r.oid, t.relid, 'insert, update, delete, truncate')
                   or has_any_column_privilege(r.oid, t.relid, 'insert, update')
                   or r.rolsuper
                   or pg_has_role(r.oid, c.relowner, 'member') as "can_write!"
        from pg_roles r
        cross join (
            select relid::oid as relid from pg_partition_tree('log.events')
            union all
            select unnest(array['log.settings', 'log.lane_heads', 'log.organizations', 'log.stream_heads'])
                       ::regclass::oid
        ) t
        join pg_class c on c.oid = t.relid
        where r.rolname in ('carelog_app', 'carelog_system', 'carelog_vault', 'carelog_pseudonyms', 'carelog_analyst')
        order by 1, 2
        "#
    )
    .fetch_all(connection)
    .await?;
    let checked = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let damage = rows
        .into_iter()
        .filter(|row| row.can_write)
        .map(|row| format!("the role {} can write to {} directly", row.role, row.table))
        .collect();
    Ok(Finding::new("run-time roles cannot write to the log's tables", checked, damage))
}
