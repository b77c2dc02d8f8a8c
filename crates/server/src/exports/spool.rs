//! Pages of a table that were read, in a file in the home.
//!
//! A file of Parquet ends with an index of everything in it, which a process that dies takes along. The next one in the
//! same home makes the beginning anew from these pages, byte for byte, without reading the trail again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use carelog_analytics::columnar::Cells;
use serde::{Deserialize, Serialize};

/// A page of a table.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpooledPage {
    /// The sequence of the last entry.
    pub(crate) last: i64,
    /// Entries.
    pub(crate) count: i64,
    /// Their cells, column by column.
    pub(crate) cells: Vec<Cells>,
}

/// The pages so far, which are read first, and then those that come.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    /// As long as pages are left to read.
    reading: Option<BufReader<File>>,
    /// Bytes of the pages that were read or written.
    length: u64,
    max_bytes: u64,
}

impl Spool {
    /// Opens the file, which is made where it is missing.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let reading = Some(BufReader::new(file.try_clone()?));
        Ok(Self { file, reading, length: 0, max_bytes })
    }

    /// The next page of `columns` columns that was read before; nothing after the last one. A page that was half written,
    /// or by another version, and those after it are cut off.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn next_page(&mut self, columns: usize) -> io::Result<Option<SpooledPage>> {
        let Some(reader) = &mut self.reading else { return Ok(None) };
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        let page = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
        let page = page.filter(|page: &SpooledPage| page.cells.len() == columns);
        if page.is_some() {
            self.length = self.length.saturating_add(line.len() as u64);
        } else {
            self.reading = None;
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
        }
        Ok(page)
    }

    /// Adds a page. From the first one on that the file has no room for, none is kept any more.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn push(&mut self, page: &SpooledPage) -> io::Result<()> {
        let mut line = serde_json::to_vec(page)?;
        line.push(b'\n');
        self.length = self.length.saturating_add(line.len() as u64);
        if self.length > self.max_bytes {
            return Ok(());
        }
        self.file.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn page(last: i64) -> SpooledPage {
        let cells =
            vec![Cells::Number(vec![Some(last), None]), Cells::Text(vec![Some("ä\n".to_owned()), None])];
        SpooledPage { last, count: 2, cells }
    }

    /// What is still to be read, to the end.
    fn rest(spool: &mut Spool, columns: usize) -> Vec<SpooledPage> {
        std::iter::from_fn(|| spool.next_page(columns).unwrap()).collect()
    }

    #[test]
    fn what_was_written_is_read_again_and_what_was_half_written_is_not() {
        let home = TempDir::new().unwrap();
        let path = home.path().join("pages");
        let mut first = Spool::open(&path, 10_000).unwrap();
        assert_eq!(rest(&mut first, 2), []);
        for last in [1, 2] {
            first.push(&page(last)).unwrap();
        }
        first.file.write_all(b"{\"last\":3,").unwrap();
        drop(first);

        let mut second = Spool::open(&path, 10_000).unwrap();
        assert_eq!(rest(&mut second, 2), [page(1), page(2)]);
        second.push(&page(4)).unwrap();
        drop(second);

        assert_eq!(rest(&mut Spool::open(&path, 10_000).unwrap(), 2), [page(1), page(2), page(4)]);
        assert_eq!(rest(&mut Spool::open(&path, 10_000).unwrap(), 3), [], "a table of other columns");
    }

    #[test]
    fn no_more_is_kept_than_the_file_may_have() {
        let home = TempDir::new().unwrap();
        let mut spool = Spool::open(&home.path().join("pages"), 100).unwrap();
        assert_eq!(rest(&mut spool, 2), []);

        for last in [1, 2] {
            spool.push(&page(last)).unwrap();
        }

        assert_eq!(rest(&mut Spool::open(&home.path().join("pages"), 100).unwrap(), 2), [page(1)]);
    }
}
