//! Commands that rest on what another stream tells.

use carelog_domain::{Rejection, StreamEvent};
use carelog_event_log::{ExecuteError, Expected, Premise, StreamKey};
use cqrs_es::Aggregate;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::{Done, Terms};
use crate::http::caller::Caller;
use crate::http::problem::Problem;

/// How often such a command is decided anew while others move the other stream.
const MAX_TRIES: u32 = 8;

/// A command, and the stream that it rests on, if any.
pub(in crate::http) type Decided<A> = (<A as Aggregate>::Command, Option<Premise>);

impl Caller {
    /// Executes a command that rests on another stream of the same id, which is folded for it. Where that moves before the
    /// command is appended, it is folded and decided anew.
    ///
    /// # Errors
    /// See [`Problem`].
    pub(in crate::http) async fn change_resting_on<P, A>(
        &self,
        terms: &Terms,
        stream_id: Uuid,
        command: impl Fn(P) -> A::Command + Send + Sync,
    ) -> Result<Done, Problem>
    where
        P: Aggregate<Services = ()> + Send + 'static,
        P::Event: StreamEvent,
        A: Aggregate<Services = ()> + 'static,
        A::Event: StreamEvent,
        A::Command: Clone,
        A::Error: Rejection,
    {
        let decide = || -> BoxFuture<'_, Result<Decided<A>, Problem>> {
            Box::pin(async {
                let (told, premise) = self.folded::<P>(stream_id).await?;
                Ok((command(told), Some(premise)))
            })
        };
        self.change_as_decided::<A>(terms, stream_id, decide).await
    }

    /// Executes what is decided. Where the premise of that moves before the command is appended, it is decided anew.
    ///
    /// # Errors
    /// See [`Problem`].
    pub(in crate::http) async fn change_as_decided<'a, A>(
        &self,
        terms: &Terms,
        stream_id: Uuid,
        decide: impl Fn() -> BoxFuture<'a, Result<Decided<A>, Problem>> + Send,
    ) -> Result<Done, Problem>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Event: StreamEvent,
        A::Command: Clone,
        A::Error: Rejection,
    {
        let idempotency = terms.kept(self);
        let _claim = self.claim(idempotency.as_ref())?;
        let expected = terms.if_match.map_or(Expected::Any, Expected::Version);
        let mut scope = self.scope(expected, None, idempotency).await?;
        for _ in 0..MAX_TRIES {
            let (command, premise) = decide().await?;
            scope.premise = premise;
            match self.api.log().execute::<A>(&scope, stream_id, command).await {
                Err(ExecuteError::PremiseMoved) => {}
                executed => return Ok(Done::of(stream_id, executed?)),
            }
        }
        Err(ExecuteError::<A::Error>::Contended.into())
    }

    /// What a stream of the caller's organization tells, and how far it had come.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(in crate::http) async fn folded<P>(&self, stream_id: Uuid) -> Result<(P, Premise), Problem>
    where
        P: Aggregate + Send,
        P::Event: StreamEvent,
    {
        let stream = StreamKey { organization_id: self.organization_id, kind: P::Event::KIND, id: stream_id };
        let (mut folded, mut version) = (P::default(), 0);
        for event in self.api.log().stream(&stream, 0).await? {
            folded.apply(event.decode_as().map_err(|error| Problem::internal(&error))?);
            version = event.version;
        }
        Ok((folded, Premise { stream, version }))
    }
}
