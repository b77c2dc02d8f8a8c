//! Rows as the arrays that a set-based statement takes.

use carelog_domain::{EventType, Timestamp};
use carelog_event_log::runtime::ApplyError;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::{SealedColumns, Stamp};

/// A write that would have moved a row back, or not at all.
#[derive(Debug, thiserror::Error)]
#[error("{refused} of {count} rows of records.{table} were written by these or later events before")]
struct NotForward {
    table: &'static str,
    refused: u64,
    count: usize,
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

/// A moment as the driver takes it.
pub(super) fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from(at)
}

/// The columns of [`Stamp`].
#[derive(Default)]
pub(super) struct Stamps {
    pub(super) version: Vec<i64>,
    pub(super) lane: Vec<i16>,
    pub(super) position: Vec<i64>,
    pub(super) created_position: Vec<i64>,
    pub(super) created_at: Vec<OffsetDateTime>,
    pub(super) occurred_at: Vec<OffsetDateTime>,
    pub(super) updated_at: Vec<OffsetDateTime>,
}

impl Stamps {
    pub(super) fn of(stamps: impl Iterator<Item = Stamp>) -> Self {
        let mut columns = Self::default();
        for stamp in stamps {
            columns.version.push(stamp.version);
            columns.lane.push(stamp.lane);
            columns.position.push(stamp.position);
            columns.created_position.push(stamp.created_position);
            columns.created_at.push(moment(stamp.created_at));
            columns.occurred_at.push(moment(stamp.occurred_at));
            columns.updated_at.push(moment(stamp.updated_at));
        }
        columns
    }
}

/// The columns of [`SealedColumns`].
#[derive(Default)]
pub(super) struct Seals<'a> {
    pub(super) bytes: Vec<Option<&'a [u8]>>,
    pub(super) key_id: Vec<Option<Uuid>>,
    pub(super) version: Vec<Option<i64>>,
    pub(super) event_id: Vec<Option<Uuid>>,
    pub(super) event_type: Vec<Option<&'static str>>,
    pub(super) schema_version: Vec<Option<i16>>,
}

impl<'a> Seals<'a> {
    pub(super) fn of(seals: impl Iterator<Item = Option<&'a SealedColumns>>) -> Self {
        let mut columns = Self::default();
        for seal in seals {
            let place = seal.map(|seal| &seal.place);
            columns.bytes.push(seal.map(|seal| &*seal.sealed.bytes));
            columns.key_id.push(seal.map(|seal| seal.sealed.key_id.uuid()));
            columns.version.push(place.map(|place| place.version));
            columns.event_id.push(place.map(|place| place.event_id.uuid()));
            columns.event_type.push(place.map(|place| place.event_type).map(EventType::as_str));
            columns.schema_version.push(place.map(|place| schema_version(place.schema_version)));
        }
        columns
    }
}

/// Schema versions count the shapes that an event type ever had.
fn schema_version(version: u16) -> i16 {
    i16::try_from(version).unwrap_or(i16::MAX)
}
