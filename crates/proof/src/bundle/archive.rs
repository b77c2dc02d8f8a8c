//! The tar file: where each file of the bundle begins and ends. Nothing is unpacked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use tar::{Archive as Tar, EntryType};

use super::damage::{DamageKind, VerifyError, damaged, malformed};
use super::names;
use crate::tiles::{TilePath, decimal};

/// Most files that are looked at: those of a log of 250 million events.
const MAX_FILES: usize = 1 << 20;
/// Tar files are filled up with zeros to a multiple of this, at most.
const MAX_PADDING_BYTES: u64 = 64 << 10;
/// Two empty blocks end a tar file.
const END_BYTES: u64 = 1024;
const BLOCK: u64 = 512;
const BUFFER_BYTES: usize = 64 << 10;

/// Bytes that can be read from any place.
pub trait Source {
    /// How many there are.
    ///
    /// # Errors
    /// When they cannot be read.
    fn length(&self) -> io::Result<u64>;

    /// Reads from a place on; 0 at the end.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Source for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl Source for [u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
        Ok(count)
    }
}

/// A part of a source.
pub(super) struct Section<'s, S: ?Sized> {
    source: &'s S,
    begin: u64,
    at: u64,
    end: u64,
}

impl<S: Source + ?Sized> Read for Section<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = self.source.read_at(self.at, buffer.get_mut(..length).unwrap_or_default())?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<S: Source + ?Sized> Seek for Section<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(offset) => self.begin.checked_add(offset),
            SeekFrom::Current(delta) => self.at.checked_add_signed(delta),
            SeekFrom::End(delta) => self.end.checked_add_signed(delta),
        };
        self.at = place.filter(|at| *at >= self.begin).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at - self.begin)
    }
}

/// The files of a bundle.
pub(super) struct Archive<'s, S: ?Sized> {
    source: &'s S,
    files: BTreeMap<String, (u64, u64)>,
}

impl<'s, S: Source + ?Sized> Archive<'s, S> {
    /// Looks for the files. Extensions of the format, links, folders and strange names are refused.
    pub(super) fn open(source: &'s S) -> Result<Self, VerifyError> {
        let length = source.length()?;
        let mut files = BTreeMap::new();
        let mut end = 0;
        let mut tar = Tar::new(Section { source, begin: 0, at: 0, end: length });
        // Raw: an entry that announces a long name is an entry like others, and refused.
        for entry in tar.entries_with_seek()?.raw(true) {
            let entry = entry.map_err(|error| malformed(format!("not a tar file: {error}")))?;
            let name = entry.path_bytes();
            let path = std::str::from_utf8(&name).ok().filter(|path| is_of_a_bundle(path));
            let path = path.ok_or_else(|| {
                malformed(format!("a bundle has no file {:?}", String::from_utf8_lossy(&name)))
            })?;
            let (begin, size) = (entry.raw_file_position(), entry.size());
            end = begin
                .checked_add(size)
                .filter(|end| *end <= length)
                .ok_or_else(|| malformed(format!("{path} ends after the bundle does")))?;
            if entry.header().entry_type() != EntryType::Regular {
                return Err(malformed(format!("{path} is no plain file")));
            }
            if files.insert(path.to_owned(), (begin, size)).is_some() {
                return Err(malformed(format!("{path} is there twice")));
            }
            if files.len() > MAX_FILES {
                return Err(malformed("more files than any bundle has"));
            }
        }
        let archive = Self { source, files };
        archive.check_end(end.next_multiple_of(BLOCK), length)?;
        Ok(archive)
    }

    /// Nothing may follow what was looked at.
    fn check_end(&self, end: u64, length: u64) -> Result<(), VerifyError> {
        let padding = length.saturating_sub(end);
        if !(END_BYTES..=MAX_PADDING_BYTES).contains(&padding) {
            return Err(malformed("the tar file does not end after its last file"));
        }
        let mut rest = Vec::new();
        Section { source: self.source, begin: end, at: end, end: length }.read_to_end(&mut rest)?;
        let is_empty = rest.iter().all(|byte| *byte == 0);
        if is_empty { Ok(()) } else { Err(malformed("something follows the last file")) }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    pub(super) fn length(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|(_, size)| *size)
    }

    /// A file to be read from its beginning on.
    pub(super) fn read(&self, path: &str) -> Result<BufReader<Section<'s, S>>, VerifyError> {
        let missing = || damaged(DamageKind::Incomplete, format!("{path} is missing"));
        let (begin, size) = *self.files.get(path).ok_or_else(missing)?;
        let section = Section { source: self.source, begin, at: begin, end: begin + size };
        Ok(BufReader::with_capacity(BUFFER_BYTES, section))
    }

    /// A whole file that must not be longer than `max_bytes`.
    pub(super) fn bytes(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, VerifyError> {
        if self.length(path).is_some_and(|length| length > max_bytes) {
            return Err(malformed(format!("{path} is longer than {max_bytes} bytes")));
        }
        let mut bytes = Vec::new();
        self.read(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A whole file of text.
    pub(super) fn text(&self, path: &str, max_bytes: u64) -> Result<String, VerifyError> {
        let bytes = self.bytes(path, max_bytes)?;
        String::from_utf8(bytes).map_err(|_| malformed(format!("{path} is no text")))
    }
}

/// Whether a bundle can have such a file. No other path is ever looked at.
fn is_of_a_bundle(path: &str) -> bool {
    let is_fixed = [
        names::MANIFEST,
        names::CHECKPOINT,
        names::POLICY,
        names::LOG_KEY,
        names::DESTROYED,
        names::LEAVES,
        names::PAYLOADS,
        names::RANGE,
        names::LOGGED,
    ]
    .contains(&path);
    let proof = path.strip_prefix(names::PROOFS).and_then(|name| name.strip_suffix(names::PROOF));
    let consistency = path.strip_prefix(names::CONSISTENCY);
    let is_tile = matches!(path.parse(), Ok(TilePath::Hashes { .. }));
    is_fixed || is_tile || [proof, consistency].into_iter().flatten().any(|number| decimal(number).is_some())
}
