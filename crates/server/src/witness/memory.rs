//! What a witness must not forget: its key, and the newest checkpoint of each log that it has cosigned.
//!
//! Each log has a file with the checkpoint as it was cosigned, and one with its size at a second place. Both are replaced
//! whole and are on the disk before the cosignature leaves. Where the first is older than the second when the witness
//! starts, it was restored from a backup, and the witness does not start: it would cosign a second continuation of what
//! it had seen already. Keep the second place out of the backups of the first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use carelog_audit::proof::{
    AddCheckpoint, Algorithm, Checkpoint, Cosignature, KeyError, SignedCheckpoint, VerifierKey,
    WitnessRefusal,
};
use carelog_audit::signer::{HolderError, LockedKey, create_key, failed, replace};
use sha2::{Digest, Sha256};

const KEY_PREFIX: &str = "carelog-witness-v1:";
/// Longest checkpoint that is read.
const MAX_CHECKPOINT_BYTES: u64 = 1 << 20;

/// Where a witness keeps what it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `witness.key`, and `logs` with a checkpoint of each log.
    pub directory: PathBuf,
    /// `sizes`, with the size of each log once more.
    pub sizes: PathBuf,
}

/// Why there is no witness, or no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The log asked for what cannot be given.
    #[error(transparent)]
    Refused(#[from] WitnessRefusal),
    /// Key or files cannot be used.
    #[error("the witness's files cannot be used")]
    Files(#[from] HolderError),
    /// The name cannot be a witness's.
    #[error("the witness's name cannot be used")]
    Name(#[from] KeyError),
    /// There is a key, and nothing about what it has cosigned.
    #[error("{} is missing beside a key that is in use: a key whose memory is lost must not sign again; begin \
             another witness, of another name", .0.display())]
    Forgotten(PathBuf),
    /// A checkpoint is older than its size was.
    #[error(
        "the checkpoint of {origin} has {found} leaves, and {cosigned} were cosigned: the witness was set back, and \
         its key must not sign again; begin another witness, of another name"
    )]
    SetBack {
        /// The log, or its hash where nothing else is left of it.
        origin: String,
        /// Leaves of the checkpoint that is there.
        found: u64,
        /// Leaves that were cosigned.
        cosigned: u64,
    },
}

/// A witness's key and what it has cosigned. No other process holds the key at the same time.
#[derive(Debug)]
pub struct Memory {
    key: LockedKey,
    name: String,
    places: Places,
    logs: Vec<VerifierKey>,
    newest: BTreeMap<String, SignedCheckpoint>,
}

impl Memory {
    /// Takes the key. Makes it, and the places, where there is none yet.
    ///
    /// # Errors
    /// See [`WitnessError`].
    pub fn open(places: Places, name: &str, logs: Vec<VerifierKey>) -> Result<Self, WitnessError> {
        let path = places.directory.join("witness.key");
        let (checkpoints, sizes) = (places.checkpoints(), places.sizes());
        if !path.exists() {
            // The memory before the key: whoever finds a key without a memory knows that it was lost.
            for folder in [&checkpoints, &sizes] {
                fs::create_dir_all(folder).map_err(failed(folder))?;
            }
            create_key(&path, KEY_PREFIX)?;
        }
        let key = LockedKey::open(&path, KEY_PREFIX)?;
        key.verifier(name, Algorithm::Cosignature)?;
        for folder in [&checkpoints, &sizes] {
            if !folder.is_dir() {
                return Err(WitnessError::Forgotten(folder.clone()));
            }
        }
        let newest = read(&checkpoints)?;
        compare(&sizes, &newest)?;
        let newest = newest.into_values().map(|one| (one.claim().origin.clone(), one)).collect();
        Ok(Self { key, name: name.to_owned(), places, logs, newest })
    }

    /// The witness's key as verifiers know it.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub fn verifier(&self) -> Result<VerifierKey, KeyError> {
        self.key.verifier(&self.name, Algorithm::Cosignature)
    }

    /// Cosigns a checkpoint that continues the newest one of its log. It is kept first.
    ///
    /// # Errors
    /// When it does not, or cannot be kept.
    pub fn add(&mut self, request: &AddCheckpoint, unix_seconds: u64) -> Result<Cosignature, WitnessError> {
        let origin = &request.checkpoint.claim().origin;
        let last = self.newest.get(origin).map(SignedCheckpoint::claim);
        let claim = request.judge(&self.logs, last)?.clone();
        let text = request.checkpoint.checkpoint_text();
        let cosignature = Cosignature::make(&self.key, &self.name, unix_seconds, &text)?;
        let mut cosigned = request.checkpoint.signed_by(&self.logs);
        cosigned.add(&cosignature);
        self.keep(&claim, &cosigned)?;
        self.newest.insert(claim.origin, cosigned);
        Ok(cosignature)
    }

    /// The newest checkpoint of the log whose origin has this SHA-256, in hexadecimal, with the cosignature.
    pub fn newest(&self, origin_hash: &str) -> Option<&SignedCheckpoint> {
        self.newest.values().find(|one| hash_of(&one.claim().origin) == origin_hash)
    }

    fn keep(&self, claim: &Checkpoint, cosigned: &SignedCheckpoint) -> Result<(), HolderError> {
        let hash = hash_of(&claim.origin);
        let checkpoint = self.places.checkpoints().join(&hash);
        replace(&checkpoint, cosigned.to_string().as_bytes()).map_err(failed(&checkpoint))?;
        // Only after the checkpoint, or a crash in between would look like a backup that was restored.
        let size = self.places.sizes().join(&hash);
        replace(&size, format!("{}\n", claim.size).as_bytes()).map_err(failed(&size))
    }
}

impl Places {
    fn checkpoints(&self) -> PathBuf {
        self.directory.join("logs")
    }

    fn sizes(&self) -> PathBuf {
        self.sizes.join("sizes")
    }
}

fn hash_of(origin: &str) -> String {
    hex::encode(Sha256::digest(origin))
}

/// The checkpoints, by the names of their files.
fn read(folder: &Path) -> Result<BTreeMap<String, SignedCheckpoint>, WitnessError> {
    let mut found = BTreeMap::new();
    for (name, path) in files(folder)? {
        let text = text(&path)?;
        let damaged = || HolderError::Format { path: path.clone() };
        let checkpoint = SignedCheckpoint::parse(&text).map_err(|_| damaged())?;
        if hash_of(&checkpoint.claim().origin) != name {
            return Err(damaged().into());
        }
        found.insert(name, checkpoint);
    }
    Ok(found)
}

/// No log may have fewer leaves than the second place says.
fn compare(folder: &Path, newest: &BTreeMap<String, SignedCheckpoint>) -> Result<(), WitnessError> {
    for (name, path) in files(folder)? {
        let text = text(&path)?;
        let size = text.strip_suffix('\n').and_then(|size| size.parse::<u64>().ok());
        let cosigned = size.ok_or_else(|| HolderError::Format { path: path.clone() })?;
        let claim = newest.get(&name).map(SignedCheckpoint::claim);
        let found = claim.map_or(0, |claim| claim.size);
        if found < cosigned {
            let origin = claim.map_or(name, |claim| claim.origin.clone());
            return Err(WitnessError::SetBack { origin, found, cosigned });
        }
    }
    Ok(())
}

/// The files that are named by the hash of an origin. Others are what a crash left unfinished.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, HolderError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.len() == 2 * 32 && hex::decode(name).is_ok() {
            found.push((name.to_owned(), path));
        }
    }
    Ok(found)
}

fn text(path: &Path) -> Result<String, HolderError> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed(path))?;
    file.take(MAX_CHECKPOINT_BYTES).read_to_string(&mut text).map_err(failed(path))?;
    Ok(text)
}
