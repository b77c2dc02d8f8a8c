//! Which column of the file means what.

use std::fmt;
use std::str::FromStr;

use csv::ByteRecord;

/// What a column can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The practice's number of the patient.
    Patient,
    /// The practice's number of the appointment.
    Appointment,
    /// The name of the clinic.
    Clinic,
    /// When it was booked.
    BookedAt,
    /// When it began: a date, or a date and time.
    StartsAt,
    /// Whether a reminder was sent; no reminders where no column says so.
    Reminder,
    /// Whether the patient stayed away.
    NoShow,
    /// The patient's year of birth; not known where no column says so.
    BirthYear,
}

impl Field {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Patient, "patient"),
        (Self::Appointment, "appointment"),
        (Self::Clinic, "clinic"),
        (Self::BookedAt, "booked_at"),
        (Self::StartsAt, "starts_at"),
        (Self::Reminder, "reminder"),
        (Self::NoShow, "no_show"),
        (Self::BirthYear, "birth_year"),
    ];

    const fn is_optional(self) -> bool {
        matches!(self, Self::Reminder | Self::BirthYear)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(field, _)| field == self).map_or("", |(_, name)| *name);
        f.write_str(name)
    }
}

/// One `field=COLUMN` of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What the column means.
    pub field: Field,
    /// Its name in the file's first line.
    pub column: String,
}

/// Why columns cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnsError {
    /// Not of the form `field=COLUMN`.
    #[error("a mapping is written field=COLUMN")]
    NoMapping,
    /// There is no such field.
    #[error("there is no field {given:?}; there are: {known}")]
    UnknownField {
        /// What was given.
        given: String,
        /// The fields that there are.
        known: String,
    },
    /// A field was mapped twice.
    #[error("the field {0} is mapped twice")]
    Twice(Field),
    /// A field that is needed was not mapped.
    #[error("the field {0} is not mapped to a column")]
    Missing(Field),
    /// The file has no such column.
    #[error("the file has no column {column:?} for {field}; it has: {available}")]
    UnknownColumn {
        /// The field.
        field: Field,
        /// The column that was named.
        column: String,
        /// The columns of the file.
        available: String,
    },
}

impl FromStr for Mapping {
    type Err = ColumnsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (given, column) = text.split_once('=').ok_or(ColumnsError::NoMapping)?;
        let field = Field::ALL.iter().find(|(_, name)| *name == given.trim()).map(|(field, _)| *field);
        let unknown = || {
            let known: Vec<&str> = Field::ALL.iter().map(|(_, name)| *name).collect();
            ColumnsError::UnknownField { given: given.to_owned(), known: known.join(", ") }
        };
        Ok(Self { field: field.ok_or_else(unknown)?, column: column.trim().to_owned() })
    }
}

/// A column for each field that is needed, by name.
#[derive(Clone, Debug)]
pub struct ColumnMap {
    columns: [Option<String>; Field::ALL.len()],
}

impl ColumnMap {
    /// Takes mappings.
    ///
    /// # Errors
    /// When a field is mapped twice, or one that is needed is not mapped.
    pub fn new(mappings: impl IntoIterator<Item = Mapping>) -> Result<Self, ColumnsError> {
        let mut columns = [const { None }; Field::ALL.len()];
        for Mapping { field, column } in mappings {
            if let Some(place) = columns.get_mut(field.index())
                && place.replace(column).is_some()
            {
                return Err(ColumnsError::Twice(field));
            }
        }
        let unmapped = Field::ALL
            .iter()
            .zip(&columns)
            .find(|((field, _), column)| column.is_none() && !field.is_optional());
        match unmapped {
            Some(((field, _), _)) => Err(ColumnsError::Missing(*field)),
            None => Ok(Self { columns }),
        }
    }

    /// Where the columns stand in a file with this first line.
    pub(super) fn find_in(&self, header: &ByteRecord) -> Result<Places, ColumnsError> {
        let names: Vec<_> =
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        let mut places = [None; Field::ALL.len()];
        for (((field, _), column), place) in Field::ALL.iter().zip(&self.columns).zip(&mut places) {
            let Some(column) = column else { continue };
            *place = names.iter().position(|name| name == column);
            if place.is_none() {
                let (column, available) = (column.clone(), names.join(", "));
                return Err(ColumnsError::UnknownColumn { field: *field, column, available });
            }
        }
        Ok(Places { column_count: names.len(), places })
    }
}

/// Where the columns stand.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) column_count: usize,
    places: [Option<usize>; Field::ALL.len()],
}

impl Places {
    /// The cell of a field; nothing where no column is mapped to it.
    pub(super) fn cell<'r>(&self, record: &'r ByteRecord, field: Field) -> Option<&'r [u8]> {
        let place = self.places.get(field.index()).copied().flatten()?;
        record.get(place)
    }
}
