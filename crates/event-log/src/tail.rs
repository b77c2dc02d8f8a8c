//! The newest events of a lane, kept in memory, so that consumers near the head read nothing from the database.
//!
//! The buffer is contiguous: it either holds every event after a position or says that it does not. Events that
//! another process appended are not in it; a consumer that meets such a gap reads the database instead.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::read::PAGE_BYTES;
use crate::recorded::{Position, RecordedEvent};

/// Bounds of the buffer of one lane.
const MAX_EVENTS: usize = 16_384;
const MAX_BYTES: usize = 16 << 20;

/// One lane's newest events and the newest position that anybody here has heard of.
#[derive(Debug)]
pub(crate) struct LaneTail {
    buffer: Mutex<Buffer>,
    head: watch::Sender<Position>,
    own_head: AtomicI64,
    awaited: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct Buffer {
    events: VecDeque<Arc<RecordedEvent>>,
    bytes: usize,
}

impl LaneTail {
    pub(crate) fn new(head: Position) -> Self {
        Self {
            buffer: Mutex::default(),
            head: watch::Sender::new(head),
            own_head: AtomicI64::new(head),
            awaited: watch::Sender::new(head),
        }
    }

    /// Takes committed events of this process and wakes whoever waits for them.
    pub(crate) fn push(&self, events: &[Arc<RecordedEvent>]) {
        let Some(newest) = events.last() else { return };
        self.buffer().push(events);
        self.own_head.fetch_max(newest.position, Ordering::Relaxed);
        self.heard_of(newest.position);
    }

    /// The newest position that this process appended itself.
    pub(crate) fn own_head(&self) -> Position {
        self.own_head.load(Ordering::Relaxed)
    }

    /// Says that a reader waits until a position is applied.
    pub(crate) fn wait_for(&self, position: Position) {
        raise(&self.awaited, position);
    }

    /// The newest position that a reader waits for; a change can be awaited.
    pub(crate) fn awaited(&self) -> watch::Receiver<Position> {
        self.awaited.subscribe()
    }

    /// Wakes whoever waits, when the position is news.
    pub(crate) fn heard_of(&self, position: Position) {
        raise(&self.head, position);
    }

    /// The newest position that anybody here has heard of; a change can be awaited.
    pub(crate) fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// The events after a position, or nothing when the buffer does not reach back that far.
    pub(crate) fn after(&self, position: Position, max_events: usize) -> Option<Vec<Arc<RecordedEvent>>> {
        let buffer = self.buffer();
        let first = buffer.events.front()?.position;
        let skip = usize::try_from(position + 1 - first).ok()?;
        let mut bytes = 0;
        let page: Vec<_> = buffer
            .events
            .iter()
            .skip(skip)
            .take(max_events)
            .take_while(|event| {
                let fits = bytes == 0 || bytes + event.size() <= PAGE_BYTES;
                bytes += event.size();
                fits
            })
            .cloned()
            .collect();
        (!page.is_empty()).then_some(page)
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes whoever watches, when the position is news.
fn raise(newest: &watch::Sender<Position>, position: Position) {
    newest.send_if_modified(|newest| {
        let is_news = position > *newest;
        *newest = position.max(*newest);
        is_news
    });
}

impl Buffer {
    fn push(&mut self, events: &[Arc<RecordedEvent>]) {
        let (Some(first), last) = (events.first(), self.events.back()) else { return };
        if last.is_some_and(|last| last.position + 1 != first.position) {
            self.events.clear();
            self.bytes = 0;
        }
        self.bytes += events.iter().map(|event| event.size()).sum::<usize>();
        self.events.extend(events.iter().cloned());
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.size();
        }
    }
}
