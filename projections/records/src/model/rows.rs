//! The rows of one table that a page is about.

use std::collections::HashMap;
use std::hash::Hash;

use super::row::FoldError;

/// Rows by key: those that were loaded, and those that the page made or changed, in the order of events.
#[derive(Clone, Debug)]
pub struct Rows<K, R> {
    places: HashMap<K, usize>,
    slots: Vec<Slot<R>>,
}

#[derive(Clone, Debug)]
struct Slot<R> {
    row: Option<R>,
    is_changed: bool,
}

impl<K, R> Default for Rows<K, R> {
    fn default() -> Self {
        Self { places: HashMap::new(), slots: Vec::new() }
    }
}

impl<K: Eq + Hash, R> Rows<K, R> {
    /// Rows as they stand in the table.
    pub fn loaded(rows: impl IntoIterator<Item = R>, key: impl Fn(&R) -> K) -> Self {
        let mut loaded = Self::default();
        for row in rows {
            loaded.places.insert(key(&row), loaded.slots.len());
            loaded.slots.push(Slot { row: Some(row), is_changed: false });
        }
        loaded
    }

    /// Makes or changes the row of a key.
    pub(super) fn change(
        &mut self,
        key: K,
        fold: impl FnOnce(Option<R>) -> Result<R, FoldError>,
    ) -> Result<(), FoldError> {
        let place = *self.places.entry(key).or_insert(self.slots.len());
        match self.slots.get_mut(place) {
            Some(slot) => {
                slot.row = Some(fold(slot.row.take())?);
                slot.is_changed = true;
            }
            None => self.slots.push(Slot { row: Some(fold(None)?), is_changed: true }),
        }
        Ok(())
    }

    /// The rows that have to be written.
    pub fn changed(&self) -> Vec<&R> {
        self.slots.iter().filter(|slot| slot.is_changed).filter_map(|slot| slot.row.as_ref()).collect()
    }
}
