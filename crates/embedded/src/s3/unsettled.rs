//! Names that may not outlast a power cut.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::blob::sync_folder;
use super::error::StoreError;

/// Names that were given or taken, and of which the disk has not said that they stay so. Nobody is told of one, and nothing
/// that stood in its place is removed, before it has. Changed under the store's lock only.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<BTreeSet<PathBuf>>);

impl Unsettled {
    fn names(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be said before the name is given or taken, so that whoever sees it finds this too.
    pub(super) fn add(&self, name: &Path) {
        self.names().insert(name.to_owned());
    }

    /// The disk has said that the name stays.
    pub(super) fn remove(&self, name: &Path) {
        self.names().remove(name);
    }

    pub(super) fn contains(&self, name: &Path) -> bool {
        self.names().contains(name)
    }

    /// Makes the names in a folder last, where a writer did not come as far as that.
    pub(super) fn settle(&self, folder: &Path) -> Result<(), StoreError> {
        let is_in_it = |name: &Path| name.parent() == Some(folder);
        if self.names().iter().any(|name| is_in_it(name)) {
            sync_folder(folder)?;
            self.names().retain(|name| !is_in_it(name));
        }
        Ok(())
    }
}
