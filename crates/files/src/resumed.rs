//! Large files that the server brings in several goes: what a process that died had stored, the next one does not send,
//! and need not even make, again.
//!
//! Whoever gives the content gives it in pieces, each with a mark from which the same piece is given again. After each part
//! there is a [`Kept`], to be written down outside of the storage. The part may end within a piece: whoever goes on gets
//! that piece once more, and compares the beginning of it that is stored with what was given then. Where that is another
//! one, the content has changed, and no file is made of two halves that do not belong together.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::MIN_PART_BYTES;
use futures::stream::{BoxStream, StreamExt as _};
use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::{SerializableState as _, SerializedState};
use sha2::{Digest as _, Sha256};

use crate::error::StorageError;
use crate::multipart::{StoredPart, UploadId};
use crate::receive::{BringError, Brought};
use crate::storage::Storage;

/// A place in the content, in the numbers of whoever gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What is given is what comes after this.
    pub after: i64,
    /// How many there were up to it.
    pub count: i64,
}

/// Some of the content.
#[derive(Clone, Debug)]
pub struct Piece {
    /// It.
    pub bytes: Bytes,
    /// From here on it is given again.
    pub mark: Mark,
}

/// What lies in the storage, and how the rest is come by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    upload_id: String,
    /// Parts of [`MIN_PART_BYTES`] each.
    part_count: u16,
    /// The piece in which the last of them ends.
    mark: Mark,
    /// Bytes of that piece that are stored, at least one.
    overlap_bytes: usize,
    /// Of these bytes.
    overlap_sha256: Sha256Digest,
    /// The state of the hash over all parts, in base64.
    digest: String,
}

/// A file on its way into the storage.
pub struct Bringing<'s> {
    storage: &'s Storage,
    key: &'s str,
    upload_id: UploadId,
    at_most: i64,
    parts: Vec<StoredPart>,
    /// Over the parts.
    digest: Sha256,
    /// Bytes after the last part.
    waiting: BytesMut,
    /// The piece that was taken last.
    piece: Piece,
    /// Where the first piece of a later go begins anew: length and hash of what is stored of it.
    overlap: Option<(usize, Sha256Digest)>,
}

fn part_bytes() -> usize {
    usize::try_from(MIN_PART_BYTES).unwrap_or(usize::MAX)
}

fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

impl Storage {
    /// Begins to bring a file of at most so many bytes under a key.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn bring_anew<'s>(
        &'s self,
        key: &'s str,
        media_type: &str,
        at_most: i64,
    ) -> Result<Bringing<'s>, StorageError> {
        let upload_id = self.begin_anew(key, media_type).await?;
        let piece = Piece { bytes: Bytes::new(), mark: Mark::default() };
        let (parts, digest, waiting) = (Vec::new(), Sha256::new(), BytesMut::new());
        Ok(Bringing { storage: self, key, upload_id, at_most, parts, digest, waiting, piece, overlap: None })
    }

    /// Goes on with a file, where everything that was kept of it is there. The content is to be given from
    /// [`Bringing::mark`] on.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn go_on<'s>(
        &'s self,
        key: &'s str,
        kept: &Kept,
        at_most: i64,
    ) -> Result<Option<Bringing<'s>>, StorageError> {
        let upload_id = UploadId(kept.upload_id.clone());
        let mut parts = match self.parts(key, &upload_id).await {
            Ok(parts) => parts,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        // One that arrived after the last note is sent again, in its own place.
        parts.truncate(kept.part_count.into());
        let are_whole = (1..)
            .zip(&parts)
            .all(|(number, part)| part.number == number && part.size_bytes == MIN_PART_BYTES);
        let digest = STANDARD.decode(&kept.digest).ok();
        let digest = digest.and_then(|state| SerializedState::<Sha256>::try_from(state.as_slice()).ok());
        let digest = digest.and_then(|state| Sha256::deserialize(&state).ok());
        let Some(digest) = digest.filter(|_| are_whole && parts.len() == usize::from(kept.part_count)) else {
            return Ok(None);
        };
        let piece = Piece { bytes: Bytes::new(), mark: kept.mark };
        let overlap = Some((kept.overlap_bytes, kept.overlap_sha256));
        let waiting = BytesMut::new();
        Ok(Some(Bringing { storage: self, key, upload_id, at_most, parts, digest, waiting, piece, overlap }))
    }
}

impl Bringing<'_> {
    /// From where the content is to be given.
    pub const fn mark(&self) -> Mark {
        self.piece.mark
    }

    /// Takes so much of the content that another part is full, and stores that; nothing at the end of the content, when the
    /// rest waits for [`Self::finish`].
    ///
    /// # Errors
    /// See [`BringError`]. What is stored stays there.
    pub async fn next_part(
        &mut self,
        content: &mut BoxStream<'_, io::Result<Piece>>,
    ) -> Result<Option<Kept>, BringError> {
        while self.waiting.len() < part_bytes() {
            let Some(piece) = content.next().await else { return Ok(None) };
            self.take(piece.map_err(BringError::Source)?)?;
        }
        let part = self.waiting.split_to(part_bytes()).freeze();
        self.digest.update(&part);
        self.send(part).await?;
        // What waits is the end of the last piece: it did before that piece came, when it was less than a part.
        let overlap_bytes = self.piece.bytes.len().saturating_sub(self.waiting.len());
        Ok(Some(Kept {
            upload_id: self.upload_id.as_str().to_owned(),
            part_count: u16::try_from(self.parts.len()).unwrap_or(u16::MAX),
            mark: self.piece.mark,
            overlap_bytes,
            overlap_sha256: sha256(self.piece.bytes.get(..overlap_bytes).unwrap_or_default()),
            digest: STANDARD.encode(self.digest.serialize()),
        }))
    }

    fn take(&mut self, piece: Piece) -> Result<(), BringError> {
        let mut rest = piece.bytes.clone();
        if let Some((length, expected)) = self.overlap.take() {
            let stored = piece.bytes.get(..length).ok_or(BringError::Changed)?;
            if sha256(stored) != expected {
                return Err(BringError::Changed);
            }
            rest = piece.bytes.slice(length..);
        }
        self.waiting.extend_from_slice(&rest);
        self.piece = piece;
        let size_bytes = self.size_bytes();
        if size_bytes > self.at_most { Err(BringError::TooLarge { at_most: self.at_most }) } else { Ok(()) }
    }

    fn size_bytes(&self) -> i64 {
        let waiting = i64::try_from(self.waiting.len()).unwrap_or(i64::MAX);
        self.parts.iter().map(|part| part.size_bytes).fold(waiting, i64::saturating_add)
    }

    async fn send(&mut self, part: Bytes) -> Result<(), StorageError> {
        let sent = self.storage.send_part(self.key, &self.upload_id, &self.parts, part).await?;
        self.parts.push(sent);
        Ok(())
    }

    /// Stores the rest, and makes one object of everything.
    ///
    /// # Errors
    /// When the content did not come as far as it had been before, or the storage does not answer, or refuses.
    pub async fn finish(mut self) -> Result<Brought, BringError> {
        if self.overlap.is_some() {
            return Err(BringError::Changed);
        }
        let size_bytes = self.size_bytes();
        // The last part may be small, and there is always one.
        if !self.waiting.is_empty() || self.parts.is_empty() {
            let rest = self.waiting.split().freeze();
            self.digest.update(&rest);
            self.send(rest).await?;
        }
        self.storage.complete(self.key, &self.upload_id, &self.parts).await?;
        Ok(Brought { size_bytes, content_sha256: Sha256Digest::new(self.digest.finalize().into()) })
    }
}
