//! One batcher per lane and process.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::Timestamp;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::arrays::{self, VerdictRow};
use super::request::{AppendError, AppendRequest, Appended, KnownAnswer, NewEvent, Verdict};
use crate::clock::Clock;
use crate::read;
use crate::recorded::{Lane, LogPosition, Position, RecordedEvent};
use crate::tail::LaneTail;

/// Commands of one batch. Beyond 500 the batches only get slower, not cheaper.
const MAX_COMMANDS: usize = 500;
/// Bytes of facts and personal parts of one batch.
const MAX_BYTES: usize = 4 << 20;
/// Commands that may wait; a caller beyond that waits for a place.
const QUEUE: usize = 4_096;
/// How often a batch is tried before its callers are told.
const MAX_TRIES: u32 = 8;
/// Pause before the second try; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The next leaf of the log is made when this share of positions is left before it is needed.
const LEAF_MARGIN: Position = 5_000_000;

type Answer = Result<Verdict, AppendError>;

struct Waiting {
    request: AppendRequest,
    answer: oneshot::Sender<Answer>,
}

/// Where commands for one lane are handed in.
#[derive(Clone, Debug)]
pub(crate) struct BatcherHandle {
    queue: mpsc::Sender<Waiting>,
}

impl BatcherHandle {
    /// Hands in a command and waits for its verdict.
    pub(crate) async fn append(&self, request: AppendRequest) -> Answer {
        let (answer, verdict) = oneshot::channel();
        self.queue.send(Waiting { request, answer }).await.map_err(|_| AppendError::Closing)?;
        verdict.await.map_err(|_| AppendError::Closing)?
    }
}

/// Writes the batches of one lane, one after the other.
#[derive(Debug)]
pub(crate) struct Batcher {
    pub(crate) lane: Lane,
    pub(crate) log_name: Arc<str>,
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tail: Arc<LaneTail>,
    last_recorded_at: Timestamp,
    leaf_ready_to: Position,
}

impl Batcher {
    pub(crate) fn new(
        lane: Lane,
        log_name: Arc<str>,
        pool: PgPool,
        clock: Arc<dyn Clock>,
        tail: Arc<LaneTail>,
    ) -> Self {
        Self { lane, log_name, pool, clock, tail, last_recorded_at: Timestamp::UNIX_EPOCH, leaf_ready_to: 0 }
    }

    /// The handle, and the future that works until every handle is gone.
    pub(crate) fn start(mut self) -> (BatcherHandle, impl Future<Output = ()> + Send) {
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        let work = async move {
            let mut held_back = VecDeque::new();
            while let Some(batch) = next_batch(&mut waiting, &mut held_back).await {
                self.write(batch).await;
            }
        };
        (BatcherHandle { queue }, work)
    }

    async fn write(&mut self, batch: Vec<Waiting>) {
        let requests: Vec<&AppendRequest> = batch.iter().map(|waiting| &waiting.request).collect();
        let outcome = self.write_until_it_holds(&requests).await;
        match outcome {
            Ok((verdicts, recorded)) => {
                self.tail.push(&recorded);
                for (waiting, verdict) in batch.into_iter().zip(verdicts) {
                    // A caller that went away loses nothing but the answer.
                    let _ = waiting.answer.send(verdict);
                }
            }
            Err(error) => {
                for waiting in batch {
                    let _ = waiting.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Tries a batch until the database has taken it. When a connection broke in the middle, an earlier try
    /// may have been committed: a conflict, or a known key, is then checked against the log before it is believed.
    async fn write_until_it_holds(
        &mut self,
        requests: &[&AppendRequest],
    ) -> Result<(Vec<Answer>, Vec<Arc<RecordedEvent>>), AppendError> {
        let recorded_at = self.clock.now().max(self.last_recorded_at);
        self.last_recorded_at = recorded_at;
        let hashes = arrays::leaf_hashes(&self.log_name, recorded_at, requests);
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            match self.write_once(requests, recorded_at, &hashes, tries > 1).await {
                Ok(done) => return Ok(done),
                Err(AppendError::Unavailable(error)) if tries < MAX_TRIES && may_pass(&error) => {
                    warn!(lane = self.lane, tries, error = %error, "append failed, trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn write_once(
        &mut self,
        requests: &[&AppendRequest],
        recorded_at: Timestamp,
        hashes: &[[u8; 32]],
        is_retry: bool,
    ) -> Result<(Vec<Answer>, Vec<Arc<RecordedEvent>>), AppendError> {
        let mut connection = self.pool.acquire().await.map_err(unavailable)?;
        self.ensure_leaf(&mut connection).await.map_err(unavailable)?;
        let rows = arrays::append(&mut connection, self.lane, recorded_at, requests, hashes)
            .await
            .map_err(unavailable)?;
        let mut answers = Vec::with_capacity(rows.len());
        let mut recorded = Vec::with_capacity(hashes.len());
        let mut hashes = hashes.iter().copied();
        for (request, row) in requests.iter().zip(&rows) {
            let own_hashes: Vec<_> = hashes.by_ref().take(request.events.len()).collect();
            let mut answer = self.verdict(request, row);
            if let (true, Ok(Verdict::Conflict { .. } | Verdict::Known(_))) = (is_retry, &answer) {
                if let Some(appended) = self.already_written(&mut connection, request).await? {
                    self.tail.heard_of(appended.position.position);
                    answer = Ok(Verdict::Accepted(appended));
                }
            } else if let Ok(Verdict::Accepted(_)) = answer {
                recorded.extend(self.recorded(request, row, recorded_at, own_hashes));
            }
            answers.push(answer);
        }
        Ok((answers, recorded))
    }

    fn verdict(&self, request: &AppendRequest, row: &VerdictRow) -> Answer {
        let event_count = i32::try_from(request.events.len()).unwrap_or(i32::MAX);
        match row.verdict.as_str() {
            "accepted" => {
                let first = row.first_position.ok_or(stored("events", "position"))?;
                Ok(Verdict::Accepted(self.appended(row.version, first, event_count)))
            }
            "conflict" => Ok(Verdict::Conflict { current_version: row.version }),
            "known" => self.known(row),
            _ => Err(stored("organizations", "lane")),
        }
    }

    fn known(&self, row: &VerdictRow) -> Answer {
        let bad = |column| stored("idempotency_keys", column);
        let fingerprint = row.known_fingerprint.as_deref().ok_or(bad("fingerprint"))?;
        let kind = row.known_stream_kind.as_deref().ok_or(bad("stream_kind"))?;
        let first = row.first_position.ok_or(bad("first_position"))?;
        let event_count = row.known_event_count.ok_or(bad("event_count"))?;
        Ok(Verdict::Known(KnownAnswer {
            fingerprint: fingerprint.try_into().map_err(|_| bad("fingerprint"))?,
            stream_kind: kind.parse().map_err(|_| bad("stream_kind"))?,
            stream_id: row.known_stream_id.ok_or(bad("stream_id"))?,
            appended: self.appended(row.version, first, event_count),
        }))
    }

    fn appended(&self, version: i64, first_position: Position, event_count: i32) -> Appended {
        let position = LogPosition { lane: self.lane, position: first_position + i64::from(event_count) - 1 };
        Appended { version, position, event_count }
    }

    fn recorded(
        &self,
        request: &AppendRequest,
        row: &VerdictRow,
        recorded_at: Timestamp,
        hashes: Vec<[u8; 32]>,
    ) -> Vec<Arc<RecordedEvent>> {
        let first_position = row.first_position.unwrap_or_default();
        let first_sequence = row.first_sequence.unwrap_or_default();
        let first_version = request.expected_version + 1;
        (0..)
            .zip(&request.events)
            .zip(hashes)
            .map(|((offset, event), leaf_hash)| {
                Arc::new(RecordedEvent {
                    lane: self.lane,
                    position: first_position + offset,
                    organization_sequence: first_sequence + offset,
                    stream: request.stream,
                    version: first_version + offset,
                    event_id: event.event_id,
                    event_type: event.event_type,
                    schema_version: event.event_type.schema_version(),
                    occurred_at: event.occurred_at,
                    recorded_at,
                    circumstances: request.circumstances,
                    subject: event.subject,
                    facts: Arc::clone(&event.facts),
                    personal: event.personal.clone(),
                    network: request.network.clone().filter(|_| offset == 0),
                    leaf_hash,
                })
            })
            .collect()
    }

    /// Whether an earlier try of this very command was committed before its connection broke.
    async fn already_written(
        &self,
        connection: &mut PgConnection,
        request: &AppendRequest,
    ) -> Result<Option<Appended>, AppendError> {
        let stored = read::stream(connection, self.lane, &request.stream, request.expected_version)
            .await
            .map_err(|error| match error {
                read::ReadError::Database(error) => unavailable(error),
                read::ReadError::Stored { column, .. } => AppendError::Stored { table: "events", column },
            })?;
        let ours =
            stored.iter().zip(&request.events).filter(|(old, new)| old.event_id == new.event_id).count();
        let Some(first) = stored.first().filter(|_| ours == request.events.len()) else { return Ok(None) };
        let event_count = i32::try_from(ours).unwrap_or(i32::MAX);
        Ok(Some(self.appended(
            request.expected_version + i64::from(event_count),
            first.position,
            event_count,
        )))
    }

    async fn ensure_leaf(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let head = *self.tail.head().borrow();
        if head + LEAF_MARGIN < self.leaf_ready_to {
            return Ok(());
        }
        for position in [head + 1, head + LEAF_MARGIN * 2] {
            sqlx::query!("select log.ensure_leaf($1, $2)", self.lane, position)
                .execute(&mut *connection)
                .await?;
        }
        self.leaf_ready_to = head + LEAF_MARGIN * 2;
        Ok(())
    }
}

/// Waits for a command, then takes whatever else is there. A second command for the same stream or under the
/// same idempotency key waits for the next batch, so that it is judged by what the first one wrote.
async fn next_batch(
    waiting: &mut mpsc::Receiver<Waiting>,
    held_back: &mut VecDeque<Waiting>,
) -> Option<Vec<Waiting>> {
    let mut batch = Vec::new();
    let mut streams = HashSet::new();
    let mut keys = HashSet::new();
    let mut bytes = 0;
    let mut again = VecDeque::new();
    while batch.len() < MAX_COMMANDS && bytes < MAX_BYTES {
        let next = match held_back.pop_front() {
            Some(next) => next,
            None if batch.is_empty() => waiting.recv().await?,
            None => match waiting.try_recv() {
                Ok(next) => next,
                Err(_) => break,
            },
        };
        let request = &next.request;
        let key =
            request.idempotency.as_ref().map(|known| (request.stream.organization_id, known.key.clone()));
        let is_second =
            streams.contains(&request.stream) || key.as_ref().is_some_and(|key| keys.contains(key));
        if is_second {
            again.push_back(next);
            if again.len() >= MAX_COMMANDS {
                break;
            }
            continue;
        }
        streams.insert(request.stream);
        keys.extend(key);
        bytes += request.events.iter().map(size_of_event).sum::<usize>();
        batch.push(next);
    }
    again.append(held_back);
    *held_back = again;
    Some(batch)
}

fn size_of_event(event: &NewEvent) -> usize {
    event.facts.len() + event.personal.as_ref().map_or(0, |part| part.sealed.bytes.len())
}

/// Whether another try can help: lost connections, restarts, and a rival that took our position.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code();
            let class = code.as_deref().and_then(|code| code.get(..2)).unwrap_or_default();
            matches!(class, "08" | "40" | "53" | "57") || error.constraint().is_some_and(is_position_key)
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// The primary key of a leaf: each leaf of the log has an index of its own, under a name of its own.
fn is_position_key(constraint: &str) -> bool {
    constraint.starts_with("events_lane_") && constraint.ends_with("_pkey")
}

fn unavailable(error: sqlx::Error) -> AppendError {
    AppendError::Unavailable(Arc::new(error))
}

const fn stored(table: &'static str, column: &'static str) -> AppendError {
    AppendError::Stored { table, column }
}
