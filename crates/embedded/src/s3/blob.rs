//! Bytes on the disk, in sealed frames. Files are written and read in visits of a few frames on threads that may block,
//! so that a large file needs no more memory than a small one, and a slow client holds no thread.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::cipher::{FRAME_BYTES, FrameCipher, TAG_BYTES};
use super::error::StoreError;

const FRAME: u64 = FRAME_BYTES as u64;
/// Bytes that are written or read at a time.
const VISIT_BYTES: usize = 4 * FRAME_BYTES;
const VISIT: u64 = VISIT_BYTES as u64;
/// Visits for one reader under way.
const AHEAD: usize = 2;
/// Longest wait for the next piece of a body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// A piece of an object: one blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    /// Names the file and the key.
    pub(super) blob: String,
    /// Bytes before sealing.
    pub(super) size: u64,
    /// SHA-256 of the bytes before sealing, in hexadecimal digits.
    pub(super) sha256: String,
}

/// A random name.
pub(super) fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| StoreError::Random)?;
    Ok(hex::encode(bytes))
}

/// A blob that no manifest names yet: it is removed again, unless somebody keeps it.
#[derive(Debug)]
pub(super) struct Unnamed {
    path: PathBuf,
    segment: Option<Segment>,
}

impl Unnamed {
    /// Leaves the blob where it is, to the manifest that names it.
    pub(super) fn keep(mut self) -> Option<Segment> {
        self.segment.take()
    }

    pub(super) const fn segment(&self) -> Option<&Segment> {
        self.segment.as_ref()
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if self.segment.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Seals a body into a new blob of exactly `size` bytes; nothing stays behind where it breaks off or stalls. No thread is
/// held while the body is waited for.
pub(super) async fn write<S, E>(
    folder: PathBuf,
    tenant_key: [u8; 32],
    mut body: S,
    size: u64,
) -> Result<Unnamed, StoreError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut writing = tokio::task::spawn_blocking(move || Writer::create(folder, &tenant_key, size));
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    while let Some(piece) =
        tokio::time::timeout(BODY_PATIENCE, body.next()).await.map_err(|_| StoreError::Incomplete)?
    {
        let piece = piece.map_err(|_| StoreError::Incomplete)?;
        bytes += piece.len();
        pieces.push(piece);
        if bytes >= VISIT_BYTES {
            let (mut writer, taken) = (joined(writing).await?, std::mem::take(&mut pieces));
            bytes = 0;
            writing = tokio::task::spawn_blocking(move || {
                writer.push(taken)?;
                Ok(writer)
            });
        }
    }
    let mut writer = joined(writing).await?;
    joined(tokio::task::spawn_blocking(move || {
        writer.push(pieces)?;
        writer.finish()
    }))
    .await
}

async fn joined<T>(task: JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    task.await.map_err(|error| StoreError::Io(io::Error::other(error)))?
}

/// A blob that is being written. Dropped, it leaves nothing behind.
struct Writer {
    cipher: FrameCipher,
    file: File,
    folder: PathBuf,
    unfinished: PathBuf,
    blob: String,
    said: u64,
    size: u64,
    /// Sealed frames with their tags, then what there is of the next frame.
    buffer: Vec<u8>,
    /// Where that begins.
    frame: usize,
    number: u64,
    digest: Sha256,
}

impl Writer {
    fn create(folder: PathBuf, tenant_key: &[u8; 32], said: u64) -> Result<Self, StoreError> {
        let blob = random_name()?;
        let unfinished = folder.join(format!("{blob}.unfinished"));
        Ok(Self {
            cipher: FrameCipher::new(tenant_key, &blob),
            file: File::create_new(&unfinished)?,
            folder,
            unfinished,
            blob,
            said,
            size: 0,
            buffer: Vec::with_capacity(2 * VISIT_BYTES),
            frame: 0,
            number: 0,
            digest: Sha256::new(),
        })
    }

    fn push(&mut self, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        for mut piece in pieces {
            self.size += piece.len() as u64;
            if self.size > self.said {
                return Err(StoreError::Incomplete);
            }
            self.digest.update(&piece);
            while !piece.is_empty() {
                let room = FRAME_BYTES - (self.buffer.len() - self.frame);
                self.buffer.extend_from_slice(&piece.split_to(piece.len().min(room)));
                if self.buffer.len() - self.frame == FRAME_BYTES {
                    self.seal()?;
                }
            }
        }
        self.write_sealed()
    }

    /// Seals what there is of the next frame where it stands.
    fn seal(&mut self) -> Result<(), StoreError> {
        let frame = self.buffer.get_mut(self.frame..).unwrap_or_default();
        let tag = self.cipher.seal(self.number, frame)?;
        self.buffer.extend_from_slice(&tag);
        self.frame = self.buffer.len();
        self.number += 1;
        Ok(())
    }

    fn write_sealed(&mut self) -> Result<(), StoreError> {
        let sealed = self.buffer.drain(..self.frame);
        self.file.write_all(sealed.as_slice())?;
        self.frame = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Unnamed, StoreError> {
        if self.size != self.said {
            return Err(StoreError::Incomplete);
        }
        if !self.buffer.is_empty() {
            self.seal()?;
            self.write_sealed()?;
        }
        self.file.sync_all()?;
        let path = self.folder.join(&self.blob);
        fs::rename(&self.unfinished, &path)?;
        let sha256 = hex::encode(self.digest.finalize_reset());
        let segment = Segment { blob: std::mem::take(&mut self.blob), size: self.size, sha256 };
        let unnamed = Unnamed { path, segment: Some(segment) };
        sync_folder(&self.folder)?;
        Ok(unnamed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// Opens a range of an object, piece by piece, as fast as it is taken and no faster. Whatever does not open ends the
/// stream with an error.
pub(super) fn read(
    folder: PathBuf,
    tenant_key: [u8; 32],
    segments: Arc<[Segment]>,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + Sync + 'static {
    let mut begin = 0;
    let sources = (0..segments.len()).filter_map(move |index| {
        let segment = segments.get(index)?;
        let (first, end) = (begin, begin + segment.size);
        begin = end;
        let wanted = range.start.max(first)..range.end.min(end);
        let source = Source {
            cipher: FrameCipher::new(&tenant_key, &segment.blob),
            path: folder.join(&segment.blob),
            size: segment.size,
            file: OnceLock::new(),
        };
        (wanted.start < wanted.end).then(|| (Arc::new(source), wanted.start - first..wanted.end - first))
    });
    let visits = sources.flat_map(|(source, wanted)| {
        let steps = wanted.start / VISIT..wanted.end.div_ceil(VISIT);
        steps.map(move |step| {
            let range = wanted.start.max(step * VISIT)..wanted.end.min((step + 1) * VISIT);
            (Arc::clone(&source), range)
        })
    });
    let opened = |(source, range): (Arc<Source>, Range<u64>)| {
        let opening = tokio::task::spawn_blocking(move || source.open(range));
        async {
            joined(opening).await.map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "an object cannot be read");
                io::Error::other(error)
            })
        }
    };
    let pieces = |frames: Vec<Bytes>| futures::stream::iter(frames.into_iter().map(Ok));
    futures::stream::iter(visits).map(opened).buffered(AHEAD).map_ok(pieces).try_flatten()
}

/// A blob that is being read.
struct Source {
    cipher: FrameCipher,
    path: PathBuf,
    /// Bytes before sealing.
    size: u64,
    /// Opened once, so that a removal in the middle cuts nobody off.
    file: OnceLock<File>,
}

impl Source {
    /// The bytes of a range, which spans a few frames, frame by frame.
    fn open(&self, range: Range<u64>) -> Result<Vec<Bytes>, StoreError> {
        let file = if let Some(file) = self.file.get() {
            file
        } else {
            let file = File::open(&self.path)?;
            self.file.get_or_init(|| file)
        };
        let (first, end) = (range.start / FRAME, range.end.div_ceil(FRAME));
        let plain = self.size.min(end * FRAME) - first * FRAME;
        let length = count(plain + (end - first) * TAG_BYTES as u64);
        let mut sealed = read_at(file, first * (FRAME + TAG_BYTES as u64), length)?;
        for (number, frame) in (first..).zip(sealed.chunks_mut(FRAME_BYTES + TAG_BYTES)) {
            self.cipher.open(number, frame)?;
        }
        let mut sealed = Bytes::from(sealed);
        let frames = (first..end).map(|number| {
            let mut frame = sealed.split_to(sealed.len().min(FRAME_BYTES + TAG_BYTES));
            frame.truncate(frame.len() - TAG_BYTES);
            let begin = number * FRAME;
            frame.truncate(count(range.end - begin));
            frame.split_off(count(range.start.saturating_sub(begin)))
        });
        Ok(frames.collect())
    }
}

/// So many bytes from a place in a file, which has to hold them.
fn read_at(file: &File, mut place: u64, length: usize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        match rustix::io::pread(file, spare_capacity(&mut bytes), place) {
            Ok(0) => return Err(StoreError::Damaged),
            Ok(read) => place += read as u64,
            Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Of a few frames.
fn count(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Makes the names in a folder last.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    sync(&File::open(folder)?)
}

/// Makes the names in an open folder last.
pub(super) fn sync(folder: &File) -> io::Result<()> {
    #[cfg(test)]
    match FAILS_TO_SYNC.get() {
        0 => {}
        1 => {
            FAILS_TO_SYNC.set(0);
            return Err(io::Error::other("the disk does not answer"));
        }
        before => FAILS_TO_SYNC.set(before - 1),
    }
    folder.sync_all()
}

#[cfg(test)]
thread_local! {
    /// Which of the next folders that this thread wants to last cannot be made to: 1 is the next one, 0 none.
    pub(super) static FAILS_TO_SYNC: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}
