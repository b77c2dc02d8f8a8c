//! Keys kept in memory for a short while, by scope and by name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carelog_domain::{DataClass, KeyId, KeyScope, OrganizationId, PatientId};
use moka::sync::Cache;

use crate::data_key::KeyState;
use crate::store::StoredKey;

/// How long a key is kept, in seconds: the longest that a process may go on using a key which another shredded.
pub const CACHE_SECONDS: u64 = 60;

/// About a kilobyte each, so 100 MB at the most.
const CACHE_KEYS: u64 = 100_000;

/// Counts the shreddings of this process, so that a key read before one is not kept after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

pub(crate) struct KeyCache {
    by_scope: Cache<KeyScope, KeyState>,
    by_id: Cache<KeyId, KeyState>,
    generation: AtomicU64,
}

impl KeyCache {
    pub(crate) fn new() -> Self {
        let time_to_live = Duration::from_secs(CACHE_SECONDS);
        Self {
            by_scope: Cache::builder().max_capacity(CACHE_KEYS).time_to_live(time_to_live).build(),
            by_id: Cache::builder().max_capacity(CACHE_KEYS).time_to_live(time_to_live).build(),
            generation: AtomicU64::new(0),
        }
    }

    pub(crate) fn by_scope(&self, scope: &KeyScope) -> Option<KeyState> {
        self.by_scope.get(scope)
    }

    pub(crate) fn by_id(&self, key_id: KeyId) -> Option<KeyState> {
        self.by_id.get(&key_id)
    }

    /// To be taken before keys are read from the database, and given to [`remember`](Self::remember).
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::SeqCst))
    }

    /// Keeps keys that were read in that generation, unless a shredding came between.
    pub(crate) fn remember(&self, read_in: Generation, keys: &[StoredKey]) {
        for key in keys {
            self.by_id.insert(key.key_id, key.state.clone());
            if key.is_current() {
                self.by_scope.insert(key.scope, key.state.clone());
            }
        }
        if self.generation() != read_in {
            for key in keys {
                self.by_id.invalidate(&key.key_id);
                self.by_scope.invalidate(&key.scope);
            }
        }
    }

    /// Drops a patient's keys after they were destroyed in the database.
    pub(crate) fn shred(&self, organization_id: OrganizationId, subject: PatientId, key_ids: &[KeyId]) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        for &class in DataClass::ALL {
            self.by_scope.invalidate(&KeyScope { organization_id, subject: Some(subject), class });
        }
        for key_id in key_ids {
            self.by_id.invalidate(key_id);
        }
        // Otherwise the bytes would wait in memory for the next clean-up.
        self.by_scope.run_pending_tasks();
        self.by_id.run_pending_tasks();
    }
}
