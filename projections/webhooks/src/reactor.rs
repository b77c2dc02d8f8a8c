//! Turns intended deliveries into effects of the ledger, and hands them to the worker of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carelog_domain::SubscriptionId;
use carelog_event_log::effects::{Limits, QueueChange, Wish};
use carelog_event_log::runtime::{Reaction, Reactor};
use tokio::sync::mpsc;

use crate::directory::Directory;
use crate::worker::MAX_IN_FLIGHT;

/// The reactor's name in the ledger.
pub const REACTOR: &str = "webhooks";

/// Hands intended deliveries of the projector to the worker of this process.
#[derive(Debug)]
pub struct WebhooksReactor {
    pub(crate) fresh: mpsc::UnboundedSender<Vec<Reaction>>,
    pub(crate) held: Arc<AtomicUsize>,
    pub(crate) limits: Limits,
    pub(crate) directory: Directory,
}

impl Reactor<Wish> for WebhooksReactor {
    fn name(&self) -> &'static str {
        REACTOR
    }

    fn room(&self) -> usize {
        if self.fresh.is_closed() {
            return 0;
        }
        // The other half is for what waits already.
        MAX_IN_FLIGHT.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    /// The worker hears of a changed subscription before the change is committed.
    fn wish(&self, intent: Wish) -> Wish {
        if let Wish::Queue(QueueChange { organization_id, step, revision: Some(revision), .. }) = intent {
            self.directory.outdate((organization_id, SubscriptionId::new(step)), revision);
        }
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
        // With no room, nothing begins here.
        Limits::NONE
    }

    fn wish(&self, intent: Wish) -> Wish {
        intent
    }

    fn committed(&self, effects: Vec<Reaction>) {
        // With no room, nothing is handed over.
        drop(effects);
    }
}
