//! What was sent to partners about a patient. A delivery names no patient; the event that caused it does.

use carelog_domain::{EventType, OrganizationId, PatientId, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use super::QueryError;

/// A delivery of an event about a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The delivery.
    pub delivery_id: Uuid,
    /// The sequence of the event that is delivered.
    pub source_sequence: i64,
    /// Its type.
    pub source_type: EventType,
    /// How many attempts there were.
    pub attempt_count: i64,
    /// When it was accepted first; nothing where it never was.
    pub delivered_at: Option<Timestamp>,
    /// Whether it was given up last.
    pub is_given_up: bool,
    /// The sequence of the newest event of the delivery.
    pub newest_sequence: i64,
}

/// The deliveries of events about a patient, the newest event first: those after a place, at most `limit`.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn deliveries_about(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    subject_id: PatientId,
    before: (i64, Uuid),
    limit: i64,
) -> BoxFuture<'_, Result<Vec<Delivery>, QueryError>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            r#"
            with caused as materialized (
                select distinct source.sequence as source_sequence, source.event_type as source_type,
                    entry.target_id as delivery_id
                from trail source
                join trail entry on entry.organization_id = source.organization_id
                    and entry.causation_id = source.event_id and entry.target_kind = 'webhook_delivery'
                where source.organization_id = $1 and source.subject_id = $2
                    and (source.sequence, entry.target_id) < ($3, $4)
                order by source.sequence desc, entry.target_id desc
                limit $5
            )
            select caused.source_sequence as "source_sequence!", caused.source_type as "source_type!",
                caused.delivery_id as "delivery_id!", told.attempt_count as "attempt_count!",
                told.delivered_at, told.newest_sequence as "newest_sequence!",
                coalesce(told.ends[1] = 'webhook_delivery.exhausted', false) as "is_given_up!"
            from caused
            cross join lateral (
                select count(*) filter (where event_type = 'webhook_delivery.attempted') as attempt_count,
                    min(occurred_at) filter (where event_type = 'webhook_delivery.delivered') as delivered_at,
                    max(sequence) filter (where target_kind = 'webhook_delivery') as newest_sequence,
                    array_agg(event_type order by sequence desc) filter (
                        where event_type in (
                            'webhook_delivery.exhausted', 'webhook_delivery.delivered',
                            'webhook_delivery.redelivery_requested')) as ends
                from trail
                where organization_id = $1 and target_id = caused.delivery_id and action <> 'read'
            ) as told
            order by caused.source_sequence desc, caused.delivery_id desc
            "#,
            organization_id.uuid(),
            subject_id.uuid(),
            before.0,
            before.1,
            limit
        )
        .fetch_all(connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let stored =
                    |column| QueryError::Stored { column, organization_id, sequence: row.source_sequence };
                let delivered_at = row.delivered_at.map(Timestamp::try_from).transpose();
                Ok(Delivery {
                    delivery_id: row.delivery_id,
                    source_sequence: row.source_sequence,
                    source_type: row.source_type.parse().map_err(|_| stored("event_type"))?,
                    attempt_count: row.attempt_count,
                    delivered_at: delivered_at.map_err(|_| stored("occurred_at"))?,
                    is_given_up: row.is_given_up,
                    newest_sequence: row.newest_sequence,
                })
            })
            .collect()
    })
}

/// The attempts to deliver events about a patient, in order: the sequence of each after one, with that of the event that
/// it delivered.
///
/// # Errors
/// When the database fails.
pub fn attempts_about(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    subject_id: PatientId,
    after: i64,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<(i64, EventType)>, QueryError>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            r#"
            select attempt.sequence, min(caused.source_type) as "source_type!"
            from (
                select distinct entry.target_id as delivery_id, source.event_type as source_type
                from trail source
                join trail entry on entry.organization_id = source.organization_id
                    and entry.causation_id = source.event_id and entry.target_kind = 'webhook_delivery'
                where source.organization_id = $1 and source.subject_id = $2
            ) as caused
            join trail attempt on attempt.organization_id = $1 and attempt.target_id = caused.delivery_id
                and attempt.event_type = 'webhook_delivery.attempted'
            where attempt.sequence > $3
            group by attempt.sequence
            order by attempt.sequence
            limit $4
            "#,
            organization_id.uuid(),
            subject_id.uuid(),
            after,
            limit
        )
        .fetch_all(connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let error =
                    QueryError::Stored { column: "event_type", organization_id, sequence: row.sequence };
                Ok((row.sequence, row.source_type.parse().map_err(|_| error)?))
            })
            .collect()
    })
}
