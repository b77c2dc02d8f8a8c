//! Rows as the arrays that a set-based statement takes, and back.

use std::str::FromStr;

use carelog_domain::Timestamp;
use carelog_event_log::Position;
use carelog_event_log::runtime::ApplyError;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::{Coarse, Key};

/// A write that would have moved a row back, or not at all.
#[derive(Debug, thiserror::Error)]
#[error("{refused} of {count} rows of analytics.{table} were written by these or later events before")]
struct NotForward {
    table: &'static str,
    refused: u64,
    count: usize,
}

/// A stored value that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("analytics.{table}.{column} of the row at position {position} holds a value that does not parse")]
struct Stored {
    table: &'static str,
    column: &'static str,
    position: Position,
}

/// Every row has to have moved forward: an event that is applied twice would not.
pub(super) fn check_written(table: &'static str, count: usize, written: u64) -> Result<(), ApplyError> {
    match (count as u64).saturating_sub(written) {
        0 => Ok(()),
        refused => Err(ApplyError::poison(NotForward { table, refused, count })),
    }
}

/// One column.
pub(super) fn each<'a, R, T>(rows: &[&'a R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().copied().map(value).collect()
}

/// Keys, column by column.
pub(super) fn columns<'k>(keys: impl IntoIterator<Item = &'k Key>) -> (Vec<Uuid>, Vec<Uuid>) {
    keys.into_iter().map(|(organization_id, pseudonym)| (organization_id.uuid(), pseudonym.uuid())).unzip()
}

/// A moment as the driver takes it.
pub(super) fn moment(at: Coarse) -> OffsetDateTime {
    OffsetDateTime::from(at.moment())
}

/// The row that is being read.
#[derive(Clone, Copy)]
pub(super) struct Cells {
    pub(super) table: &'static str,
    pub(super) position: Position,
}

impl Cells {
    fn wrong(self, column: &'static str) -> ApplyError {
        ApplyError::poison(Stored { table: self.table, column, position: self.position })
    }

    pub(super) fn name<T: FromStr>(self, column: &'static str, text: &str) -> Result<T, ApplyError> {
        text.parse().map_err(|_| self.wrong(column))
    }

    pub(super) fn coarse(self, column: &'static str, at: OffsetDateTime) -> Result<Coarse, ApplyError> {
        self.exact(column, at).map(Coarse::cut)
    }

    pub(super) fn exact(self, column: &'static str, at: OffsetDateTime) -> Result<Timestamp, ApplyError> {
        Timestamp::try_from(at).map_err(|_| self.wrong(column))
    }

    pub(super) fn number<N, T: TryFrom<N>>(self, column: &'static str, number: N) -> Result<T, ApplyError> {
        T::try_from(number).map_err(|_| self.wrong(column))
    }
}
