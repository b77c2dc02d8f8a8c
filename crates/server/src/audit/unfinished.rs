//! What an export has collected, in a directory beside its file, so that one that was cut off goes on where it was.
//!
//! After each page the lists are on the disk first, then the state that says how long they are: what a crash left behind
//! them is cut away. An export that goes on does so under the checkpoint with which it began, and only where it is the
//! same that is asked for; otherwise it begins anew. What is collected stays with whoever may export, and every run is an
//! access of its own.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_audit::proof::{Edge, SignedCheckpoint};
use carelog_audit::signer::replace;
use carelog_domain::{OrganizationId, PatientId};
use serde::{Deserialize, Serialize};

use super::collect::{Collected, Destroyer};
use super::spool::Spool;
use super::{ExportError, ExportOptions};

#[cfg(test)]
mod tests;

const STATE: &str = "state.json";
const LEAVES: &str = "leaves.ndjson";
const PAYLOADS: &str = "payloads.ndjson";
/// Longest state that is read: a line for each patient whose keys were destroyed.
const MAX_STATE_BYTES: u64 = 1 << 30;

/// The directory of an export that is under way. No other process uses it at the same time.
#[derive(Debug)]
pub struct Unfinished {
    directory: PathBuf,
    /// How long each list may get.
    max_bytes: u64,
    /// The directory itself, locked.
    lock: File,
}

/// How far an export had come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    organization_id: OrganizationId,
    from: Option<u64>,
    to: Option<u64>,
    since: Option<u64>,
    /// The signed checkpoint, with its cosignatures.
    note: String,
    /// Events that were in the log when it began.
    pub(super) head: u64,
    /// The next index.
    pub(super) next: u64,
    /// The tree up to there, in base64.
    edge: String,
    event_count: u64,
    erased_count: u64,
    leaves_bytes: u64,
    payloads_bytes: u64,
    destroyers: Vec<(PatientId, Option<Destroyer>)>,
}

impl Unfinished {
    /// Opens the directory, which is made where it is missing.
    ///
    /// # Errors
    /// When another process uses it, or the file system refuses.
    pub(super) fn open(directory: &Path, max_bytes: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = File::open(directory)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_path_buf(), max_bytes, lock }),
            Err(fs::TryLockError::WouldBlock) => Err(io::Error::other("another process makes this export")),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// How far the same export had come; nothing where another one was begun, or none. One that cannot be read is begun
    /// anew.
    pub(super) fn state(&self, options: &ExportOptions) -> Option<(State, SignedCheckpoint)> {
        let path = self.directory.join(STATE);
        let is_short = fs::metadata(&path).ok()?.len() <= MAX_STATE_BYTES;
        let text = is_short.then(|| fs::read(&path).ok()).flatten()?;
        let state: State = serde_json::from_slice(&text).ok()?;
        let is_same = (state.organization_id, state.from, state.to, state.since)
            == (options.organization_id, options.from, options.to, options.since);
        let checkpoint = SignedCheckpoint::parse(&state.note).ok()?;
        (is_same && options.patient_id.is_none()).then_some((state, checkpoint))
    }

    /// New lists, in the place of others. What says how long those were goes first: no crash leaves it beside shorter ones.
    pub(super) fn begin(&self, edge: Edge) -> Result<Collected, ExportError> {
        match fs::remove_file(self.directory.join(STATE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => self.lock.sync_all()?,
        }
        Ok(Collected::of(self.list(LEAVES, 0)?, self.list(PAYLOADS, 0)?, edge))
    }

    /// The lists as they were.
    pub(super) fn resume(&self, state: State) -> Result<Collected, ExportError> {
        let bytes = STANDARD.decode(&state.edge).map_err(|_| ExportError::Contradicted)?;
        let edge = Edge::from_bytes(state.next, &bytes).map_err(|_| ExportError::Contradicted)?;
        let leaves = self.list(LEAVES, state.leaves_bytes)?;
        let mut collected = Collected::of(leaves, self.list(PAYLOADS, state.payloads_bytes)?, edge);
        collected.destroyers = state.destroyers.into_iter().collect();
        collected.event_count = state.event_count;
        collected.erased_count = state.erased_count;
        Ok(collected)
    }

    fn list(&self, name: &str, length: u64) -> io::Result<Spool> {
        Spool::open(&self.directory.join(name), length, self.max_bytes)
    }

    /// Says how far it is.
    pub(super) fn save(
        &self,
        options: &ExportOptions,
        signed: &SignedCheckpoint,
        head: u64,
        next: u64,
        collected: &mut Collected,
    ) -> Result<(), ExportError> {
        let state = State {
            organization_id: options.organization_id,
            from: options.from,
            to: options.to,
            since: options.since,
            note: signed.to_string(),
            head,
            next,
            edge: STANDARD.encode(collected.edge.to_bytes()),
            event_count: collected.event_count,
            erased_count: collected.erased_count,
            leaves_bytes: collected.leaves.sync()?,
            payloads_bytes: collected.payloads.sync()?,
            destroyers: collected.destroyers.iter().map(|(id, destroyer)| (*id, destroyer.clone())).collect(),
        };
        let state = serde_json::to_vec(&state).map_err(io::Error::from)?;
        Ok(replace(&self.directory.join(STATE), &state)?)
    }

    /// Removes everything, once the bundle has its name.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }
}
