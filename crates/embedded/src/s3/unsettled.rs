//! Names that may not outlast a power cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::blob::sync_folder;
use super::error::StoreError;

/// Names that were given or taken, and of which the disk has not said that they stay so; each with the blobs of what stood
/// in its place. Nobody is told of a name, and no such blob is removed, before it has. Changed under the store's lock only.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<BTreeMap<PathBuf, Vec<String>>>);

impl Unsettled {
    fn names(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be said before the name is given or taken, so that whoever sees it finds this too.
    pub(super) fn add(&self, name: &Path, replaced: impl IntoIterator<Item = String>) {
        self.names().entry(name.to_owned()).or_default().extend(replaced);
    }

    /// The disk has said that the name stays. Gives what stood in its place.
    pub(super) fn remove(&self, name: &Path) -> Vec<String> {
        self.names().remove(name).unwrap_or_default()
    }

    pub(super) fn contains(&self, name: &Path) -> bool {
        self.names().contains_key(name)
    }

    /// Makes the names in a folder last, where a writer did not come as far as that. Gives them, with what stood in their
    /// place.
    pub(super) fn settle(&self, folder: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>, StoreError> {
        let is_in_it = |name: &Path| name.parent() == Some(folder);
        if !self.names().keys().any(|name| is_in_it(name)) {
            return Ok(BTreeMap::new());
        }
        sync_folder(folder)?;
        Ok(self.names().extract_if(.., |name, _| is_in_it(name)).collect())
    }
}
