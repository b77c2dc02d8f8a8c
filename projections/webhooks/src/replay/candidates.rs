//! Which deliveries come next.

use carelog_domain::webhook_replay::ReplaySelection;
use carelog_domain::{OrganizationId, SubscriptionId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::queries::{Columns, ReplayRow};

/// A delivery that a replay has come to.
pub(super) struct Candidate {
    pub(super) delivery_id: Uuid,
    pub(super) subscription_id: Uuid,
    pub(super) source_event_id: Uuid,
    pub(super) source_type: String,
    pub(super) source_sequence: i64,
    pub(super) state: String,
    pub(super) version: i64,
    pub(super) finished_at: Option<OffsetDateTime>,
}

/// Whether a subscription is sent to; nothing where it was never made.
pub(super) async fn subscription_status(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    subscription_id: SubscriptionId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select status
        from webhooks.webhook_subscriptions
        where organization_id = $1 and subscription_id = $2
        ",
        organization_id.uuid(),
        subscription_id.uuid()
    )
    .fetch_optional(connection)
    .await
}

/// The deliveries after the replay's place that it selects, and those that wait for an attempt, in the order of their
/// events. In two parts, so that the many that were delivered are not read where nobody asks for them.
pub(super) async fn next_candidates(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    selection: &ReplaySelection,
    row: &ReplayRow,
    room: u16,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let columns = Columns::of(selection);
    sqlx::query_as!(
        Candidate,
        r#"
        select delivery_id as "delivery_id!", subscription_id as "subscription_id!",
               source_event_id as "source_event_id!", source_type as "source_type!",
               source_sequence as "source_sequence!", state as "state!", version as "version!", finished_at
        from (
            (
                select delivery_id, subscription_id, source_event_id, source_type, source_sequence, state, version,
                       finished_at
                from webhooks.webhook_events
                where organization_id = $1
                  and subscription_id = $2
                  and source_sequence > $3
                  and source_sequence <= $4
                  and source_type = any($5)
                  and state <> 'delivered'
                  and (state = 'pending' or $6 and ($7::text[] = '{}' or reason = any($7)))
                  and ($8::timestamptz is null or source_recorded_at >= $8)
                  and ($9::timestamptz is null or source_recorded_at < $9)
                order by source_sequence
                limit $10
            )
            union all
            (
                select delivery_id, subscription_id, source_event_id, source_type, source_sequence, state, version,
                       finished_at
                from webhooks.webhook_events
                where $11
                  and organization_id = $1
                  and subscription_id = $2
                  and source_sequence > $3
                  and source_sequence <= $4
                  and source_type = any($5)
                  and state = 'delivered'
                  and ($8::timestamptz is null or source_recorded_at >= $8)
                  and ($9::timestamptz is null or source_recorded_at < $9)
                order by source_sequence
                limit $10
            )
        ) w
        order by source_sequence
        limit $10
        "#,
        organization_id.uuid(),
        selection.subscription_id.uuid(),
        row.place,
        row.last_sequence,
        &columns.types as _,
        columns.wants_failed,
        &columns.reasons as _,
        columns.from,
        columns.until,
        i64::from(room),
        columns.wants_delivered
    )
    .fetch_all(connection)
    .await
}
