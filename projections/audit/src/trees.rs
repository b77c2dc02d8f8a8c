//! Reads of the trees: hashes, and the proofs that are made of them.
//!
//! Every function names the organization and is meant for a connection that is bound to it, so that row-level
//! security holds as well. Nothing is trusted further than it can be checked: a proof is made of what is stored, and
//! whoever gets it finds out whether it holds.

use std::collections::BTreeSet;

use carelog_domain::OrganizationId;
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::proof::{
    ConsistencyProof, Hash, InclusionProof, MissingNode, Node, Subtrees, TILE_WIDTH, Tile, TileSet,
    consistency_nodes, inclusion_nodes, root, root_nodes,
};

/// Why a tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The database did not answer, or refused.
    #[error("the trees cannot be read at present")]
    Database(#[from] sqlx::Error),
    /// A stored hash has another length.
    #[error("proof.{table} of {organization_id} holds a hash of another length")]
    Stored {
        /// The table.
        table: &'static str,
        /// The organization.
        organization_id: OrganizationId,
    },
    /// The tree says that it is larger than what is stored of it.
    #[error("the tree of {organization_id} is damaged")]
    Missing {
        /// The organization.
        organization_id: OrganizationId,
        /// What is missing.
        #[source]
        source: MissingNode,
    },
}

/// How far a tree was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Leaves.
    pub size: u64,
    /// The root, as it was stored.
    pub root: Hash,
}

/// A tree up to where it was sealed when it was opened.
#[derive(Debug)]
pub struct TreeReader<'c> {
    connection: &'c mut PgConnection,
    organization_id: OrganizationId,
    head: TreeHead,
}

/// Opens the tree of an organization; nothing where no event of it was sealed yet.
///
/// # Errors
/// When the database fails or a stored hash is none.
pub fn open(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<Option<TreeReader<'_>>, TreeError>> {
    Box::pin(async move {
        let row = sqlx::query!(
            "select size, root from proof.trees where organization_id = $1",
            organization_id.uuid()
        )
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let root = hash(&row.root, "trees.root", organization_id)?;
        let head = TreeHead { size: row.size.unsigned_abs(), root };
        Ok(Some(TreeReader { connection, organization_id, head }))
    })
}

fn hash(bytes: &[u8], table: &'static str, organization_id: OrganizationId) -> Result<Hash, TreeError> {
    Hash::from_slice(bytes).ok_or(TreeError::Stored { table, organization_id })
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl TreeReader<'_> {
    /// How far it was sealed.
    pub const fn head(&self) -> TreeHead {
        self.head
    }

    /// The root of its first `size` leaves, made of its tiles.
    ///
    /// # Errors
    /// When the database fails or a hash is missing.
    pub async fn root(&mut self, size: u64) -> Result<Hash, TreeError> {
        let tiles = self.tiles(&root_nodes(size)).await?;
        root(&tiles, size).map_err(|source| self.missing(source))
    }

    /// The complete subtrees that its first `size` leaves are made of, the largest first.
    ///
    /// # Errors
    /// When the database fails or a hash is missing.
    pub async fn peaks(&mut self, size: u64) -> Result<Vec<Hash>, TreeError> {
        let nodes = root_nodes(size);
        let tiles = self.tiles(&nodes).await?;
        let hash = |node: &Node| tiles.node(*node).ok_or_else(|| self.missing(MissingNode(*node)));
        nodes.iter().map(hash).collect()
    }

    /// The proof for a leaf in the tree of the first `size` leaves; nothing where there is no such leaf or tree.
    ///
    /// # Errors
    /// When the database fails or a hash is missing.
    pub async fn inclusion(&mut self, index: u64, size: u64) -> Result<Option<InclusionProof>, TreeError> {
        if size > self.head.size {
            return Ok(None);
        }
        let tiles = self.tiles(&inclusion_nodes(index, size)).await?;
        InclusionProof::generate(&tiles, index, size).map_err(|source| self.missing(source))
    }

    /// The proof that the tree of `new_size` leaves begins with that of `old_size`; nothing where there is no such
    /// tree.
    ///
    /// # Errors
    /// When the database fails or a hash is missing.
    pub async fn consistency(
        &mut self,
        old_size: u64,
        new_size: u64,
    ) -> Result<Option<ConsistencyProof>, TreeError> {
        if new_size > self.head.size {
            return Ok(None);
        }
        let tiles = self.tiles(&consistency_nodes(old_size, new_size)).await?;
        ConsistencyProof::generate(&tiles, old_size, new_size).map_err(|source| self.missing(source))
    }

    /// The first `width` hashes of a tile, 32 bytes each; nothing where the tree has not grown so far.
    ///
    /// # Errors
    /// When the database fails or a hash is missing.
    pub async fn tile(&mut self, tile: Tile, width: u64) -> Result<Option<Vec<u8>>, TreeError> {
        if width == 0 || tile.width(self.head.size) < width {
            return Ok(None);
        }
        let tiles = self.load(&BTreeSet::from([tile])).await?;
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        let hashes = tiles.get(tile).and_then(|hashes| hashes.get(..width));
        Ok(hashes.map(|hashes| hashes.iter().flat_map(|hash| hash.0).collect()))
    }

    fn missing(&self, source: MissingNode) -> TreeError {
        TreeError::Missing { organization_id: self.organization_id, source }
    }

    async fn tiles(&mut self, nodes: &[Node]) -> Result<TileSet, TreeError> {
        self.load(&TileSet::needed(nodes)).await
    }

    /// Full tiles as they are stored, others from the leaves or from the roots of the tiles below.
    async fn load(&mut self, wanted: &BTreeSet<Tile>) -> Result<TileSet, TreeError> {
        let mut tiles = TileSet::default();
        let (full, partial): (Vec<Tile>, Vec<Tile>) =
            wanted.iter().partition(|tile| tile.width(self.head.size) == TILE_WIDTH);
        if !full.is_empty() {
            self.load_full(&full, &mut tiles).await?;
        }
        for tile in partial {
            let hashes = self.load_partial(tile).await?;
            tiles.insert(tile, hashes);
        }
        Ok(tiles)
    }

    async fn load_full(&mut self, full: &[Tile], tiles: &mut TileSet) -> Result<(), TreeError> {
        let rows = sqlx::query!(
            "
            select t.level, t.n, t.hashes
            from unnest($2::smallint[], $3::bigint[]) as wanted (level, n)
            join proof.tree_tiles t on t.organization_id = $1 and t.level = wanted.level and t.n = wanted.n
            ",
            self.organization_id.uuid(),
            &full.iter().map(|tile| i16::from(tile.level)).collect::<Vec<_>>(),
            &full.iter().map(|tile| number(tile.n)).collect::<Vec<_>>()
        )
        .fetch_all(&mut *self.connection)
        .await?;
        for row in rows {
            let level = u8::try_from(row.level).unwrap_or(u8::MAX);
            let hashes = row.hashes.as_chunks::<{ Hash::BYTES }>().0.iter().map(|hash| Hash(*hash)).collect();
            tiles.insert(Tile { level, n: row.n.unsigned_abs() }, hashes);
        }
        Ok(())
    }

    async fn load_partial(&mut self, tile: Tile) -> Result<Vec<Hash>, TreeError> {
        let (first, organization_id) = (number(tile.n.saturating_mul(TILE_WIDTH)), self.organization_id);
        let end = first.saturating_add(number(tile.width(self.head.size)));
        let (table, rows) = if tile.level == 0 {
            let leaves = sqlx::query_scalar!(
                "
                select leaf_hash
                from proof.tree_leaves
                where organization_id = $1 and leaf_index >= $2 and leaf_index < $3
                order by leaf_index
                ",
                organization_id.uuid(),
                first,
                end
            );
            ("tree_leaves", leaves.fetch_all(&mut *self.connection).await?)
        } else {
            let roots = sqlx::query_scalar!(
                "
                select root
                from proof.tree_tiles
                where organization_id = $1 and level = $2 and n >= $3 and n < $4
                order by n
                ",
                organization_id.uuid(),
                i16::from(tile.level - 1),
                first,
                end
            );
            ("tree_tiles", roots.fetch_all(&mut *self.connection).await?)
        };
        rows.iter().map(|bytes| hash(bytes, table, organization_id)).collect()
    }
}
