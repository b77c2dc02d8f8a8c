//! Rows that cannot be imported, and the file that lists them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use carelog_domain::Rejection;
use carelog_domain::appointment::AppointmentRejection;
use carelog_event_log::new_id;
use csv::ByteRecord;

use super::columns::Field;

/// What the list says of a row before its own cells.
const COLUMNS: [&str; 3] = ["line", "code", "reason"];

/// Why a row cannot be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// It has more or fewer cells than the first line.
    #[error("the row has {found} cells and the first line {expected}")]
    WrongCellCount {
        /// Cells of the first line.
        expected: usize,
        /// Cells of the row.
        found: usize,
    },
    /// A cell is no UTF-8.
    #[error("the {0} is not UTF-8")]
    NotUtf8(Field),
    /// A cell is empty.
    #[error("the {0} is missing")]
    Missing(Field),
    /// A cell is no date and no time.
    #[error("the {0} is not a date or time, such as 2026-01-31 or 2026-01-31 09:30")]
    UnknownTime(Field),
    /// A cell is neither yes nor no.
    #[error("the {0} is neither yes nor no")]
    NeitherYesNorNo(Field),
    /// A cell is no year of birth.
    #[error("the birth_year is not a year between 1850 and 2100")]
    UnknownYear,
    /// An earlier row has the same appointment of the same clinic.
    #[error("an earlier row has the same appointment")]
    Duplicate,
    /// The patient was erased since, and nothing new is written about them.
    #[error("the patient was erased")]
    PatientErased,
    /// Such an appointment cannot have been.
    #[error(transparent)]
    Refused(AppointmentRejection),
}

impl RejectReason {
    /// A stable name in `snake_case`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongCellCount { .. } => "wrong_cell_count",
            Self::NotUtf8(_) => "not_utf8",
            Self::Missing(_) => "missing",
            Self::UnknownTime(_) => "unknown_time",
            Self::NeitherYesNorNo(_) => "neither_yes_nor_no",
            Self::UnknownYear => "unknown_year",
            Self::Duplicate => "duplicate",
            Self::PatientErased => "patient_erased",
            Self::Refused(rejection) => rejection.code(),
        }
    }
}

/// A row that cannot be imported.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) line: u64,
    pub(super) reason: RejectReason,
    pub(super) record: ByteRecord,
}

/// The list of rejected rows. The file is made with the first of them, readable by its owner only, because the
/// rows are a practice's records, and takes the place of the list of an earlier run.
pub(super) struct RejectsFile {
    path: PathBuf,
    header: ByteRecord,
    writer: Option<csv::Writer<File>>,
}

impl RejectsFile {
    pub(super) fn new(path: PathBuf, header: ByteRecord) -> Self {
        Self { path, header, writer: None }
    }

    pub(super) fn write(&mut self, rejects: &[Reject]) -> Result<(), csv::Error> {
        for reject in rejects {
            let writer = match &mut self.writer {
                Some(writer) => writer,
                None => self.writer.insert(begin(&self.path, &self.header)?),
            };
            let (line, reason) = (reject.line.to_string(), reject.reason.to_string());
            let row = [line.as_bytes(), reject.reason.code().as_bytes(), reason.as_bytes()];
            writer.write_byte_record(&row.into_iter().chain(&reject.record).collect())?;
        }
        self.writer.as_mut().map_or(Ok(()), |writer| writer.flush().map_err(csv::Error::from))
    }

    /// Where the list is, when there is one. After a whole run without rejected rows the list of an earlier one goes.
    pub(super) fn finish(self, is_complete: bool) -> io::Result<Option<PathBuf>> {
        if self.writer.is_some() {
            return Ok(Some(self.path));
        }
        if is_complete && is_list(&self.path)? {
            fs::remove_file(&self.path)?;
        }
        Ok(None)
    }
}

/// Whether there is a list that an earlier run has made, and nothing else.
fn is_list(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => return Ok(false),
    }
    let begins = COLUMNS.join(",");
    let mut first = vec![0; begins.len()];
    match File::open(path)?.read_exact(&mut first) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        read => Ok(read.is_ok() && first == begins.as_bytes()),
    }
}

fn begin(path: &Path, header: &ByteRecord) -> Result<csv::Writer<File>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(create(path)?);
    writer.write_byte_record(&COLUMNS.iter().map(|name| name.as_bytes()).chain(header).collect())?;
    Ok(writer)
}

/// An earlier list may be open to others, and stays so when it is written anew; a new file takes its place instead.
fn create(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        // Somebody leads the list to a device, a pipe or elsewhere.
        Ok(there) if !there.is_file() => {
            return File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), new_id().simple()));
    let file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    Ok(file)
}
