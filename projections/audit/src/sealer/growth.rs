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
    /// The log was set back, and has grown again since.
    #[error(
        "sequence {sequence} of {organization_id} is another event than the one that was sealed: the log was set back"
    )]
    SetBack {
        /// The organization.
        organization_id: OrganizationId,
        /// The place of the last leaf.
        sequence: i64,
    },
    /// The log is not the one that was signed.
    #[error("the tree of {organization_id} has another root at {size} leaves than the one that was signed")]
    Contradicted {
        /// The organization.
        organization_id: OrganizationId,
        /// Leaves of the signed tree.
        size: u64,
    },
    /// Events that were signed are missing in the log.
    #[error("{signed} events of {organization_id} were signed, and the log has {found}")]
    Shrunk {
        /// The organization.
        organization_id: OrganizationId,
        /// Leaves of the signed tree.
        signed: i64,
        /// Leaves of the tree that was built anew.
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

    /// The places of the trees' last leaves, of those that have any.
    pub(super) fn ends(&self) -> Vec<(OrganizationId, i64)> {
        let begun = self.trees.iter().filter(|(_, tree)| tree.before > 0);
        begun.map(|(id, tree)| (*id, number(tree.before))).collect()
    }

    /// Appends the leaves to the trees as they were; those that are missing begin here. `signed` has the newest root
    /// that was signed of a tree that has not grown so far.
    pub(super) fn append(
        &mut self,
        mut edges: HashMap<OrganizationId, Stored>,
        signed: &HashMap<OrganizationId, (u64, Hash)>,
    ) -> Result<(), SealError> {
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
                if let Some(&(size, root)) = signed.get(&organization_id)
                    && size == tree.edge.size()
                    && root != tree.edge.root()
                {
                    return Err(SealError::Contradicted { organization_id, size });
                }
            }
        }
        Ok(())
    }
}

/// Compares the last leaves of trees with what the log has in their places.
pub(super) fn compare(
    ends: &[(OrganizationId, i64)],
    sealed: &HashMap<OrganizationId, Vec<u8>>,
    stored: &HashMap<OrganizationId, Vec<u8>>,
) -> Result<(), SealError> {
    let changed = ends.iter().find(|(id, _)| sealed.get(id).is_none() || sealed.get(id) != stored.get(id));
    changed
        .map_or(Ok(()), |&(organization_id, sequence)| Err(SealError::SetBack { organization_id, sequence }))
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
