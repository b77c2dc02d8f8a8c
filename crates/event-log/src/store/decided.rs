//! Appending to a stream without reading it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use carelog_domain::StreamEvent;
use cqrs_es::{Aggregate, EventStore};
use uuid::Uuid;

use super::{End, ExecuteError, Executed, Expected, LoadedAggregate, Scope, ScopedLog, replay};
use crate::log::EventLog;

impl EventLog {
    /// Appends what an aggregate decided whose state the caller knows by other means than its events, such as a row that
    /// was folded from them up to `version`. Reads nothing of the stream, however long it is: its version alone tells
    /// whether what is known is still so.
    ///
    /// # Errors
    /// [`ExecuteError::StaleVersion`] where it is not; otherwise as [`Self::execute`], but for rejections, of which there
    /// are none.
    pub async fn append_decided<A>(
        &self,
        scope: &Scope,
        stream_id: Uuid,
        version: i64,
        decided: Vec<A::Event>,
    ) -> Result<Executed, ExecuteError<A::Error>>
    where
        A: Aggregate + 'static,
        A::Event: StreamEvent,
        A::Error: Send + Sync,
    {
        let expected = Expected::Version(version);
        let store = ScopedLog { log: self.clone(), scope: scope.clone(), expected, end: Arc::default() };
        let known = LoadedAggregate { stream_id, version, aggregate: A::default() };
        let written = EventStore::<A>::commit(&store, decided, known, HashMap::new()).await;
        let end = store.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (written, end) {
            (Ok(_), Some(End::Appended(appended))) => Ok(Executed::Appended(appended)),
            (Ok(_), Some(End::Unchanged(version))) => Ok(Executed::Unchanged { version }),
            (_, Some(End::Known(known))) => replay(scope, known),
            (_, Some(End::Stale(current_version))) => Err(ExecuteError::StaleVersion { current_version }),
            (_, Some(End::PremiseMoved)) => Err(ExecuteError::PremiseMoved),
            (_, Some(End::Failed(failure))) => Err(failure.into_error()),
            (Ok(_) | Err(_), _) => Err(ExecuteError::Contended),
        }
    }
}
