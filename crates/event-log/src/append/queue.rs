//! Where commands for one lane wait, and which of them make up the next batch.

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::iter;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::request::{AppendError, AppendRequest, NewEvent, Verdict};

/// Commands of one batch. Beyond 500 the batches only get slower, not cheaper.
const MAX_COMMANDS: usize = 500;
/// Bytes of facts and personal parts of one batch.
const MAX_BYTES: usize = 4 << 20;
/// Commands that may wait; a caller beyond that waits for a place.
const QUEUE: usize = 4_096;
/// How long commands wait for others that nobody waits for. Most of them ride along with the next one that somebody
/// does wait for.
const PATIENCE: Duration = Duration::from_millis(20);
/// So many of them are waited for no longer.
const WORTH_A_BATCH: usize = 64;

pub(super) type Answer = Result<Verdict, AppendError>;

/// A command, and who waits for its verdict.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: AppendRequest,
    pub(super) answer: oneshot::Sender<Answer>,
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

/// What waits for one lane's batcher, in the order in which it came.
#[derive(Debug)]
pub(super) struct Queue {
    incoming: mpsc::Receiver<Waiting>,
    /// Taken out of the channel already.
    first: VecDeque<Waiting>,
}

pub(super) fn queue() -> (BatcherHandle, Queue) {
    let (queue, incoming) = mpsc::channel(QUEUE);
    (BatcherHandle { queue }, Queue { incoming, first: VecDeque::new() })
}

impl Queue {
    /// Waits until there is something to write. False when there is nothing, and every handle is gone.
    pub(super) async fn fill(&mut self) -> bool {
        if self.first.is_empty() {
            self.first.extend(self.incoming.recv().await);
        }
        let until = Instant::now() + PATIENCE;
        while self.first.len() < WORTH_A_BATCH
            && self.first.iter().all(|command| command.request.can_wait)
            && let Ok(Some(next)) = timeout_at(until, self.incoming.recv()).await
        {
            self.first.push_back(next);
        }
        !self.first.is_empty()
    }

    /// Takes what is there. A second command for the same stream, on a decision that rests on it, or under the same
    /// idempotency key waits for the next batch, so that it is judged by what the first one wrote.
    pub(super) fn take_batch(&mut self) -> Vec<Waiting> {
        let mut batch = Vec::new();
        let mut streams = HashSet::new();
        let mut keys = HashSet::new();
        let mut bytes = 0;
        let mut later = VecDeque::new();
        while batch.len() < MAX_COMMANDS && later.len() < MAX_COMMANDS && bytes < MAX_BYTES {
            let Some(next) = self.first.pop_front().or_else(|| self.incoming.try_recv().ok()) else { break };
            let request = &next.request;
            let key =
                request.idempotency.as_ref().map(|known| (request.stream.organization_id, known.key.clone()));
            let mut named = iter::once(request.stream).chain(request.premise.map(|premise| premise.stream));
            if named.any(|stream| streams.contains(&stream))
                || key.as_ref().is_some_and(|key| keys.contains(key))
            {
                later.push_back(next);
                continue;
            }
            streams.insert(request.stream);
            streams.extend(request.premise.map(|premise| premise.stream));
            keys.extend(key);
            bytes += request.events.iter().map(size_of_event).sum::<usize>();
            batch.push(next);
        }
        later.append(&mut self.first);
        self.first = later;
        batch
    }
}

fn size_of_event(event: &NewEvent) -> usize {
    event.facts.len() + event.personal.as_ref().map_or(0, |part| part.sealed.bytes.len())
}
