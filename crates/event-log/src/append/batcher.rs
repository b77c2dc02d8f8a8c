//! One batcher per lane and process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carelog_domain::Timestamp;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Semaphore;
use tracing::warn;

use super::arrays::{self, BatchAnswer, Hashed, Refusal};
use super::premise;
use super::queue::{Answer, BatcherHandle, Waiting, queue};
use super::request::{AppendError, AppendRequest, Appended, KnownAnswer, Verdict};
use crate::clock::Clock;
use crate::read;
use crate::recorded::{Lane, LogPosition, Position, RecordedEvent};
use crate::tail::LaneTail;
use crate::warm::WarmConnections;

/// How often a batch is tried before its callers are told.
const MAX_TRIES: u32 = 8;
/// Pause before the second try; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The next leaf of the log is made when this share of positions is left before it is needed.
const LEAF_MARGIN: Position = 5_000_000;

/// Writes the batches of one lane, one after the other.
#[derive(Debug)]
pub(crate) struct Batcher {
    pub(crate) lane: Lane,
    pub(crate) log_name: Arc<str>,
    pub(crate) connections: WarmConnections,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tail: Arc<LaneTail>,
    turns: Arc<Semaphore>,
    last_recorded_at: Timestamp,
    leaf_ready_to: Position,
}

impl Batcher {
    pub(crate) fn new(
        lane: Lane,
        log_name: Arc<str>,
        connections: WarmConnections,
        clock: Arc<dyn Clock>,
        tail: Arc<LaneTail>,
        turns: Arc<Semaphore>,
    ) -> Self {
        Self {
            lane,
            log_name,
            connections,
            clock,
            tail,
            turns,
            last_recorded_at: Timestamp::UNIX_EPOCH,
            leaf_ready_to: 0,
        }
    }

    /// The handle, and the future that works until every handle is gone.
    pub(crate) fn start(mut self) -> (BatcherHandle, impl Future<Output = ()> + Send) {
        let (handle, mut queue) = queue();
        let work = async move {
            while queue.fill().await {
                let turns = Arc::clone(&self.turns);
                // The batch is taken once it is this lane's turn, so that it fills while others write.
                let _turn = turns.acquire().await;
                self.write(queue.take_batch()).await;
            }
        };
        (handle, work)
    }

    async fn write(&mut self, batch: Vec<Waiting>) {
        let requests: Vec<&AppendRequest> = batch.iter().map(|waiting| &waiting.request).collect();
        let began = Instant::now();
        let outcome = self.write_until_it_holds(&requests).await;
        metrics::histogram!("carelog_append_batch_seconds").record(began.elapsed());
        match outcome {
            Ok((verdicts, recorded)) => {
                metrics::counter!("carelog_appended_commands_total").increment(verdicts.len() as u64);
                metrics::counter!("carelog_appended_events_total").increment(recorded.len() as u64);
                self.tail.push(&recorded);
                for (waiting, verdict) in batch.into_iter().zip(verdicts) {
                    // A caller that went away loses nothing but the answer.
                    let _ = waiting.answer.send(verdict);
                }
            }
            Err(error) => {
                metrics::counter!("carelog_append_failures_total").increment(1);
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
        let hashed: Vec<Hashed<'_>> =
            requests.iter().map(|request| Hashed::new(&self.log_name, recorded_at, request)).collect();
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            match self.write_once(&hashed, recorded_at, tries > 1).await {
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
        batch: &[Hashed<'_>],
        recorded_at: Timestamp,
        is_retry: bool,
    ) -> Result<(Vec<Answer>, Vec<Arc<RecordedEvent>>), AppendError> {
        let mut connection = self.connections.acquire().await.map_err(unavailable)?;
        let written = if batch.iter().any(|command| command.request.premise.is_some()) {
            Box::pin(self.write_on_premises(&mut connection, batch, recorded_at, is_retry)).await
        } else {
            let answers = batch.iter().map(|_| None).collect();
            self.write_with(&mut connection, batch, answers, recorded_at, is_retry).await
        };
        if written.is_ok() {
            self.connections.put_back(connection);
        } else {
            self.connections.close_resting();
        }
        written
    }

    /// Writes a batch with decisions that rest on other streams, and refuses those whose streams have moved.
    async fn write_on_premises(
        &mut self,
        connection: &mut PgConnection,
        batch: &[Hashed<'_>],
        recorded_at: Timestamp,
        is_retry: bool,
    ) -> Result<(Vec<Answer>, Vec<Arc<RecordedEvent>>), AppendError> {
        // Not while the lane is locked.
        self.ensure_leaf(connection).await.map_err(unavailable)?;
        let mut tx = connection.begin().await.map_err(unavailable)?;
        premise::lock_lane(&mut tx, self.lane).await.map_err(unavailable)?;
        let mut answers = Vec::with_capacity(batch.len());
        for Hashed { request, .. } in batch {
            let has_moved = match &request.premise {
                Some(premise) => premise::has_moved(&mut tx, premise).await.map_err(unavailable)?,
                None => false,
            };
            answers.push(if has_moved {
                Some(self.unless_written(&mut tx, request, is_retry, || Ok(Verdict::PremiseMoved)).await?)
            } else {
                None
            });
        }
        let written = self.write_with(&mut tx, batch, answers, recorded_at, is_retry).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(written)
    }

    /// Writes the commands that are not answered and not refused, in the order in which they came.
    async fn write_with(
        &mut self,
        connection: &mut PgConnection,
        batch: &[Hashed<'_>],
        mut answers: Vec<Option<Answer>>,
        recorded_at: Timestamp,
        is_retry: bool,
    ) -> Result<(Vec<Answer>, Vec<Arc<RecordedEvent>>), AppendError> {
        self.ensure_leaf(connection).await.map_err(unavailable)?;
        let mut recorded = Vec::new();
        loop {
            let (places, left): (Vec<usize>, Vec<&Hashed<'_>>) = (0..)
                .zip(batch)
                .zip(&answers)
                .filter(|(_, answer)| answer.is_none())
                .map(|(command, _)| command)
                .unzip();
            if left.is_empty() {
                break;
            }
            let written =
                arrays::append(&mut *connection, self.lane, recorded_at, &left).await.map_err(unavailable)?;
            let mut answer = |command: usize, answer: Answer| {
                if let Some(slot) = places.get(command).and_then(|place| answers.get_mut(*place)) {
                    // What is known of the key comes first and counts.
                    slot.get_or_insert(answer);
                }
            };
            match written {
                BatchAnswer::Written { after, sequences } => {
                    let mut position = after;
                    for (command, Hashed { request, .. }) in left.iter().enumerate() {
                        let count = i64::try_from(request.events.len()).unwrap_or(i64::MAX);
                        position += count;
                        let place = LogPosition { lane: self.lane, position };
                        answer(command, Ok(Verdict::Accepted(appended(request, place))));
                    }
                    recorded = self.recorded(&left, recorded_at, after, &sequences);
                }
                BatchAnswer::Refused(refusals) => {
                    if refusals.is_empty() {
                        return Err(AppendError::Stored { table: "stream_heads", column: "version" });
                    }
                    for refusal in refusals {
                        let Some(Hashed { request, .. }) = left.get(refusal.command) else { continue };
                        let refused = || self.refused(&refusal);
                        let verdict = self.unless_written(connection, request, is_retry, refused).await?;
                        answer(refusal.command, verdict);
                    }
                }
            }
        }
        let answers = answers.into_iter().map(|answer| answer.unwrap_or(Err(AppendError::Closing))).collect();
        Ok((answers, recorded))
    }

    /// What is answered to a command that is refused, unless an earlier try of it was committed.
    async fn unless_written(
        &self,
        connection: &mut PgConnection,
        request: &AppendRequest,
        is_retry: bool,
        refused: impl FnOnce() -> Answer,
    ) -> Result<Answer, AppendError> {
        let earlier = if is_retry { self.already_written(connection, request).await? } else { None };
        Ok(match earlier {
            Some(appended) => {
                self.tail.heard_of(appended.position.position);
                Ok(Verdict::Accepted(appended))
            }
            None => refused(),
        })
    }

    fn refused(&self, refusal: &Refusal) -> Answer {
        let Some(known) = &refusal.known else {
            return Ok(Verdict::Conflict { current_version: refusal.version });
        };
        let bad = |column| AppendError::Stored { table: "idempotency_keys", column };
        let position = known.first_position + i64::from(known.event_count) - 1;
        Ok(Verdict::Known(KnownAnswer {
            fingerprint: known.fingerprint.as_slice().try_into().map_err(|_| bad("fingerprint"))?,
            stream_kind: known.stream_kind.parse().map_err(|_| bad("stream_kind"))?,
            stream_id: known.stream_id,
            appended: Appended {
                version: refusal.version,
                position: LogPosition { lane: self.lane, position },
                event_count: known.event_count,
            },
        }))
    }

    fn recorded(
        &self,
        batch: &[&Hashed<'_>],
        recorded_at: Timestamp,
        after: Position,
        sequences: &[i64],
    ) -> Vec<Arc<RecordedEvent>> {
        let mut places = (after + 1..).zip(sequences);
        let mut recorded = Vec::with_capacity(sequences.len());
        for Hashed { request, leaf_hashes } in batch {
            let first_version = request.expected_version + 1;
            for ((version, event), leaf_hash) in (first_version..).zip(&request.events).zip(leaf_hashes) {
                let Some((position, sequence)) = places.next() else { break };
                recorded.push(Arc::new(RecordedEvent {
                    lane: self.lane,
                    position,
                    organization_sequence: *sequence,
                    stream: request.stream,
                    version,
                    event_id: event.event_id,
                    event_type: event.event_type,
                    schema_version: event.event_type.schema_version(),
                    occurred_at: event.occurred_at,
                    recorded_at,
                    circumstances: request.circumstances,
                    subject: event.subject,
                    facts: Arc::clone(&event.facts),
                    personal: event.personal.clone(),
                    network: request.network.clone().filter(|_| version == first_version),
                    leaf_hash: *leaf_hash,
                }));
            }
        }
        recorded
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
        let last = stored.get(ours.wrapping_sub(1)).filter(|_| ours == request.events.len());
        Ok(last.map(|last| appended(request, LogPosition { lane: self.lane, position: last.position })))
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

/// Where a command stands whose last event has this place.
fn appended(request: &AppendRequest, position: LogPosition) -> Appended {
    let event_count = i32::try_from(request.events.len()).unwrap_or(i32::MAX);
    Appended { version: request.expected_version + i64::from(event_count), position, event_count }
}

/// Whether another try can help: lost connections, restarts, and a rival that was faster (a violated unique key).
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code();
            let class = code.as_deref().and_then(|code| code.get(..2)).unwrap_or_default();
            matches!(class, "08" | "40" | "53" | "57") || error.is_unique_violation()
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

fn unavailable(error: sqlx::Error) -> AppendError {
    AppendError::Unavailable(Arc::new(error))
}
