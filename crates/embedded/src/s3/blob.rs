//! Bytes on the disk, in sealed frames. Files are written and read by blocking threads that hold a few frames at a time,
//! so that a large file needs no more memory than a small one.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::cipher::{FRAME_BYTES, FrameCipher, TAG_BYTES};
use super::error::StoreError;

/// Pieces under way between the network and the disk.
const PIECES: usize = 8;

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

/// Seals a body into a new blob of exactly `size` bytes; nothing stays behind where it breaks off.
pub(super) async fn write<S, E>(
    folder: PathBuf,
    tenant_key: [u8; 32],
    mut body: S,
    size: u64,
) -> Result<Segment, StoreError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let blob = random_name()?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let writer = Writer {
        cipher: FrameCipher::new(&tenant_key, &blob),
        unfinished: folder.join(format!("{blob}.unfinished")),
        finished: folder.join(&blob),
        folder,
        size,
    };
    let writing = tokio::task::spawn_blocking(move || writer.run(receiver));
    let mut is_whole = true;
    while let Some(piece) = body.next().await {
        let Ok(piece) = piece else {
            is_whole = false;
            break;
        };
        if sender.send(Some(piece)).await.is_err() {
            break;
        }
    }
    // Without this last word the writer takes the end of the channel for a caller that went away.
    if is_whole {
        let _ = sender.send(None).await;
    }
    drop(sender);
    let sha256 = writing.await.map_err(|error| StoreError::Io(io::Error::other(error)))??;
    Ok(Segment { blob, size, sha256 })
}

struct Writer {
    cipher: FrameCipher,
    folder: PathBuf,
    unfinished: PathBuf,
    finished: PathBuf,
    size: u64,
}

impl Writer {
    fn run(self, pieces: mpsc::Receiver<Option<Bytes>>) -> Result<String, StoreError> {
        let written = self.write(pieces);
        if written.is_err() {
            let _ = fs::remove_file(&self.unfinished);
        }
        written
    }

    fn write(&self, mut pieces: mpsc::Receiver<Option<Bytes>>) -> Result<String, StoreError> {
        let file = File::create_new(&self.unfinished)?;
        let mut out = BufWriter::with_capacity(4 * FRAME_BYTES, file);
        let mut frame = Vec::with_capacity(FRAME_BYTES + TAG_BYTES);
        let (mut digest, mut number, mut size) = (Sha256::new(), 0_u64, 0_u64);
        loop {
            let Some(word) = pieces.blocking_recv() else { return Err(StoreError::Incomplete) };
            let Some(mut piece) = word else { break };
            size += piece.len() as u64;
            if size > self.size {
                return Err(StoreError::Incomplete);
            }
            digest.update(&piece);
            while !piece.is_empty() {
                let taken = piece.split_to(piece.len().min(FRAME_BYTES - frame.len()));
                frame.extend_from_slice(&taken);
                if frame.len() == FRAME_BYTES {
                    self.cipher.seal(number, &mut frame)?;
                    out.write_all(&frame)?;
                    frame.clear();
                    number += 1;
                }
            }
        }
        if size != self.size {
            return Err(StoreError::Incomplete);
        }
        if !frame.is_empty() {
            self.cipher.seal(number, &mut frame)?;
            out.write_all(&frame)?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&self.unfinished, &self.finished)?;
        sync_folder(&self.folder)?;
        Ok(hex::encode(digest.finalize()))
    }
}

/// Opens a range of an object, piece by piece. Whatever does not open ends the stream with an error.
pub(super) fn read(
    folder: PathBuf,
    tenant_key: [u8; 32],
    segments: Arc<[Segment]>,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + Sync + 'static {
    let (sender, mut receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read_segments(&folder, &tenant_key, &segments, range, &sender) {
            tracing::error!(error = &error as &dyn std::error::Error, "an object cannot be read");
            let _ = sender.blocking_send(Err(io::Error::other(error)));
        }
    });
    futures::stream::poll_fn(move |context| receiver.poll_recv(context))
}

fn read_segments(
    folder: &Path,
    tenant_key: &[u8; 32],
    segments: &[Segment],
    range: Range<u64>,
    sender: &mpsc::Sender<Result<Bytes, io::Error>>,
) -> Result<(), StoreError> {
    let mut begin = 0;
    for segment in segments {
        let end = begin + segment.size;
        let wanted = range.start.max(begin)..range.end.min(end);
        if wanted.start < wanted.end {
            let within = wanted.start - begin..wanted.end - begin;
            if !read_segment(folder, tenant_key, segment, within, sender)? {
                return Ok(());
            }
        }
        begin = end;
    }
    Ok(())
}

/// Whether somebody still listens.
fn read_segment(
    folder: &Path,
    tenant_key: &[u8; 32],
    segment: &Segment,
    range: Range<u64>,
    sender: &mpsc::Sender<Result<Bytes, io::Error>>,
) -> Result<bool, StoreError> {
    const FRAME: u64 = FRAME_BYTES as u64;
    const SEALED_FRAME: u64 = (FRAME_BYTES + TAG_BYTES) as u64;
    let cipher = FrameCipher::new(tenant_key, &segment.blob);
    let mut file = File::open(folder.join(&segment.blob))?;
    let mut number = range.start / FRAME;
    file.seek(SeekFrom::Start(number * SEALED_FRAME))?;
    while number * FRAME < range.end {
        let begin = number * FRAME;
        let length = FRAME.min(segment.size - begin);
        let mut frame = vec![0; usize::try_from(length).unwrap_or(FRAME_BYTES) + TAG_BYTES];
        file.read_exact(&mut frame).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => StoreError::Damaged,
            _ => error.into(),
        })?;
        cipher.open(number, &mut frame)?;
        let first = usize::try_from(range.start.saturating_sub(begin)).unwrap_or(FRAME_BYTES);
        let last = usize::try_from((range.end - begin).min(length)).unwrap_or(FRAME_BYTES);
        if sender.blocking_send(Ok(Bytes::from(frame).slice(first..last))).is_err() {
            return Ok(false);
        }
        number += 1;
    }
    Ok(true)
}

/// Makes the names in a folder last.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
