//! A list that is written before its length is known: in a file without a name, or in one that outlives the process.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;

/// Lines of JSON.
pub(super) struct Spool {
    file: BufWriter<File>,
}

impl Spool {
    /// A new list on the disk of a directory. Nothing of it is left when the process ends.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile_in(directory)?) })
    }

    /// A list in a file, of which the first so many bytes are kept.
    pub(super) fn open(path: &Path, length: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() < length {
            return Err(io::Error::other("a list of an unfinished export is shorter than it was"));
        }
        file.set_len(length)?;
        let mut file = BufWriter::new(file);
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { file })
    }

    /// Brings the list to the disk; gives its length.
    pub(super) fn sync(&mut self) -> io::Result<u64> {
        self.file.flush()?;
        self.file.get_ref().sync_data()?;
        self.file.stream_position()
    }

    pub(super) fn push(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }

    /// The list from its beginning, and its length.
    pub(super) fn finish(self) -> io::Result<(File, u64)> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let length = file.stream_position()?;
        file.rewind()?;
        Ok((file, length))
    }
}
