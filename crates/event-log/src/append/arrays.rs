//! A batch as the arrays that `log.append_batch` takes: one element per command, one per event.

use carelog_domain::Timestamp;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::request::{AppendRequest, NewEvent};
use crate::leaf::LeafParts;
use crate::recorded::Lane;

/// One row of the answer, in the order of the commands.
#[derive(Debug)]
pub(super) struct VerdictRow {
    pub(super) verdict: String,
    pub(super) version: i64,
    pub(super) first_position: Option<i64>,
    pub(super) first_sequence: Option<i64>,
    pub(super) known_fingerprint: Option<Vec<u8>>,
    pub(super) known_stream_kind: Option<String>,
    pub(super) known_stream_id: Option<Uuid>,
    pub(super) known_event_count: Option<i32>,
}

/// The leaf hash of every event of a batch, in order.
pub(super) fn leaf_hashes(log_name: &str, recorded_at: Timestamp, batch: &[&AppendRequest]) -> Vec<[u8; 32]> {
    let mut hashes = Vec::with_capacity(batch.len());
    for request in batch {
        for (version, event) in (request.expected_version + 1..).zip(&request.events) {
            let first = version == request.expected_version + 1;
            let parts = LeafParts {
                stream: &request.stream,
                version,
                event_id: event.event_id,
                event_type: event.event_type,
                schema_version: event.event_type.schema_version(),
                occurred_at: event.occurred_at,
                recorded_at,
                circumstances: &request.circumstances,
                facts: &event.facts,
                personal: event.personal.as_ref(),
                network: request.network.as_ref().filter(|_| first),
            };
            hashes.push(parts.hash(log_name));
        }
    }
    hashes
}

fn per_command<'a, T>(batch: &[&'a AppendRequest], value: impl Fn(&'a AppendRequest) -> T) -> Vec<T> {
    batch.iter().copied().map(value).collect()
}

fn per_event<'a, T>(batch: &[&'a AppendRequest], value: impl Fn(i32, i64, &'a NewEvent) -> T) -> Vec<T> {
    let mut values = Vec::with_capacity(batch.len());
    for (command, request) in (1..).zip(batch) {
        for (version, event) in (request.expected_version + 1..).zip(&request.events) {
            values.push(value(command, version, event));
        }
    }
    values
}

/// Writes a batch, in one statement and so in one transaction.
pub(super) async fn append(
    connection: &mut PgConnection,
    lane: Lane,
    recorded_at: Timestamp,
    batch: &[&AppendRequest],
    leaf_hashes: &[[u8; 32]],
) -> Result<Vec<VerdictRow>, sqlx::Error> {
    let who = |request: &AppendRequest| request.circumstances.actor;
    let leaf_hashes: Vec<&[u8]> = leaf_hashes.iter().map(<[u8; 32]>::as_slice).collect();
    sqlx::query_as!(
        VerdictRow,
        r#"
        select verdict as "verdict!", version as "version!", first_position, first_sequence, known_fingerprint,
               known_stream_kind, known_stream_id, known_event_count
        from log.append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                              $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)
        "#,
        lane,
        OffsetDateTime::from(recorded_at),
        &per_command(batch, |r| r.stream.organization_id.uuid()),
        &per_command(batch, |r| r.stream.kind.as_str()) as _,
        &per_command(batch, |r| r.stream.id),
        &per_command(batch, |r| r.expected_version),
        &per_command(batch, |r| i32::try_from(r.events.len()).unwrap_or(i32::MAX)),
        &per_command(batch, |r| who(r).kind.as_str()) as _,
        &per_command(batch, |r| who(r).id) as _,
        &per_command(batch, |r| who(r).role.as_str()) as _,
        &per_command(batch, |r| who(r).on_behalf_of) as _,
        &per_command(batch, |r| r.circumstances.purpose.map(carelog_domain::PurposeOfUse::as_str)) as _,
        &per_command(batch, |r| r.circumstances.correlation_id.uuid()),
        &per_command(batch, |r| r.circumstances.causation_id.map(Uuid::from)) as _,
        &per_command(batch, |r| r.circumstances.request_id.map(Uuid::from)) as _,
        &per_command(batch, |r| r.circumstances.origin.as_str()) as _,
        &per_command(batch, |r| r.network.as_ref().map(|sealed| &*sealed.bytes)) as _,
        &per_command(batch, |r| r.network.as_ref().map(|sealed| sealed.key_id.uuid())) as _,
        &per_command(batch, |r| r.idempotency.as_ref().map(|known| known.key.as_str())) as _,
        &per_command(batch, |r| r.idempotency.as_ref().map(|known| known.fingerprint.as_slice())) as _,
        &per_event(batch, |command, _, _| command),
        &per_event(batch, |_, version, _| version),
        &per_event(batch, |_, _, e| e.event_id.uuid()),
        &per_event(batch, |_, _, e| e.event_type.as_str()) as _,
        &per_event(batch, |_, _, e| i16::try_from(e.event_type.schema_version()).unwrap_or(i16::MAX)),
        &per_event(batch, |_, _, e| OffsetDateTime::from(e.occurred_at)),
        &per_event(batch, |_, _, e| e.subject.map(Uuid::from)) as _,
        &per_event(batch, |_, _, e| &*e.facts) as _,
        &per_event(batch, |_, _, e| e.personal.as_ref().map(|part| &*part.sealed.bytes)) as _,
        &per_event(batch, |_, _, e| e.personal.as_ref().map(|part| part.sealed.key_id.uuid())) as _,
        &per_event(batch, |_, _, e| e.personal.as_ref().map(|part| part.key_commit.as_slice())) as _,
        &leaf_hashes as _,
    )
    .fetch_all(connection)
    .await
}
