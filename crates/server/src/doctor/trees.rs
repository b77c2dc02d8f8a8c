//! Whether each organization's tree is the one of its events.

use std::collections::{BTreeMap, HashMap};

use carelog_audit::meta::META;
use carelog_event_log::{Lane, Position};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Finding, MAX_NAMED};

/// Leaves of a tile of the lowest level.
const TILE: usize = 256;

type Hash = [u8; 32];

/// The leaves of an organization: how many, and a sum over each leaf and its place, in which a skipped, a repeated, a
/// changed and a misplaced one all show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    count: i64,
    digest: String,
}

/// What was sealed.
pub(super) struct Trees {
    checkpoints: Vec<(Lane, Position)>,
    organizations: HashMap<Uuid, Content>,
}

pub(super) async fn read(audit: &mut PgConnection) -> Result<Trees, sqlx::Error> {
    let checkpoints = sqlx::query!(
        "
        select c.lane, c.position
        from runtime.checkpoints c
        join runtime.projections p on p.projector = c.projector and p.live_version = c.version
        where c.projector = 'sealer'
        order by c.lane
        "
    )
    .fetch_all(&mut *audit)
    .await?;
    let rows = sqlx::query!(
        r#"
        select organization_id, count(*) as "count!",
               sum(hashtextextended(encode(leaf_hash, 'hex'), leaf_index + 1)::numeric)::text as "digest!"
        from proof.tree_leaves
        where organization_id <> $1
        group by organization_id
        "#,
        META.uuid()
    )
    .fetch_all(audit)
    .await?;
    Ok(Trees {
        checkpoints: checkpoints.into_iter().map(|row| (row.lane, row.position)).collect(),
        organizations: rows
            .into_iter()
            .map(|row| (row.organization_id, Content { count: row.count, digest: row.digest }))
            .collect(),
    })
}

pub(super) async fn leaves(core: &mut PgConnection, trees: &Trees) -> Result<Finding, sqlx::Error> {
    let (lanes, positions): (Vec<Lane>, Vec<Position>) = trees.checkpoints.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"
        select e.organization_id as "organization_id!", count(*) as "count!",
               sum(hashtextextended(encode(e.leaf_hash, 'hex'), e.organization_sequence)::numeric)::text as "digest!"
        from unnest($1::smallint[], $2::bigint[]) as c (lane, position)
        join log.events e on e.lane = c.lane and e.position <= c.position
        group by e.organization_id
        "#,
        &lanes,
        &positions
    )
    .fetch_all(core)
    .await?;
    let logged: HashMap<Uuid, Content> = rows
        .into_iter()
        .map(|row| (row.organization_id, Content { count: row.count, digest: row.digest }))
        .collect();
    let mut damage: Vec<String> = logged
        .keys()
        .chain(trees.organizations.keys().filter(|id| !logged.contains_key(id)))
        .filter_map(|id| difference(*id, logged.get(id), trees.organizations.get(id)))
        .collect();
    damage.sort_unstable();
    damage.truncate(usize::try_from(MAX_NAMED).unwrap_or(usize::MAX));
    let checked = trees.organizations.values().map(|content| content.count).sum();
    Ok(Finding::new(
        "the trees have the leaf of every event up to the sealer's checkpoint once",
        checked,
        damage,
    ))
}

fn difference(organization_id: Uuid, logged: Option<&Content>, sealed: Option<&Content>) -> Option<String> {
    if logged == sealed {
        return None;
    }
    let count = |content: Option<&Content>| content.map_or(0, |content| content.count);
    let (logged, sealed) = (count(logged), count(sealed));
    Some(if logged == sealed {
        format!("organization {organization_id}: {sealed} leaves, but not those of its {logged} events")
    } else {
        format!("organization {organization_id}: {sealed} leaves for {logged} events")
    })
}

/// What a tree says about itself.
struct Claim {
    size: i64,
    root: Vec<u8>,
    tile_count: i64,
}

/// A tree as it grows from its leaves.
#[derive(Default)]
struct Grown {
    size: i64,
    /// Complete subtrees with their sizes, the largest first.
    peaks: Vec<(i64, Hash)>,
    /// SHA-256 of each full tile of leaves, and its root.
    tiles: Vec<(Hash, Hash)>,
    tile: Vec<Hash>,
}

impl Grown {
    fn push(&mut self, leaf: Hash) {
        self.tile.push(leaf);
        if self.tile.len() == TILE {
            let mut row = std::mem::take(&mut self.tile);
            let digest = Sha256::digest(row.concat()).into();
            while row.len() > 1 {
                row = row.as_chunks::<2>().0.iter().map(|[left, right]| node(left, right)).collect();
            }
            self.tiles.extend(row.first().map(|root| (digest, *root)));
        }
        self.size += 1;
        self.peaks.push((1, leaf));
        while let [.., (left_size, left), (right_size, right)] = self.peaks.as_slice()
            && left_size == right_size
        {
            let parent = (left_size + right_size, node(left, right));
            self.peaks.truncate(self.peaks.len() - 2);
            self.peaks.push(parent);
        }
    }

    fn root(&self) -> Hash {
        let peaks = self.peaks.iter().rev().map(|(_, hash)| *hash);
        peaks.reduce(|right, left| node(&left, &right)).unwrap_or_else(|| Sha256::digest([]).into())
    }

    /// How many tiles of all levels are full.
    fn tile_count(&self) -> i64 {
        let mut count = 0;
        let mut hashes = self.size / 256;
        while hashes > 0 {
            count += hashes;
            hashes /= 256;
        }
        count
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Grows every tree anew from its leaves.
pub(super) async fn grown(audit: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let claims = sqlx::query!(
        r#"
        select organization_id, size, root,
               (select count(*) from proof.tree_tiles t where t.organization_id = trees.organization_id) as "tiles!"
        from proof.trees
        "#
    )
    .fetch_all(&mut *audit)
    .await?;
    let mut claims: BTreeMap<Uuid, Claim> = claims
        .into_iter()
        .map(|row| (row.organization_id, Claim { size: row.size, root: row.root, tile_count: row.tiles }))
        .collect();
    let mut grown: BTreeMap<Uuid, Grown> = BTreeMap::new();
    let mut rows = sqlx::query!(
        "select organization_id, leaf_hash from proof.tree_leaves order by organization_id, leaf_index"
    )
    .fetch(&mut *audit);
    while let Some(row) = rows.try_next().await? {
        if let Ok(leaf) = row.leaf_hash.try_into() {
            grown.entry(row.organization_id).or_default().push(leaf);
        }
    }
    drop(rows);
    let checked = grown.values().map(|tree| tree.size).sum();
    let mut damage = wrong_tiles(audit, &grown).await?;
    for (id, tree) in &grown {
        let claim = claims.remove(id);
        let is_true = claim.as_ref().is_some_and(|claim| {
            (claim.size, claim.root.as_slice(), claim.tile_count)
                == (tree.size, tree.root().as_slice(), tree.tile_count())
        });
        if !is_true {
            damage.push(format!("organization {id}: its tree is not that of its {} leaves", tree.size));
        }
    }
    damage.extend(claims.keys().map(|id| format!("organization {id}: a tree without leaves")));
    damage.truncate(usize::try_from(MAX_NAMED).unwrap_or(usize::MAX));
    Ok(Finding::new("the trees have the tiles and roots of their leaves", checked, damage))
}

/// Tiles of leaves with other hashes than the leaves, and tiles above with other hashes than the roots below.
async fn wrong_tiles(
    audit: &mut PgConnection,
    grown: &BTreeMap<Uuid, Grown>,
) -> Result<Vec<String>, sqlx::Error> {
    let named = |id: Uuid, level: i16, n: i64| {
        format!("organization {id}: tile {n} of level {level} has other hashes than what is below it")
    };
    let mut damage = Vec::new();
    let mut rows = sqlx::query!(
        r#"
        select organization_id, n, root, sha256(hashes) as "digest!"
        from proof.tree_tiles
        where level = 0
        order by organization_id, n
        "#
    )
    .fetch(&mut *audit);
    while let Some(row) = rows.try_next().await? {
        let expected = grown
            .get(&row.organization_id)
            .and_then(|tree| tree.tiles.get(usize::try_from(row.n).ok()?))
            .map(|(digest, root)| (digest.as_slice(), root.as_slice()));
        if expected != Some((row.digest.as_slice(), row.root.as_slice())) {
            damage.push(named(row.organization_id, 0, row.n));
        }
    }
    drop(rows);
    let above = sqlx::query!(
        "
        select t.organization_id, t.level, t.n
        from proof.tree_tiles t
        where t.level > 0
          and t.hashes is distinct from (
              select string_agg(below.root, ''::bytea order by below.n)
              from proof.tree_tiles below
              where below.organization_id = t.organization_id and below.level = t.level - 1
                and below.n between t.n * 256 and t.n * 256 + 255)
        order by t.organization_id, t.level, t.n
        "
    )
    .fetch_all(audit)
    .await?;
    damage.extend(above.into_iter().map(|row| named(row.organization_id, row.level, row.n)));
    Ok(damage)
}
