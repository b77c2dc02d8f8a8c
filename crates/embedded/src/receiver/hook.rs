//! One path of the receiver: secrets, behaviour, counters, memory.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderMap;
use standardwebhooks::{HEADER_WEBHOOK_ID, Webhook};

use super::ReceiverError;
use super::behaviour::{Behaviour, Reply};
use super::receipt::{Envelope, Ledger, Receipt, Sequence};

/// What a hook has counted since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests.
    pub received: u64,
    /// Requests with a valid signature.
    pub verified: u64,
    /// Requests without one; answered 400.
    pub refused_signatures: u64,
    /// Verified requests answered with a 2xx status.
    pub accepted: u64,
    /// Verified requests whose id had been received before.
    pub duplicates: u64,
    /// Those among them whose id had been answered with a 2xx status before.
    pub duplicates_after_success: u64,
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, each| Self {
            received: sum.received + each.received,
            verified: sum.verified + each.verified,
            refused_signatures: sum.refused_signatures + each.refused_signatures,
            accepted: sum.accepted + each.accepted,
            duplicates: sum.duplicates + each.duplicates,
            duplicates_after_success: sum.duplicates_after_success + each.duplicates_after_success,
        })
    }
}

/// One path, `/hooks/<name>`.
pub struct Hook {
    name: Arc<str>,
    secrets: ArcSwap<Vec<Webhook>>,
    script: ArcSwap<Script>,
    counters: Counters,
    flooded: Arc<AtomicU64>,
    unsigned_too: bool,
    receipts_kept: usize,
    receipts: Mutex<VecDeque<Receipt>>,
    ids: Mutex<Ids>,
}

#[derive(Default)]
struct Script {
    behaviour: Behaviour,
    requests: AtomicU64,
}

#[derive(Default)]
struct Counters {
    received: AtomicU64,
    verified: AtomicU64,
    refused_signatures: AtomicU64,
    accepted: AtomicU64,
    duplicates: AtomicU64,
    duplicates_after_success: AtomicU64,
}

impl Hook {
    pub(super) fn new(name: &str, receipts_kept: usize, ids_remembered: usize, unsigned_too: bool) -> Self {
        Self {
            name: name.into(),
            secrets: ArcSwap::default(),
            script: ArcSwap::default(),
            counters: Counters::default(),
            flooded: Arc::default(),
            unsigned_too,
            receipts_kept,
            receipts: Mutex::default(),
            ids: Mutex::new(Ids { limit: ids_remembered, ..Ids::default() }),
        }
    }

    /// Its name in the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Replaces the secrets (`whsec_…`); a signature by any of them verifies.
    /// Without secrets nothing does.
    ///
    /// # Errors
    /// [`ReceiverError::Secret`]; the earlier secrets stay.
    pub fn set_secrets<S: AsRef<str>>(&self, secrets: &[S]) -> Result<(), ReceiverError> {
        let secrets: Result<Vec<Webhook>, _> =
            secrets.iter().map(|secret| Webhook::new(secret.as_ref())).collect();
        self.secrets.store(Arc::new(secrets?));
        Ok(())
    }

    /// Replaces the behaviour and starts counting its requests anew.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.script.store(Arc::new(Script { behaviour, requests: AtomicU64::new(0) }));
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            received: read(&self.counters.received),
            verified: read(&self.counters.verified),
            refused_signatures: read(&self.counters.refused_signatures),
            accepted: read(&self.counters.accepted),
            duplicates: read(&self.counters.duplicates),
            duplicates_after_success: read(&self.counters.duplicates_after_success),
        }
    }

    /// The latest receipts, oldest first.
    pub fn receipts(&self) -> Vec<Receipt> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Bytes of endless answers that were given to the connection; the sender may have taken fewer.
    pub fn flooded_bytes(&self) -> u64 {
        self.flooded.load(Ordering::Relaxed)
    }

    pub(super) fn flooded(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.flooded)
    }

    /// Checks and notes a request, and decides what is done about it.
    pub(super) fn receive(&self, headers: &HeaderMap, body: &[u8], ledger: &Ledger) -> Reply {
        let received_at = Instant::now();
        count(&self.counters.received);
        let secrets = self.secrets.load();
        let verified = secrets.iter().any(|secret| secret.verify(body, headers).is_ok());
        let reply = if verified || (self.unsigned_too && secrets.is_empty()) {
            self.next_reply()
        } else {
            count(&self.counters.refused_signatures);
            Reply::of(400)
        };
        let id = headers.get(HEADER_WEBHOOK_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let duplicate = verified && self.count_verified(id, &reply);

        if self.receipts_kept > 0 || ledger.is_used() {
            let envelope: Envelope<'_> = serde_json::from_slice(body).unwrap_or_default();
            let receipt = Receipt {
                hook: Arc::clone(&self.name),
                webhook_id: id.to_owned(),
                received_at,
                received_at_micros: ledger.now(),
                event: envelope.event.map(String::from),
                sequence: envelope.sequence.as_ref().and_then(Sequence::number),
                verified,
                duplicate,
                status: reply.seen_status(),
                fault: reply.fault(),
                headers: if self.receipts_kept > 0 { headers.clone() } else { HeaderMap::new() },
                body: if self.receipts_kept > 0 { body.into() } else { Arc::default() },
            };
            ledger.enter(&receipt);
            self.keep(receipt);
        }
        reply
    }

    fn next_reply(&self) -> Reply {
        let script = self.script.load();
        script.behaviour.reply(script.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Returns whether the id is a duplicate.
    fn count_verified(&self, id: &str, reply: &Reply) -> bool {
        count(&self.counters.verified);
        let accepted = reply.seen_status().is_some_and(|status| (200..300).contains(&status));
        if accepted {
            count(&self.counters.accepted);
        }
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ids.note(id, accepted);
        drop(ids);
        if before.is_some() {
            count(&self.counters.duplicates);
        }
        if before == Some(true) {
            count(&self.counters.duplicates_after_success);
        }
        before.is_some()
    }

    fn keep(&self, receipt: Receipt) {
        if self.receipts_kept == 0 {
            return;
        }
        let mut receipts = self.receipts.lock().unwrap_or_else(PoisonError::into_inner);
        if receipts.len() >= self.receipts_kept {
            receipts.pop_front();
        }
        receipts.push_back(receipt);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The latest ids as 64-bit hashes: among a million of them two collide with a
/// probability of 3 in 100 million, at a tenth of the memory.
#[derive(Default)]
struct Ids {
    limit: usize,
    accepted: HashMap<u64, bool>,
    order: VecDeque<u64>,
}

impl Ids {
    /// `None` for a new id, otherwise whether it was accepted before.
    fn note(&mut self, id: &str, accepted: bool) -> Option<bool> {
        if self.limit == 0 {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(known) = self.accepted.get_mut(&hash) {
            let before = *known;
            *known |= accepted;
            return Some(before);
        }
        if self.order.len() >= self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.accepted.remove(&oldest);
        }
        self.order.push_back(hash);
        self.accepted.insert(hash, accepted);
        None
    }
}
