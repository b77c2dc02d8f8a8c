//! The removal of deliveries whose time is over.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Marks, holds};

/// Rows that one statement looks at: it holds its locks for some milliseconds.
const BATCH: i64 = 500;

/// A delivery behind the mark.
pub(super) struct Looked {
    pub(super) organization_id: Uuid,
    delivery_id: Uuid,
    pub(super) lane: i16,
    pub(super) source_sequence: i64,
    is_over: bool,
}

/// Goes through the deliveries behind the mark, in the order of their key, and removes those whose time is over, but for
/// those about patients under a legal hold. Whether there is one, the log is asked for each batch.
pub(super) async fn remove(system: &mut PgConnection, marks: &Marks) -> Result<i64, sqlx::Error> {
    let mut removed = 0;
    let mut after = (Uuid::nil(), Uuid::nil());
    loop {
        let looked = sqlx::query_as!(
            Looked,
            r#"
            select organization_id, delivery_id, lane, source_sequence,
                   (state = 'delivered' and finished_at < $3
                    or state = 'failed' and delivery_id < public.carelog_id_at($4)) is true as "is_over!"
            from webhooks.webhook_events
            where (organization_id, delivery_id) > ($1, $2)
              and delivery_id < public.carelog_id_at($3)
            order by organization_id, delivery_id
            limit $5
            "#,
            after.0,
            after.1,
            marks.delivered_until,
            marks.failed_until,
            BATCH
        )
        .fetch_all(&mut *system)
        .await?;
        let Some(last) = looked.last() else { return Ok(removed) };
        after = (last.organization_id, last.delivery_id);
        let over: Vec<&Looked> = looked.iter().filter(|row| row.is_over).collect();
        for of_one in over.chunk_by(|one, other| one.organization_id == other.organization_id) {
            let held = holds::about_held(system, of_one).await?;
            let due = of_one.iter().filter(|row| !held.contains(&row.source_sequence));
            let due: Vec<Uuid> = due.map(|row| row.delivery_id).collect();
            let organization_id = of_one.first().map(|row| row.organization_id).unwrap_or_default();
            removed += remove_due(system, organization_id, &due, marks).await?;
        }
        if looked.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            return Ok(removed);
        }
    }
}

/// Removes those deliveries of an organization that nobody has asked to send again meanwhile.
async fn remove_due(
    system: &mut PgConnection,
    organization_id: Uuid,
    due: &[Uuid],
    marks: &Marks,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with gone as (
            delete from webhooks.webhook_events e
            where e.organization_id = $1 and e.delivery_id = any($2)
              and (e.state = 'delivered' and e.finished_at < $3
                   or e.state = 'failed' and e.delivery_id < public.carelog_id_at($4))
            returning e.organization_id, e.delivery_id
        ),
        attempts as (
            delete from webhooks.webhook_attempts a
            using gone g
            where a.organization_id = g.organization_id and a.delivery_id = g.delivery_id
        ),
        answers as (
            delete from kept.webhook_answers k
            using gone g
            where k.organization_id = g.organization_id and k.delivery_id = g.delivery_id
        )
        select count(*) as "removed!"
        from gone
        "#,
        organization_id,
        due,
        marks.delivered_until,
        marks.failed_until
    )
    .fetch_one(system)
    .await
}
