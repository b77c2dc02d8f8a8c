//! Bringing in what happened elsewhere: all events of a new stream at once, each with its own moment.

use carelog_domain::{StreamEvent, Timestamp};
use uuid::Uuid;

use crate::append::{AppendError, AppendRequest, Verdict};
use crate::log::EventLog;
use crate::recorded::StreamKey;
use crate::sealing::{self, SealError};
use crate::store::Scope;

/// Why a history was not brought in; nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The events cannot be sealed.
    #[error("the events cannot be sealed")]
    Seal(#[source] SealError),
    /// The events cannot be written.
    #[error("the events cannot be written")]
    Append(#[source] AppendError),
}

impl EventLog {
    /// Appends a whole history, which its aggregate has decided, as the beginning of a stream. A stream that
    /// exists already is left alone and answered with [`Verdict::Conflict`], so that an import can be repeated.
    ///
    /// `occurred_at`, `expected` and `can_wait` of the scope are not looked at.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub async fn append_history<E: StreamEvent>(
        &self,
        scope: &Scope,
        stream_id: Uuid,
        history: Vec<(Timestamp, E)>,
    ) -> Result<Verdict, HistoryError> {
        let stream = StreamKey { organization_id: scope.organization_id, kind: E::KIND, id: stream_id };
        let (moments, events): (Vec<Timestamp>, Vec<E>) = history.into_iter().unzip();
        let first = moments.first().copied().unwrap_or_else(|| self.clock().now());
        let mut sealed = sealing::seal_events(self.vault(), &stream, 0, first, &events)
            .await
            .map_err(HistoryError::Seal)?;
        for (event, occurred_at) in sealed.iter_mut().zip(moments) {
            event.occurred_at = occurred_at;
        }
        let request = AppendRequest {
            stream,
            expected_version: 0,
            premise: None,
            circumstances: scope.circumstances,
            network: scope.network.clone(),
            idempotency: scope.idempotency.clone(),
            can_wait: false,
            events: sealed,
        };
        self.append(request).await.map_err(HistoryError::Append)
    }
}
