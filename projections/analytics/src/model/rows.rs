//! The rows of one table that a page is about.

use std::collections::HashMap;

use carelog_domain::EventType;
use carelog_event_log::{Position, RecordedEvent};

use super::{Key, misfit};

/// Why an event does not fit the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// It changes something of which there is no row.
    #[error("{event_type} at position {position} changes a row that is not there")]
    NotThere {
        /// The event's type.
        event_type: EventType,
        /// Its place.
        position: Position,
    },
    /// It makes something that is there already.
    #[error("{event_type} at position {position} makes a row that is there already")]
    AlreadyThere {
        /// The event's type.
        event_type: EventType,
        /// Its place.
        position: Position,
    },
}

/// Rows by key: those that were loaded, and those that the page made or changed.
#[derive(Clone, Debug)]
pub struct Rows<R> {
    slots: HashMap<Key, Slot<R>>,
}

#[derive(Clone, Debug)]
struct Slot<R> {
    row: R,
    is_changed: bool,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { slots: HashMap::new() }
    }
}

impl<R: Clone> Rows<R> {
    /// Rows as they stand in the table.
    pub fn loaded(rows: impl IntoIterator<Item = (Key, R)>) -> Self {
        let slots = rows.into_iter().map(|(key, row)| (key, Slot { row, is_changed: false }));
        Self { slots: slots.collect() }
    }

    /// Makes or changes the row of a key. `fold` gives nothing where it wanted a row and there was none, or the
    /// other way round.
    pub(super) fn change(
        &mut self,
        key: Key,
        event: &RecordedEvent,
        fold: impl FnOnce(Option<&R>) -> Option<R>,
    ) -> Result<(), FoldError> {
        let present = self.slots.get(&key).map(|slot| &slot.row);
        let is_missing = present.is_none();
        let row = fold(present).ok_or_else(|| misfit(event.event_type, event.position, is_missing))?;
        self.slots.insert(key, Slot { row, is_changed: true });
        Ok(())
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&R) -> bool) {
        self.slots.retain(|_, slot| keep(&slot.row));
    }

    /// Counts every row as changed.
    pub(super) fn touch(&mut self) {
        self.slots.values_mut().for_each(|slot| slot.is_changed = true);
    }

    /// The rows that have to be written.
    pub fn changed(&self) -> Vec<&R> {
        self.slots.values().filter(|slot| slot.is_changed).map(|slot| &slot.row).collect()
    }
}
