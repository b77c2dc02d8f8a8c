//! What processes write down before they are killed.
//!
//! Each process has a file of its own and appends a line in one unbuffered write, after the fact that it tells of: no
//! line comes too early, and SIGKILL loses none that was written. It may cut the newest line of the dead process off
//! in the middle, where that crosses a page of memory; such a line was never finished and does not count.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A directory of such files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    directory: PathBuf,
}

/// The file of this process.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    file: File,
}

impl Journal {
    /// An empty one.
    pub(crate) fn create(directory: &Path) -> Self {
        std::fs::create_dir(directory).expect("a directory can be made");
        Self { directory: directory.to_owned() }
    }

    /// Opens this process's file.
    pub(crate) fn writer(&self) -> JournalWriter {
        let path = self.directory.join(std::process::id().to_string());
        let file = OpenOptions::new().append(true).create(true).open(path).expect("the directory is there");
        JournalWriter { file }
    }

    /// Every finished line, of processes dead or alive.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(&self.directory).expect("the directory is there") {
            let path = entry.expect("the directory can be read").path();
            let text = std::fs::read_to_string(path).expect("the file is there");
            let finished = text.rfind('\n').map_or("", |end| &text[..=end]);
            lines.extend(finished.lines().map(str::to_owned));
        }
        lines
    }
}

impl JournalWriter {
    /// Writes a line down.
    pub(crate) fn write(&mut self, line: impl std::fmt::Display) {
        self.file.write_all(format!("{line}\n").as_bytes()).expect("the file takes it");
    }
}
