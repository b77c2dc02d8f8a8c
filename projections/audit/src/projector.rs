//! Enters a page into the trail, with one statement.

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::PurposeOfUse;
use carelog_event_log::RecordedEvent;
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::Entry;

/// The projector of the audit trail. It wants nothing done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audit;

impl Projector for Audit {
    type Intent = ();
    type Memory = ();

    const NAME: &'static str = "audit";

    const SCHEMA: ProjectionSchema = ProjectionSchema {
        name: "audit",
        sql: include_str!("../../../migrations/audit/0002_audit.sql"),
        tables: &["trail"],
    };

    const ON_POISON: OnPoison = OnPoison::Stop;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn is_pressing(&self, _: &RecordedEvent) -> bool {
        false
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        (): &'a mut (),
        page: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<()>, ApplyError>> {
        Box::pin(async move {
            let entries: Vec<Entry> = page.iter().map(|event| Entry::of(event)).collect::<Result<_, _>>()?;
            insert(tables, &entries).await?;
            Ok(Vec::new())
        })
    }
}

/// A plain insert: an entry that is there already is a fault, and must not pass for a success.
async fn insert(tables: &mut PgConnection, entries: &[Entry]) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into trail (
            organization_id, sequence, position, occurred_at, recorded_at, event_id, correlation_id, causation_id,
            request_id, subject_id, actor_id, actor_on_behalf_of, target_id, lane, event_type, action, outcome,
            actor_kind, actor_role, target_kind, purpose, origin)
        select *
        from unnest(
            $1::uuid[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::uuid[], $7::uuid[],
            $8::uuid[], $9::uuid[], $10::uuid[], $11::uuid[], $12::uuid[], $13::uuid[], $14::smallint[],
            $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
            $22::text[])
        ",
        &each(entries, |e| e.organization_id.uuid()),
        &each(entries, |e| e.sequence),
        &each(entries, |e| e.position),
        &each(entries, |e| OffsetDateTime::from(e.occurred_at)),
        &each(entries, |e| OffsetDateTime::from(e.recorded_at)),
        &each(entries, |e| e.event_id.uuid()),
        &each(entries, |e| e.circumstances.correlation_id.uuid()),
        &each(entries, |e| e.circumstances.causation_id.map(Uuid::from)) as _,
        &each(entries, |e| e.circumstances.request_id.map(Uuid::from)) as _,
        &each(entries, |e| e.subject_id.map(Uuid::from)) as _,
        &each(entries, |e| e.circumstances.actor.id) as _,
        &each(entries, |e| e.circumstances.actor.on_behalf_of) as _,
        &each(entries, |e| e.target_id) as _,
        &each(entries, |e| e.lane),
        &each(entries, |e| e.event_type.as_str()) as _,
        &each(entries, |e| e.action.as_str()) as _,
        &each(entries, |e| e.outcome.as_str()) as _,
        &each(entries, |e| e.circumstances.actor.kind.as_str()) as _,
        &each(entries, |e| e.circumstances.actor.role.as_str()) as _,
        &each(entries, |e| e.target_kind.as_str()) as _,
        &each(entries, |e| e.circumstances.purpose.map(PurposeOfUse::as_str)) as _,
        &each(entries, |e| e.circumstances.origin.as_str()) as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}

/// One column.
fn each<T>(entries: &[Entry], value: impl Fn(&Entry) -> T) -> Vec<T> {
    entries.iter().map(value).collect()
}
