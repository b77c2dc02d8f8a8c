//! Commands that had nothing to change, under a key of their caller.

use carelog_domain::Timestamp;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::request::Idempotency;
use crate::recorded::StreamKey;

/// Keeps the key of such a command. False where the key was used before, or the stream is at another version by now.
pub(crate) fn remember_unchanged<'a>(
    connection: &'a mut PgConnection,
    stream: &'a StreamKey,
    version: i64,
    idempotency: &'a Idempotency,
    recorded_at: Timestamp,
) -> BoxFuture<'a, Result<bool, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            r#"select log.remember_unchanged($1, $2, $3, $4, $5, $6, $7) as "is_kept!""#,
            stream.organization_id.uuid(),
            stream.kind.as_str(),
            stream.id,
            version,
            idempotency.key,
            idempotency.fingerprint.as_slice(),
            OffsetDateTime::from(recorded_at)
        )
        .fetch_one(connection)
        .await
    })
}
