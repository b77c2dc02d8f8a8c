//! cqrs-es in front, our log behind.
//!
//! [`Scope`] binds a command to an organization and its circumstances; [`EventLog::execute`] runs it through
//! `CqrsFramework` with this module's [`EventStore`]. cqrs-es's own stores are not used: they know no tenant and
//! no order across aggregates, and its snapshots apply events twice. Queries are not passed either: whatever is
//! derived reads the log.

mod decided;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carelog_domain::{Circumstances, OrganizationId, Sealed, StreamEvent, Timestamp};
use cqrs_es::{Aggregate, AggregateContext, AggregateError, CqrsFramework, EventEnvelope, EventStore};
use uuid::Uuid;

use crate::append::{
    AppendError, AppendRequest, Appended, Idempotency, KnownAnswer, Premise, Verdict, remember_unchanged,
};
use crate::log::EventLog;
use crate::read::ReadError;
use crate::recorded::StreamKey;
use crate::sealing::{self, SealError};

/// How often a command that lost a race is decided anew.
const MAX_TRIES: u32 = 8;
/// Longest pause before a further try.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// Whose command it is, and under which circumstances.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The organization; nothing outside it is seen.
    pub organization_id: OrganizationId,
    /// Who, why, and as part of what.
    pub circumstances: Circumstances,
    /// When it happened; now, where nothing is given.
    pub occurred_at: Option<Timestamp>,
    /// The caller's key against a second execution.
    pub idempotency: Option<Idempotency>,
    /// Network address and user agent, to be sealed with the first event.
    pub network: Option<Sealed>,
    /// Which version of the stream the caller has in mind.
    pub expected: Expected,
    /// Another stream that the caller read for the command.
    pub premise: Option<Premise>,
    /// Whether nobody waits for the answer, so that the append may wait a moment for others.
    pub can_wait: bool,
}

impl Scope {
    /// A command on whatever is there, whose answer somebody waits for.
    pub const fn new(organization_id: OrganizationId, circumstances: Circumstances) -> Self {
        Self {
            organization_id,
            circumstances,
            occurred_at: None,
            idempotency: None,
            network: None,
            expected: Expected::Any,
            premise: None,
            can_wait: false,
        }
    }
}

/// What the caller knows about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: decide on whatever is there.
    Any,
    /// It should be new: decide without looking, and look only if that proves wrong.
    New,
    /// It has this version (`If-Match`); any other refuses the command.
    Version(i64),
}

/// What a command led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// Its events were appended.
    Appended(Appended),
    /// Nothing had to change.
    Unchanged {
        /// The stream's version.
        version: i64,
    },
    /// The same wish was granted before, under the same idempotency key: the first answer.
    Replayed(KnownAnswer),
}

/// Why a command was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R: std::error::Error + 'static> {
    /// The aggregate refused.
    #[error(transparent)]
    Rejected(R),
    /// The stream is not at the version that the caller has in mind.
    #[error("the stream is at version {current_version}")]
    StaleVersion {
        /// Its version.
        current_version: i64,
    },
    /// The stream that the command rests on has moved since it was read: read it again, and decide anew.
    #[error("the stream that the command rests on has moved, try again")]
    PremiseMoved,
    /// Others kept changing the stream.
    #[error("the stream kept changing, try again")]
    Contended,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The events cannot be sealed.
    #[error("the events cannot be sealed")]
    Seal(#[source] SealError),
    /// The stream cannot be read.
    #[error("the stream cannot be read")]
    Read(#[source] ReadError),
    /// A stored event is none of its stream's.
    #[error("a stored event does not decode")]
    Codec(#[source] carelog_domain::CodecError),
    /// The events cannot be written.
    #[error("the events cannot be written")]
    Append(#[source] AppendError),
}

impl EventLog {
    /// Loads an aggregate, lets it decide, and appends what it decided; decides anew when another command came
    /// in between, unless the caller named a version.
    ///
    /// # Errors
    /// See [`ExecuteError`]; nothing was stored.
    pub async fn execute<A>(
        &self,
        scope: &Scope,
        stream_id: Uuid,
        command: A::Command,
    ) -> Result<Executed, ExecuteError<A::Error>>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Event: StreamEvent,
        A::Command: Clone,
        A::Error: Send + Sync,
    {
        let mut expected = scope.expected;
        for tries in 0..MAX_TRIES {
            let store = ScopedLog { log: self.clone(), scope: scope.clone(), expected, end: Arc::default() };
            let end = Arc::clone(&store.end);
            let framework = CqrsFramework::<A, _>::new(store, Vec::new(), ());
            let result = framework.execute(&stream_id.to_string(), command.clone()).await;
            let end = end.lock().unwrap_or_else(PoisonError::into_inner).take();
            match (result, end) {
                (Ok(()), Some(End::Appended(appended))) => return Ok(Executed::Appended(appended)),
                (Ok(()), Some(End::Unchanged(version))) => {
                    let stream = StreamKey {
                        organization_id: scope.organization_id,
                        kind: A::Event::KIND,
                        id: stream_id,
                    };
                    if self.keep_unchanged(scope, &stream, version).await.map_err(ExecuteError::Read)? {
                        return Ok(Executed::Unchanged { version });
                    }
                    if let Some(known) = self.known_answer(scope).await.map_err(ExecuteError::Read)? {
                        return replay(scope, known);
                    }
                }
                (_, Some(End::Known(known))) => return replay(scope, known),
                (_, Some(End::Stale(current_version))) => {
                    // It may be this very wish that made the version stale, when it came the first time.
                    return match self.known_answer(scope).await.map_err(ExecuteError::Read)? {
                        Some(known) => replay(scope, known),
                        None => Err(ExecuteError::StaleVersion { current_version }),
                    };
                }
                (_, Some(End::PremiseMoved)) => {
                    return match self.known_answer(scope).await.map_err(ExecuteError::Read)? {
                        Some(known) => replay(scope, known),
                        None => Err(ExecuteError::PremiseMoved),
                    };
                }
                (_, Some(End::Conflict)) => {
                    expected = if expected == Expected::New { Expected::Any } else { expected }
                }
                (_, Some(End::Failed(failure))) => return Err(failure.into_error()),
                (Err(AggregateError::UserError(rejection)), _) => {
                    return match self.known_answer(scope).await.map_err(ExecuteError::Read)? {
                        Some(known) => replay(scope, known),
                        None => Err(ExecuteError::Rejected(rejection)),
                    };
                }
                (Ok(()) | Err(_), _) => return Err(ExecuteError::Contended),
            }
            pause_before_try(tries).await;
        }
        Err(ExecuteError::Contended)
    }

    /// Keeps the key of a command that had nothing to change, so that a repetition gets the same answer. False where
    /// the key was used before, or the stream has moved on.
    async fn keep_unchanged(
        &self,
        scope: &Scope,
        stream: &StreamKey,
        version: i64,
    ) -> Result<bool, ReadError> {
        let Some(idempotency) = &scope.idempotency else { return Ok(true) };
        let mut connection = self.pool().acquire().await?;
        Ok(remember_unchanged(&mut connection, stream, version, idempotency, self.clock().now()).await?)
    }

    /// Whether a command was answered under a key: then a repetition gets that answer, or is refused for its other body.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn has_answered(&self, organization_id: OrganizationId, key: &str) -> Result<bool, ReadError> {
        let lane = self.lane_of(organization_id).await?;
        let mut connection = self.pool().acquire().await?;
        let known = crate::read::known_answer(&mut connection, lane, organization_id, key).await?;
        Ok(known.is_some())
    }

    /// The first answer under a scope's idempotency key, where there was one.
    async fn known_answer(&self, scope: &Scope) -> Result<Option<KnownAnswer>, ReadError> {
        let Some(idempotency) = &scope.idempotency else { return Ok(None) };
        let lane = self.lane_of(scope.organization_id).await?;
        let mut connection = self.pool().acquire().await?;
        crate::read::known_answer(&mut connection, lane, scope.organization_id, &idempotency.key).await
    }
}

fn replay<R: std::error::Error>(scope: &Scope, known: KnownAnswer) -> Result<Executed, ExecuteError<R>> {
    match &scope.idempotency {
        Some(asked) if asked.fingerprint == known.fingerprint => Ok(Executed::Replayed(known)),
        _ => Err(ExecuteError::KeyReused),
    }
}

/// A short pause of random length, so that rivals do not meet again in step.
async fn pause_before_try(tries: u32) {
    let longest = MAX_PAUSE.min(Duration::from_millis(1 << tries.min(10)));
    let mut byte = [0; 1];
    // Without randomness the pause is merely the longest one.
    if getrandom::fill(&mut byte).is_err() {
        byte = [u8::MAX];
    }
    tokio::time::sleep(longest.mul_f64(f64::from(byte[0]) / 255.0)).await;
}

/// How one execution ended, where `execute` of cqrs-es has no words for it.
#[derive(Debug)]
enum End {
    Appended(Appended),
    Unchanged(i64),
    Known(KnownAnswer),
    Conflict,
    PremiseMoved,
    Stale(i64),
    Failed(Failure),
}

#[derive(Debug)]
enum Failure {
    Seal(SealError),
    Read(ReadError),
    Codec(carelog_domain::CodecError),
    Append(AppendError),
}

impl Failure {
    fn into_error<R: std::error::Error>(self) -> ExecuteError<R> {
        match self {
            Self::Seal(error) => ExecuteError::Seal(error),
            Self::Read(error) => ExecuteError::Read(error),
            Self::Codec(error) => ExecuteError::Codec(error),
            Self::Append(error) => ExecuteError::Append(error),
        }
    }
}

/// The event store of one command.
#[derive(Debug)]
pub struct ScopedLog {
    log: EventLog,
    scope: Scope,
    expected: Expected,
    end: Arc<Mutex<Option<End>>>,
}

/// An aggregate with the version that it was folded to.
#[derive(Debug)]
pub struct LoadedAggregate<A> {
    stream_id: Uuid,
    version: i64,
    aggregate: A,
}

impl<A: Aggregate> AggregateContext<A> for LoadedAggregate<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

impl ScopedLog {
    fn ended<E: std::error::Error>(&self, end: End) -> AggregateError<E> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        AggregateError::AggregateConflict
    }

    fn stream(&self, kind: carelog_domain::StreamKind, id: Uuid) -> StreamKey {
        StreamKey { organization_id: self.scope.organization_id, kind, id }
    }

    async fn load<A>(&self, aggregate_id: &str) -> Result<(Uuid, Vec<A::Event>), End>
    where
        A: Aggregate,
        A::Event: StreamEvent,
    {
        let stream_id: Uuid = aggregate_id.parse().expect("`execute` formats it from a UUID");
        if self.expected == Expected::New {
            return Ok((stream_id, Vec::new()));
        }
        let recorded = self
            .log
            .stream(&self.stream(A::Event::KIND, stream_id), 0)
            .await
            .map_err(|error| End::Failed(Failure::Read(error)))?;
        recorded
            .iter()
            .map(crate::recorded::RecordedEvent::decode_as::<A::Event>)
            .collect::<Result<_, _>>()
            .map(|events| (stream_id, events))
            .map_err(|error| End::Failed(Failure::Codec(error)))
    }
}

impl<A> EventStore<A> for ScopedLog
where
    A: Aggregate,
    A::Event: StreamEvent,
{
    type AC = LoadedAggregate<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let (_, events) = self.load::<A>(aggregate_id).await.map_err(|end| self.ended(end))?;
        Ok(envelopes(aggregate_id, 1, events))
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<Self::AC, AggregateError<A::Error>> {
        let (stream_id, events) = self.load::<A>(aggregate_id).await.map_err(|end| self.ended(end))?;
        let version = i64::try_from(events.len()).unwrap_or(i64::MAX);
        if let Expected::Version(wanted) = self.expected
            && wanted != version
        {
            return Err(self.ended(End::Stale(version)));
        }
        let mut aggregate = A::default();
        for event in events {
            aggregate.apply(event);
        }
        Ok(LoadedAggregate { stream_id, version, aggregate })
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Self::AC,
        _metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        if events.is_empty() {
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(End::Unchanged(context.version));
            return Ok(Vec::new());
        }
        let stream = self.stream(A::Event::KIND, context.stream_id);
        let occurred_at = self.scope.occurred_at.unwrap_or_else(|| self.log.clock().now());
        let sealed = sealing::seal_events(self.log.vault(), &stream, context.version, occurred_at, &events)
            .await
            .map_err(|error| self.ended(End::Failed(Failure::Seal(error))))?;
        let request = AppendRequest {
            stream,
            expected_version: context.version,
            premise: self.scope.premise,
            circumstances: self.scope.circumstances,
            network: self.scope.network.clone(),
            idempotency: self.scope.idempotency.clone(),
            events: sealed,
            can_wait: self.scope.can_wait,
        };
        let verdict = self
            .log
            .append(request)
            .await
            .map_err(|error| self.ended(End::Failed(Failure::Append(error))))?;
        let end = match verdict {
            Verdict::Accepted(appended) => {
                *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(End::Appended(appended));
                let first = usize::try_from(context.version + 1).unwrap_or(usize::MAX);
                return Ok(envelopes(&stream.id.to_string(), first, events));
            }
            Verdict::Conflict { current_version } => match self.expected {
                Expected::Version(_) => End::Stale(current_version),
                Expected::Any | Expected::New => End::Conflict,
            },
            Verdict::PremiseMoved => End::PremiseMoved,
            Verdict::Known(known) => End::Known(known),
        };
        Err(self.ended(end))
    }
}

fn envelopes<A: Aggregate>(aggregate_id: &str, first: usize, events: Vec<A::Event>) -> Vec<EventEnvelope<A>> {
    (first..)
        .zip(events)
        .map(|(sequence, payload)| EventEnvelope {
            aggregate_id: aggregate_id.to_owned(),
            sequence,
            payload,
            metadata: HashMap::new(),
        })
        .collect()
}
