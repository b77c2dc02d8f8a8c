//! The file, read and parsed on a thread of its own, in chunks.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::ImportError;
use super::columns::{ColumnMap, Places};
use super::rejects::Reject;
use super::row::Row;

/// Rows that are brought in together: enough to fill the batches of every lane.
const CHUNK_ROWS: usize = 4_096;
/// Chunks that are read ahead.
const READ_AHEAD: usize = 2;
/// How every gzip file begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file, packed with gzip or not.
    File(PathBuf),
}

/// Rows that follow each other in the file.
pub(super) struct Chunk {
    pub(super) rows: Vec<Row>,
    pub(super) rejects: Vec<Reject>,
}

/// An open file of which the first line was read.
pub(super) struct OpenSource {
    pub(super) header: ByteRecord,
    /// Bytes read so far, as they lie in the file.
    pub(super) bytes_read: Arc<AtomicU64>,
    /// Bytes of the whole file, where that is known.
    pub(super) total_bytes: Option<u64>,
    reader: csv::Reader<Box<dyn Read + Send>>,
    places: Places,
}

impl OpenSource {
    pub(super) fn open(source: &Source, columns: &ColumnMap) -> Result<Self, ImportError> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let (raw, total_bytes): (Box<dyn Read + Send>, _) = match source {
            Source::Stdin => (Box::new(io::stdin()), None),
            Source::File(path) => {
                let file = File::open(path).map_err(ImportError::Open)?;
                let total_bytes =
                    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
                (Box::new(file), total_bytes)
            }
        };
        let counted = Counted { inner: raw, bytes: Arc::clone(&bytes_read) };
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(unpacked(counted).map_err(|error| ImportError::Read(error.into()))?);
        let header = reader.byte_headers().map_err(ImportError::Read)?.clone();
        let places = columns.find_in(&header)?;
        Ok(Self { header, bytes_read, total_bytes, reader, places })
    }

    /// Reads on until the end, an error, or until nobody listens any more.
    ///
    /// The thread is not waited for: it may be held up by a terminal or a pipe that never ends.
    pub(super) fn chunks(self, zone: TimeZone) -> io::Result<mpsc::Receiver<Result<Chunk, ImportError>>> {
        let (sender, chunks) = mpsc::channel(READ_AHEAD);
        let Self { mut reader, places, .. } = self;
        let read = move || {
            loop {
                let chunk = next_chunk(&mut reader, &places, &zone);
                let is_last = !matches!(&chunk, Ok(Some(_)));
                if let Some(chunk) = chunk.transpose()
                    && sender.blocking_send(chunk).is_err()
                {
                    break;
                }
                if is_last {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("import-reader".to_owned()).spawn(read)?;
        Ok(chunks)
    }
}

fn next_chunk(
    reader: &mut csv::Reader<Box<dyn Read + Send>>,
    places: &Places,
    zone: &TimeZone,
) -> Result<Option<Chunk>, ImportError> {
    let mut chunk = Chunk { rows: Vec::with_capacity(CHUNK_ROWS), rejects: Vec::new() };
    for record in reader.byte_records().take(CHUNK_ROWS) {
        match Row::parse(record.map_err(ImportError::Read)?, places, zone) {
            Ok(row) => chunk.rows.push(row),
            Err(reject) => chunk.rejects.push(reject),
        }
    }
    Ok(Some(chunk).filter(|chunk| !chunk.rows.is_empty() || !chunk.rejects.is_empty()))
}

/// Unpacks what begins like a gzip file, several of them in a row included; a pipe cannot be asked for its name. The
/// byte order mark that some programs put before the text is no part of the first column's name.
fn unpacked(raw: Counted) -> io::Result<Box<dyn Read + Send>> {
    let (beginning, whole) = peek(Box::new(raw), GZIP.len())?;
    let text: Box<dyn Read + Send> =
        if beginning == GZIP { Box::new(MultiGzDecoder::new(io::BufReader::new(whole))) } else { whole };
    let (beginning, mut text) = peek(text, BYTE_ORDER_MARK.len())?;
    if beginning == BYTE_ORDER_MARK {
        text.read_exact(&mut [0; BYTE_ORDER_MARK.len()])?;
    }
    Ok(text)
}

/// The first bytes, and a reader that gives them once more.
fn peek(mut reader: Box<dyn Read + Send>, count: usize) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut beginning = Vec::with_capacity(count);
    reader.by_ref().take(count as u64).read_to_end(&mut beginning)?;
    Ok((beginning.clone(), Box::new(io::Cursor::new(beginning).chain(reader))))
}

struct Counted {
    inner: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
