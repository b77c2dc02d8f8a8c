//! The rows of one table that a page is about.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

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
    standing: Standing,
}

/// How a row differs from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Not at all.
    Loaded,
    /// It stands there, and is to stand otherwise.
    Changed,
    /// It does not stand there yet.
    Made,
}

/// The rows that have to be written, by how.
#[derive(Clone, Debug)]
pub struct Changes<'a, R> {
    /// Those that the table does not have.
    pub made: Vec<&'a R>,
    /// Those that stand in the table.
    pub changed: Vec<&'a R>,
}

impl<'a, R> Changes<'a, R> {
    /// All of them, for tables in which the newest of a name stands.
    pub fn all(&self) -> Vec<&'a R> {
        self.made.iter().chain(&self.changed).copied().collect()
    }
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { slots: HashMap::new() }
    }
}

impl<R> Rows<R> {
    /// Rows as they stand in the table.
    pub fn loaded(rows: impl IntoIterator<Item = (Key, R)>) -> Self {
        let slots = rows.into_iter().map(|(key, row)| (key, Slot { row, standing: Standing::Loaded }));
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
        let wrong = |is_missing| misfit(event.event_type, event.position, is_missing);
        match self.slots.entry(key) {
            Entry::Occupied(mut slot) => {
                let slot = slot.get_mut();
                slot.row = fold(Some(&slot.row)).ok_or_else(|| wrong(false))?;
                slot.touch();
            }
            Entry::Vacant(slot) => {
                let row = fold(None).ok_or_else(|| wrong(true))?;
                slot.insert(Slot { row, standing: Standing::Made });
            }
        }
        Ok(())
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&R) -> bool) {
        self.slots.retain(|_, slot| keep(&slot.row));
    }

    /// Counts every row as changed.
    pub(super) fn touch(&mut self) {
        self.slots.values_mut().for_each(Slot::touch);
    }

    /// The rows that have to be written.
    pub fn changes(&self) -> Changes<'_, R> {
        let (mut made, mut changed) = (Vec::new(), Vec::new());
        for slot in self.slots.values() {
            match slot.standing {
                Standing::Loaded => {}
                Standing::Changed => changed.push(&slot.row),
                Standing::Made => made.push(&slot.row),
            }
        }
        Changes { made, changed }
    }
}

impl<R> Slot<R> {
    fn touch(&mut self) {
        if self.standing == Standing::Loaded {
            self.standing = Standing::Changed;
        }
    }
}
