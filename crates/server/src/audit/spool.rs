//! What an export writes: lists, whose length nobody knows before, in a file without a name or in one that outlives the
//! process, and the bundle that is made of them. None of them gets longer than it may.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;

/// A file that takes so many bytes and no more.
pub(super) struct Bounded {
    file: BufWriter<File>,
    left: u64,
}

impl Bounded {
    pub(super) fn new(file: File, max_bytes: u64) -> Self {
        Self { file: BufWriter::new(file), left: max_bytes }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = self.file.write(bytes)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Lines of JSON.
pub(super) struct Spool {
    file: Bounded,
}

impl Spool {
    /// A new list on the disk of a directory. Nothing of it is left when the process ends.
    pub(super) fn new(directory: &Path, max_bytes: u64) -> io::Result<Self> {
        Ok(Self { file: Bounded::new(tempfile::tempfile_in(directory)?, max_bytes) })
    }

    /// A list in a file, of which the first so many bytes are kept.
    pub(super) fn open(path: &Path, length: u64, max_bytes: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() < length {
            return Err(io::Error::other("a list of an unfinished export is shorter than it was"));
        }
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { file: Bounded::new(file, max_bytes.saturating_sub(length)) })
    }

    /// Brings the list to the disk; gives its length.
    pub(super) fn sync(&mut self) -> io::Result<u64> {
        let Bounded { file, .. } = &mut self.file;
        file.flush()?;
        file.get_ref().sync_data()?;
        file.stream_position()
    }

    pub(super) fn push(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }

    /// The list from its beginning, and its length.
    pub(super) fn finish(self) -> io::Result<(File, u64)> {
        let mut file = self.file.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let length = file.stream_position()?;
        file.rewind()?;
        Ok((file, length))
    }
}
