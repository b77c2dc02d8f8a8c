//! What the partner's receiver tells of the requests that it verified.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use carelog_embedded::receiver::{OnReceipt, Receipt};
use uuid::Uuid;

/// What the receiver got, until it is looked at.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    first_accepted: OnceLock<Instant>,
    /// Delivery and moment, in microseconds since 1970, of requests that came for the first time.
    fresh: Mutex<Vec<(Uuid, i64)>>,
}

impl Receipts {
    /// What the receiver is to call.
    pub(super) fn listener(self: &Arc<Self>) -> OnReceipt {
        let receipts = Arc::clone(self);
        Arc::new(move |receipt| receipts.note(receipt))
    }

    /// When the first request was accepted.
    pub(super) fn first_accepted(&self) -> Option<Instant> {
        self.first_accepted.get().copied()
    }

    fn note(&self, receipt: &Receipt) {
        if !receipt.verified {
            return;
        }
        if receipt.status.is_some_and(|status| (200..300).contains(&status)) {
            self.first_accepted.get_or_init(|| receipt.received_at);
        }
        if let (false, Ok(delivery_id)) = (receipt.duplicate, receipt.webhook_id.parse()) {
            self.lock().push((delivery_id, receipt.received_at_micros));
        }
    }

    /// What came since the last call.
    pub(super) fn take(&self) -> Vec<(Uuid, i64)> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Uuid, i64)>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
