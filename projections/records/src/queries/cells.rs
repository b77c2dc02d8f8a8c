//! From columns to values; what does not parse is named by table, column and row.

use std::str::FromStr;
use std::sync::Arc;

use carelog_domain::closed::Sha256Digest;
use carelog_domain::{EventId, KeyId, OrganizationId, PatientId, Sealed, StreamKind, Timestamp};
use carelog_event_log::runtime::ApplyError;
use carelog_event_log::{SealedPlace, StreamKey};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::SealedColumns;

/// Why current state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The database did not answer, or refused.
    #[error("current state cannot be read at present")]
    Database(#[from] sqlx::Error),
    /// A stored value does not parse.
    #[error("records.{table}.{column} of {row} holds a value that does not parse")]
    Stored {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's own id.
        row: Uuid,
    },
}

impl From<QueryError> for ApplyError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Database(error) => error.into(),
            stored @ QueryError::Stored { .. } => Self::poison(stored),
        }
    }
}

/// The columns of one row.
#[derive(Clone, Copy)]
pub(super) struct Cells {
    pub(super) table: &'static str,
    pub(super) row: Uuid,
}

/// The sealed columns as they stand in a row, and where its stream is.
pub(super) struct SealedCells {
    pub(super) stream: StreamKey,
    pub(super) subject: Option<PatientId>,
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) key_id: Option<Uuid>,
    pub(super) version: Option<i64>,
    pub(super) event_id: Option<Uuid>,
    pub(super) event_type: Option<String>,
    pub(super) schema_version: Option<i16>,
}

impl Cells {
    fn does_not_parse(self, column: &'static str) -> QueryError {
        QueryError::Stored { table: self.table, column, row: self.row }
    }

    pub(super) fn name<T: FromStr>(self, column: &'static str, text: &str) -> Result<T, QueryError> {
        text.parse().map_err(|_| self.does_not_parse(column))
    }

    pub(super) fn optional_name<T: FromStr>(
        self,
        column: &'static str,
        text: Option<&str>,
    ) -> Result<Option<T>, QueryError> {
        text.map(|text| self.name(column, text)).transpose()
    }

    pub(super) fn names<T: FromStr>(
        self,
        column: &'static str,
        texts: &[String],
    ) -> Result<Vec<T>, QueryError> {
        texts.iter().map(|text| self.name(column, text)).collect()
    }

    pub(super) fn moment(self, column: &'static str, at: OffsetDateTime) -> Result<Timestamp, QueryError> {
        Timestamp::try_from(at).map_err(|_| self.does_not_parse(column))
    }

    pub(super) fn optional_moment(
        self,
        column: &'static str,
        at: Option<OffsetDateTime>,
    ) -> Result<Option<Timestamp>, QueryError> {
        at.map(|at| self.moment(column, at)).transpose()
    }

    pub(super) fn count(self, column: &'static str, number: i32) -> Result<u16, QueryError> {
        u16::try_from(number).map_err(|_| self.does_not_parse(column))
    }

    pub(super) fn optional_count(
        self,
        column: &'static str,
        number: Option<i32>,
    ) -> Result<Option<u16>, QueryError> {
        number.map(|number| self.count(column, number)).transpose()
    }

    pub(super) fn digest(self, column: &'static str, bytes: &[u8]) -> Result<Sha256Digest, QueryError> {
        bytes.try_into().map(Sha256Digest::new).map_err(|_| self.does_not_parse(column))
    }

    pub(super) fn optional_digest(
        self,
        column: &'static str,
        bytes: Option<&[u8]>,
    ) -> Result<Option<Sha256Digest>, QueryError> {
        bytes.map(|bytes| self.digest(column, bytes)).transpose()
    }

    /// All of the sealed columns are there, or none.
    pub(super) fn sealed(self, cells: SealedCells) -> Result<Option<SealedColumns>, QueryError> {
        let Some(bytes) = cells.bytes else { return Ok(None) };
        let missing = |column| move || self.does_not_parse(column);
        let event_type = cells.event_type.ok_or_else(missing("personal_event_type"))?;
        let schema_version = cells.schema_version.ok_or_else(missing("personal_schema_version"))?;
        Ok(Some(SealedColumns {
            place: SealedPlace {
                stream: cells.stream,
                version: cells.version.ok_or_else(missing("personal_version"))?,
                event_id: cells.event_id.map(EventId::new).ok_or_else(missing("personal_event_id"))?,
                event_type: self.name("personal_event_type", &event_type)?,
                schema_version: u16::try_from(schema_version)
                    .map_err(|_| self.does_not_parse("personal_schema_version"))?,
                subject: cells.subject,
            },
            sealed: Sealed {
                key_id: cells.key_id.map(KeyId::new).ok_or_else(missing("personal_key_id"))?,
                bytes: Arc::from(bytes),
            },
        }))
    }
}

/// The stream that a row's events stand in.
pub(super) const fn stream(organization_id: Uuid, kind: StreamKind, id: Uuid) -> StreamKey {
    StreamKey { organization_id: OrganizationId::new(organization_id), kind, id }
}

/// The stamp of a row.
macro_rules! stamp {
    ($cells:ident, $row:ident) => {
        crate::model::Stamp {
            version: $row.version,
            lane: $row.lane,
            position: $row.position,
            created_position: $row.created_position,
            created_at: $cells.moment("created_at", $row.created_at)?,
            occurred_at: $cells.moment("occurred_at", $row.occurred_at)?,
            updated_at: $cells.moment("updated_at", $row.updated_at)?,
        }
    };
}
pub(super) use stamp;

/// The sealed personal part of a row.
macro_rules! sealed {
    ($cells:ident, $row:ident, $kind:ident, $id:expr, $subject:expr) => {
        $cells.sealed(super::cells::SealedCells {
            stream: super::cells::stream($row.organization_id, StreamKind::$kind, $id),
            subject: $subject,
            bytes: $row.personal,
            key_id: $row.personal_key_id,
            version: $row.personal_version,
            event_id: $row.personal_event_id,
            event_type: $row.personal_event_type,
            schema_version: $row.personal_schema_version,
        })?
    };
}
pub(super) use sealed;
