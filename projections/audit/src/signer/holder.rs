//! The key and the memory of what it has signed: two files that only the signer's own user may reach.
//!
//! Whoever has the memory cannot be made to contradict itself, not even by whoever owns the database. The key's file
//! is locked as long as it is held, so that two processes never sign side by side.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key_file::{LockedKey, SEED_BYTES, failed, folder_of, new_seed, replace, write_key};
use super::{Refusal, Signed, Wish};
use crate::proof::{Algorithm, Checkpoint, Hash, KeyError, SigningKey, VerifierKey, verify_consistency};

const KEY_PREFIX: &str = "carelog-signer-v1:";
const STATE_PREFIX: &str = "carelog-signer-state-v1:";
/// Beyond so many lines for each log, the memory is written anew.
const LINES_PER_ORIGIN: usize = 100;
/// Longest memory that is read: a line has about a hundred bytes.
const MAX_STATE_BYTES: u64 = 1 << 30;

/// The newest size and root that were signed, by the logs' names.
type Memory = BTreeMap<String, (u64, Hash)>;

/// Where key and memory are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// The secret seed.
    pub key: PathBuf,
    /// What was signed.
    pub state: PathBuf,
}

/// Whether the database knows a key for the logs' names yet. Only before that may new files be made, and only where
/// there are none: a key without its memory would sign whatever it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownKey {
    /// Nothing was ever signed under these names.
    None,
    /// This public key signs.
    Public([u8; SEED_BYTES]),
}

/// Why there is no holder.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// The file system refused.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Others may reach the key.
    #[error("the key {} has mode {mode:03o}; only its owner may reach it (600)", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} is damaged", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// What was signed is not known any more.
    #[error("{} is missing: put it back, or begin logs of another name ([proofs] origin) with a new key", .0.display())]
    Missing(PathBuf),
    /// Memory or database belong to another key.
    #[error("another key signs this log than the one in {}", .0.display())]
    OtherKey(PathBuf),
    /// Another process holds the key.
    #[error("another process holds the key")]
    InUse,
    /// No new key can be drawn.
    #[error("a signing key cannot be drawn: {0}")]
    Random(getrandom::Error),
}

/// Holds the key, and what it has signed.
#[derive(Debug)]
pub struct KeyHolder {
    key: LockedKey,
    public: [u8; SEED_BYTES],
    state: File,
    state_path: PathBuf,
    lines: usize,
    signed: Memory,
}

impl KeyHolder {
    /// Takes the key, which nobody else holds then. Makes key and memory where nothing was ever signed.
    ///
    /// # Errors
    /// See [`HolderError`].
    pub fn open(files: &KeyFiles, known: KnownKey) -> Result<Self, HolderError> {
        if known == KnownKey::None && !files.key.exists() {
            create(files)?;
        }
        let key = LockedKey::open(&files.key, KEY_PREFIX)?;
        let public = key.public();
        if let KnownKey::Public(expected) = known
            && expected != public
        {
            return Err(HolderError::OtherKey(files.key.clone()));
        }
        if !files.state.exists() {
            return Err(HolderError::Missing(files.state.clone()));
        }
        let (signed, lines) = read_state(files, &public)?;
        let state = append_to(&files.state)?;
        let state_path = files.state.clone();
        Ok(Self { key, public, state, state_path, lines, signed })
    }

    /// The public key.
    pub const fn public(&self) -> [u8; SEED_BYTES] {
        self.public
    }

    /// The key as verifiers of a log know it.
    ///
    /// # Errors
    /// When the origin cannot be a key's name.
    pub fn verifier(&self, origin: &str) -> Result<VerifierKey, KeyError> {
        self.key.verifier(origin, Algorithm::Ed25519)
    }

    /// The newest size and root that were signed for a log.
    pub fn last(&self, origin: &str) -> Option<(u64, Hash)> {
        self.signed.get(origin).copied()
    }

    /// The logs that were signed.
    pub fn origins(&self) -> impl Iterator<Item = (&str, u64)> {
        self.signed.iter().map(|(origin, (size, _))| (origin.as_str(), *size))
    }

    /// Signs what follows from what was signed before. What it will have signed is on the disk first.
    ///
    /// # Errors
    /// When the memory cannot be written; nothing is signed then, and the holder has to be opened anew.
    pub fn sign(&mut self, wishes: &[Wish]) -> Result<Vec<Result<Signed, Refusal>>, HolderError> {
        let verdicts: Vec<Result<(), Refusal>> = wishes.iter().map(|wish| self.judge(wish)).collect();
        let granted =
            || wishes.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok()).map(|(wish, _)| wish);
        let fresh: Vec<&Wish> =
            granted().filter(|wish| self.last(&wish.origin) != Some((wish.size, wish.root))).collect();
        self.remember(&fresh)?;
        let sign = |(wish, verdict): (&Wish, Result<(), Refusal>)| {
            verdict?;
            let checkpoint = Checkpoint { origin: wish.origin.clone(), size: wish.size, root: wish.root };
            let checkpoint = checkpoint
                .sign(&self.key)
                .map_err(|source| Refusal::Name { origin: wish.origin.clone(), source })?;
            Ok(Signed { organization_id: wish.organization_id, covered: wish.covered, checkpoint })
        };
        Ok(wishes.iter().zip(verdicts).map(sign).collect())
    }

    fn judge(&self, wish: &Wish) -> Result<(), Refusal> {
        let Some((signed, root)) = self.last(&wish.origin) else { return Ok(()) };
        let origin = wish.origin.clone();
        if wish.size < signed {
            return Err(Refusal::Shrunk { origin, signed, found: wish.size });
        }
        let is_about_these = (wish.growth.old_size, wish.growth.new_size) == (signed, wish.size);
        if is_about_these && verify_consistency(&wish.growth, root, wish.root).is_ok() {
            Ok(())
        } else {
            Err(Refusal::Changed { origin, signed })
        }
    }

    fn remember(&mut self, fresh: &[&Wish]) -> Result<(), HolderError> {
        if fresh.is_empty() {
            return Ok(());
        }
        let mut signed = self.signed.clone();
        signed.extend(fresh.iter().map(|wish| (wish.origin.clone(), (wish.size, wish.root))));
        if self.lines + fresh.len() > LINES_PER_ORIGIN * signed.len() {
            write_state(&self.state_path, &self.public, &signed)?;
            self.state = append_to(&self.state_path)?;
            self.lines = signed.len();
        } else {
            let text: String = fresh.iter().map(|wish| line(&wish.origin, wish.size, wish.root)).collect();
            let written = self.state.write_all(text.as_bytes()).and_then(|()| self.state.sync_data());
            written.map_err(|source| HolderError::Io { path: self.state_path.clone(), source })?;
            self.lines += fresh.len();
        }
        self.signed = signed;
        Ok(())
    }
}

fn line(origin: &str, size: u64, root: Hash) -> String {
    format!("{origin} {size} {}\n", root.to_base64())
}

/// Makes the memory, then the key: whoever finds a key without a memory knows that it was lost. One process at a time
/// does, and where another was faster, its files are taken.
fn create(files: &KeyFiles) -> Result<(), HolderError> {
    let folder = folder_of(&files.key);
    let lock = File::open(folder).map_err(failed(folder))?;
    lock.lock().map_err(failed(folder))?;
    if files.key.exists() {
        return Ok(());
    }
    if files.state.exists() && is_used(&files.state)? {
        return Err(HolderError::Missing(files.key.clone()));
    }
    let seed = new_seed()?;
    write_state(&files.state, &SigningKey::from_seed(&seed).public(), &Memory::new())?;
    write_key(&files.key, KEY_PREFIX, &seed)
}

/// Whether a memory holds more than its first line, which it has before anything was signed.
fn is_used(state: &Path) -> Result<bool, HolderError> {
    let mut text = String::new();
    let file = File::open(state).map_err(failed(state))?;
    file.take(255).read_to_string(&mut text).map_err(failed(state))?;
    Ok(text.lines().count() > 1)
}

fn write_state(path: &Path, public: &[u8; SEED_BYTES], signed: &Memory) -> Result<(), HolderError> {
    let mut text = format!("{STATE_PREFIX}{}\n", STANDARD.encode(public));
    text.extend(signed.iter().map(|(origin, (size, root))| line(origin, *size, *root)));
    replace(path, text.as_bytes()).map_err(failed(path))
}

fn append_to(path: &Path) -> Result<File, HolderError> {
    OpenOptions::new().append(true).open(path).map_err(failed(path))
}

/// What was signed, and by how many lines it is told. A line that a crash cut off was never acted upon: it is removed.
fn read_state(files: &KeyFiles, public: &[u8; SEED_BYTES]) -> Result<(Memory, usize), HolderError> {
    let path = &files.state;
    let damaged = || HolderError::Format { path: path.clone() };
    let mut text = String::new();
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed(path))?;
    (&file).take(MAX_STATE_BYTES).read_to_string(&mut text).map_err(failed(path))?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed(path))?;
        text.truncate(whole);
    }
    let mut lines = text.lines();
    let holder = lines.next().and_then(|first| first.strip_prefix(STATE_PREFIX)).ok_or_else(damaged)?;
    if holder != STANDARD.encode(public) {
        return Err(HolderError::OtherKey(files.key.clone()));
    }
    let mut signed = Memory::new();
    let mut count = 0;
    for line in lines {
        let mut parts = line.split(' ');
        let (Some(origin), Some(size), Some(root), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(damaged());
        };
        let size: u64 = size.parse().map_err(|_| damaged())?;
        let root = Hash::from_base64(root).ok_or_else(damaged)?;
        signed.insert(origin.to_owned(), (size, root));
        count += 1;
    }
    Ok((signed, count))
}
