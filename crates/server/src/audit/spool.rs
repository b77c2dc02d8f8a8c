//! A list that is written before its length is known, in a file without a name.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
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
