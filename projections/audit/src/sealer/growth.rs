//! By what each tree grows with a page of events; a pure fold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use carelog_domain::{EventId, OrganizationId};
use carelog_event_log::RecordedEvent;
use time::OffsetDateTime;

use crate::proof::{Edge, EdgeError, Hash, TILE_WIDTH, leaf_hash};

/// Why the log cannot be sealed. Somebody has to look at it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// What is stored is not what was written.
    #[error(
        "event {event_id} at sequence {sequence} of {organization_id} was changed: its leaf hash is another one"
    )]
    LeafChanged {
        /// The organization.
        organization_id: OrganizationId,
        /// The event's place.
        sequence: i64,
        /// The event.
        event_id: EventId,
    },
    /// An event is missing, or stands twice.
    #[error("sequence {found} of {organization_id} follows where {expected} should")]
    Gap {
        /// The organization.
        organization_id: OrganizationId,
        /// The next place of its tree.
        expected: i64,
        /// The place of the event.
        found: i64,
    },
    /// A tree's own row is damaged.
    #[error("proof.trees.edge of {organization_id} is damaged")]
    Edge {
        /// The organization.
        organization_id: OrganizationId,
        /// How.
        #[source]
        source: EdgeError,
    },
}

/// A leaf that is to be appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewLeaf {
    pub(super) sequence: i64,
    pub(super) recorded_at: OffsetDateTime,
    pub(super) hash: Hash,
}

/// One organization's tree with what is new.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) leaves: Vec<NewLeaf>,
    /// Leaves before.
    pub(super) before: u64,
    pub(super) edge: Edge,
}

/// The trees that grow.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    pub(super) trees: BTreeMap<OrganizationId, Tree>,
}

impl Growth {
    /// The leaves of a page, by organization.
    pub(super) fn of(log_name: &str, page: &[Arc<RecordedEvent>]) -> Result<Self, SealError> {
        let mut trees: BTreeMap<OrganizationId, Tree> = BTreeMap::new();
        for event in page {
            let (organization_id, sequence) = (event.stream.organization_id, event.organization_sequence);
            let hash = leaf_hash(&event.leaf_data(log_name));
            if hash.0 != event.leaf_hash {
                return Err(SealError::LeafChanged { organization_id, sequence, event_id: event.event_id });
            }
            let leaf = NewLeaf { sequence, recorded_at: event.recorded_at.into(), hash };
            trees.entry(organization_id).or_default().leaves.push(leaf);
        }
        Ok(Self { trees })
    }

    pub(super) fn organizations(&self) -> Vec<uuid::Uuid> {
        self.trees.keys().map(|id| id.uuid()).collect()
    }

    /// Appends the leaves to the trees as they were; those that are missing begin here.
    pub(super) fn append(&mut self, mut edges: HashMap<OrganizationId, Stored>) -> Result<(), SealError> {
        for (&organization_id, tree) in &mut self.trees {
            if let Some(stored) = edges.remove(&organization_id) {
                let size = stored.size.unsigned_abs();
                tree.edge = Edge::from_bytes(size, &stored.edge)
                    .map_err(|source| SealError::Edge { organization_id, source })?;
            }
            tree.before = tree.edge.size();
            for leaf in &tree.leaves {
                let expected = number(tree.edge.size() + 1);
                if leaf.sequence != expected {
                    return Err(SealError::Gap { organization_id, expected, found: leaf.sequence });
                }
                tree.edge.append(leaf.hash);
            }
        }
        Ok(())
    }
}

/// A tree's row.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) size: i64,
    pub(super) edge: Vec<u8>,
}

impl Tree {
    /// Hashes of a level of tiles, before and after.
    pub(super) const fn widths(&self, level: u32) -> (u64, u64) {
        (self.before >> (8 * level), self.edge.size() >> (8 * level))
    }

    /// Whether a tile of a level becomes full.
    pub(super) const fn completes(&self, level: u32) -> bool {
        let (before, after) = self.widths(level);
        before / TILE_WIDTH < after / TILE_WIDTH
    }
}

/// A size or index as the tables hold it; a log has fewer than 2^63 events.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
