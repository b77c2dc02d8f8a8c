//! Turns intended looks into effects of the ledger, and hands them to the worker of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carelog_event_log::effects::{Limits, Wish};
use carelog_event_log::runtime::{Reaction, Reactor};
use tokio::sync::mpsc;

use crate::worker::{LIMITS, MAX_IN_FLIGHT};

/// The reactor's name in the ledger.
pub const REACTOR: &str = "video";

/// Hands intended looks of the projector to the worker of this process.
#[derive(Debug)]
pub struct VideoReactor {
    pub(crate) fresh: mpsc::UnboundedSender<Vec<Reaction>>,
    pub(crate) held: Arc<AtomicUsize>,
}

impl Reactor<Wish> for VideoReactor {
    fn name(&self) -> &'static str {
        REACTOR
    }

    fn room(&self) -> usize {
        if self.fresh.is_closed() {
            return 0;
        }
        MAX_IN_FLIGHT.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn wish(&self, intent: Wish) -> Wish {
        intent
    }

    fn committed(&self, effects: Vec<Reaction>) {
        self.held.fetch_add(effects.len(), Ordering::Relaxed);
        // A worker that has stopped leaves them to their lease.
        let _ = self.fresh.send(effects);
    }
}

/// The reactor of a process without a worker: everything waits in the ledger for another process.
#[derive(Clone, Copy, Debug, Default)]
pub struct LedgerOnly;

impl Reactor<Wish> for LedgerOnly {
    fn name(&self) -> &'static str {
        REACTOR
    }

    fn room(&self) -> usize {
        0
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn wish(&self, intent: Wish) -> Wish {
        intent
    }

    fn committed(&self, effects: Vec<Reaction>) {
        // With no room, nothing is handed over.
        drop(effects);
    }
}
