//! A batch as the arrays that `log.append_batch` takes: one element per organization, per command and per event.

use std::collections::HashMap;

use carelog_domain::{PurposeOfUse, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::request::{AppendRequest, NewEvent};
use crate::leaf::LeafParts;
use crate::recorded::{Lane, Position};

/// A command with the leaf hashes of its events.
#[derive(Clone, Debug)]
pub(super) struct Hashed<'a> {
    pub(super) request: &'a AppendRequest,
    pub(super) leaf_hashes: Vec<[u8; 32]>,
}

impl<'a> Hashed<'a> {
    pub(super) fn new(log_name: &str, recorded_at: Timestamp, request: &'a AppendRequest) -> Self {
        let hash = |(version, event): (i64, &NewEvent)| {
            let is_first = version == request.expected_version + 1;
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
                network: request.network.as_ref().filter(|_| is_first),
            };
            parts.hash(log_name)
        };
        let leaf_hashes = (request.expected_version + 1..).zip(&request.events).map(hash).collect();
        Self { request, leaf_hashes }
    }
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum BatchAnswer {
    /// All of it was written.
    Written {
        /// The position before its first event.
        after: Position,
        /// The sequence numbers of each event, in the order of the events.
        sequences: Vec<i64>,
    },
    /// Nothing was written, because of these commands.
    Refused(Vec<Refusal>),
}

/// A command that stands in the way of its batch.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Its place in the batch.
    pub(super) command: usize,
    /// The version of its stream; the one that was reached at the time where the key is known.
    pub(super) version: i64,
    /// What was answered before under its idempotency key.
    pub(super) known: Option<KnownRow>,
}

/// A row of `log.idempotency_keys`.
#[derive(Debug)]
pub(super) struct KnownRow {
    pub(super) fingerprint: Vec<u8>,
    pub(super) stream_kind: String,
    pub(super) stream_id: Uuid,
    pub(super) first_position: Position,
    pub(super) event_count: i32,
}

/// The organizations of a batch, each with the number of its events so far.
#[derive(Default)]
struct Organizations {
    numbers: HashMap<Uuid, usize>,
    ids: Vec<Uuid>,
    event_counts: Vec<i32>,
}

impl Organizations {
    /// The number of an organization, from 0, and how many events of it came before this one.
    fn next_event(&mut self, id: Uuid) -> (usize, i32) {
        let number = *self.numbers.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.event_counts.push(0);
            self.ids.len() - 1
        });
        let offset = self.event_counts.get_mut(number).map_or(0, |count| {
            *count += 1;
            *count - 1
        });
        (number, offset)
    }
}

fn per_command<'a, T>(batch: &[&Hashed<'a>], value: impl Fn(&'a AppendRequest) -> T) -> Vec<T> {
    batch.iter().map(|hashed| value(hashed.request)).collect()
}

/// An event within its command.
#[derive(Clone, Copy)]
struct Row<'a> {
    request: &'a AppendRequest,
    event: &'a NewEvent,
    version: i64,
    leaf_hash: &'a [u8; 32],
}

impl Row<'_> {
    fn is_first(&self) -> bool {
        self.version == self.request.expected_version + 1
    }
}

fn per_event<'a, T>(events: &[Row<'a>], value: impl Fn(&Row<'a>) -> T) -> Vec<T> {
    events.iter().map(value).collect()
}

/// Writes a batch, in one statement and so in one transaction.
pub(super) fn append<'a>(
    connection: &'a mut PgConnection,
    lane: Lane,
    recorded_at: Timestamp,
    batch: &'a [&'a Hashed<'a>],
) -> BoxFuture<'a, Result<BatchAnswer, sqlx::Error>> {
    Box::pin(async move {
        let events: Vec<Row<'_>> = batch
            .iter()
            .flat_map(|Hashed { request, leaf_hashes }| {
                (request.expected_version + 1..)
                    .zip(&request.events)
                    .zip(leaf_hashes)
                    .map(|((version, event), leaf_hash)| Row { request, event, version, leaf_hash })
            })
            .collect();
        let mut organizations = Organizations::default();
        let places: Vec<(usize, i32)> = events
            .iter()
            .map(|row| organizations.next_event(row.request.stream.organization_id.uuid()))
            .collect();
        let event_counts = per_command(batch, |r| i32::try_from(r.events.len()).unwrap_or(i32::MAX));
        let has_keys = batch.iter().any(|hashed| hashed.request.idempotency.is_some());
        let keyed = if has_keys { batch } else { &[] };
        let number = |number: usize| i32::try_from(number + 1).unwrap_or(i32::MAX);
        let who = |row: &Row<'_>| row.request.circumstances.actor;
        let network = |row: &Row<'a>| row.request.network.as_ref().filter(|_| row.is_first());
        let rows = sqlx::query_as!(
            AnswerRow,
            r#"
            select refused_command, version, last_position, sequences, known_fingerprint, known_stream_kind,
                   known_stream_id, known_event_count
            from log.append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                                  $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34,
                                  $35, $36, $37, $38, $39)
            "#,
            lane,
            OffsetDateTime::from(recorded_at),
            &organizations.ids,
            &organizations.event_counts,
            &per_command(batch, |r| r.stream.organization_id.uuid()),
            &per_command(batch, |r| r.stream.kind.as_str()) as _,
            &per_command(batch, |r| r.stream.id),
            &per_command(batch, |r| r.expected_version),
            &event_counts,
            &offsets(&event_counts),
            &per_command(keyed, |r| r.idempotency.as_ref().map(|known| known.key.as_str())) as _,
            &per_command(keyed, |r| r.idempotency.as_ref().map(|known| known.fingerprint.as_slice())) as _,
            &places.iter().map(|(organization, _)| number(*organization)).collect::<Vec<_>>(),
            &places.iter().map(|(_, offset)| *offset).collect::<Vec<_>>(),
            &per_event(&events, |row| row.version),
            &per_event(&events, |row| OffsetDateTime::from(row.event.occurred_at)),
            &per_event(&events, |row| row.request.stream.organization_id.uuid()),
            &per_event(&events, |row| row.request.stream.id),
            &per_event(&events, |row| row.event.event_id.uuid()),
            &per_event(&events, |row| row.request.circumstances.correlation_id.uuid()),
            &per_event(&events, |row| row.request.circumstances.causation_id.map(Uuid::from)) as _,
            &per_event(&events, |row| row.request.circumstances.request_id.map(Uuid::from)) as _,
            &per_event(&events, |row| row.event.subject.map(Uuid::from)) as _,
            &per_event(&events, |row| who(row).id) as _,
            &per_event(&events, |row| who(row).on_behalf_of) as _,
            &per_event(&events, |row| row.event.personal.as_ref().map(|part| part.sealed.key_id.uuid())) as _,
            &per_event(&events, |row| network(row).map(|sealed| sealed.key_id.uuid())) as _,
            &per_event(&events, |row| i16::try_from(row.event.event_type.schema_version()).unwrap_or(i16::MAX)),
            &per_event(&events, |row| row.request.stream.kind.as_str()) as _,
            &per_event(&events, |row| row.event.event_type.as_str()) as _,
            &per_event(&events, |row| who(row).kind.as_str()) as _,
            &per_event(&events, |row| who(row).role.as_str()) as _,
            &per_event(&events, |row| row.request.circumstances.purpose.map(PurposeOfUse::as_str)) as _,
            &per_event(&events, |row| row.request.circumstances.origin.as_str()) as _,
            &per_event(&events, |row| row.leaf_hash.as_slice()) as _,
            &per_event(&events, |row| &*row.event.facts) as _,
            &per_event(&events, |row| row.event.personal.as_ref().map(|part| &*part.sealed.bytes)) as _,
            &per_event(&events, |row| row.event.personal.as_ref().map(|part| part.key_commit.as_slice())) as _,
            &per_event(&events, |row| network(row).map(|sealed| &*sealed.bytes)) as _
        )
        .fetch_all(connection)
        .await?;
        Ok(answer(rows, &places))
    })
}

/// How many events come before each command.
fn offsets(event_counts: &[i32]) -> Vec<i32> {
    let mut offset = 0;
    let mut next = |count: &i32| {
        offset += count;
        offset - count
    };
    event_counts.iter().map(&mut next).collect()
}

/// A row of the answer: one that says where the batch stands, or one for each refused command.
struct AnswerRow {
    refused_command: Option<i32>,
    version: Option<i64>,
    last_position: Option<Position>,
    sequences: Option<Vec<i64>>,
    known_fingerprint: Option<Vec<u8>>,
    known_stream_kind: Option<String>,
    known_stream_id: Option<Uuid>,
    known_event_count: Option<i32>,
}

fn answer(rows: Vec<AnswerRow>, places: &[(usize, i32)]) -> BatchAnswer {
    if let Some(AnswerRow {
        refused_command: None,
        last_position: Some(after),
        sequences: Some(before),
        ..
    }) = rows.first()
    {
        let sequence = |(organization, offset): &(usize, i32)| {
            before.get(*organization).copied().unwrap_or_default() + i64::from(*offset) + 1
        };
        return BatchAnswer::Written { after: *after, sequences: places.iter().map(sequence).collect() };
    }
    let refusals = rows.into_iter().filter_map(|row| {
        let command = usize::try_from(row.refused_command? - 1).ok()?;
        let known = row.known_fingerprint.map(|fingerprint| KnownRow {
            fingerprint,
            stream_kind: row.known_stream_kind.unwrap_or_default(),
            stream_id: row.known_stream_id.unwrap_or_default(),
            first_position: row.last_position.unwrap_or_default(),
            event_count: row.known_event_count.unwrap_or_default(),
        });
        Some(Refusal { command, version: row.version?, known })
    });
    BatchAnswer::Refused(refusals.collect())
}
