//! The statements of the sealer: one for each table of a page, and two more for each level of tiles that fill up.

use std::collections::{BTreeMap, HashMap};

use carelog_domain::OrganizationId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::growth::{Growth, Stored, Tree, number};
use crate::meta::META;
use crate::proof::{Hash, TILE_WIDTH, Tile};

/// A tree of 2^63 leaves has tiles of eight levels.
const LEVELS: u32 = 8;

/// The rows of these trees.
pub(super) async fn edges(
    tables: &mut PgConnection,
    organizations: &[Uuid],
) -> Result<HashMap<OrganizationId, Stored>, sqlx::Error> {
    let rows = sqlx::query!(
        "select organization_id, size, edge from trees where organization_id = any($1)",
        organizations
    )
    .fetch_all(tables)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (OrganizationId::new(row.organization_id), Stored { size: row.size, edge: row.edge }))
        .collect())
}

/// The newest checkpoint of each of these trees that is ahead of it. There is one only while trees are built anew.
pub(super) async fn signed_ahead(
    tables: &mut PgConnection,
    origin: &str,
    organizations: &[Uuid],
) -> Result<HashMap<OrganizationId, (u64, Hash)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select signed.organization_id as "organization_id!", newest.size, newest.root
        from unnest($2::uuid[]) as signed (organization_id)
        left join trees t on t.organization_id = signed.organization_id
        cross join lateral (
            select c.size, c.root
            from signer.checkpoints c
            where c.organization_id = signed.organization_id
                and c.origin = $1 || '/' || signed.organization_id::text
            order by c.size desc
            limit 1) newest
        where newest.size > coalesce(t.size, 0)
        "#,
        origin,
        organizations
    )
    .fetch_all(tables)
    .await?;
    let signed = |organization_id, size: i64, root: &[u8]| {
        let root = Hash::from_slice(root).ok_or_else(|| sqlx::Error::Decode("a hash has 32 bytes".into()))?;
        Ok((OrganizationId::new(organization_id), (size.unsigned_abs(), root)))
    };
    rows.iter().map(|row| signed(row.organization_id, row.size, &row.root)).collect()
}

/// The leaf hashes at these places, which count from 1.
pub(super) async fn leaf_hashes(
    tables: &mut PgConnection,
    places: &[(OrganizationId, i64)],
) -> Result<HashMap<OrganizationId, Vec<u8>>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        select l.organization_id, l.leaf_hash
        from unnest($1::uuid[], $2::bigint[]) as place (organization_id, sequence)
        join tree_leaves l on l.organization_id = place.organization_id and l.leaf_index = place.sequence - 1
        ",
        &places.iter().map(|(id, _)| id.uuid()).collect::<Vec<_>>(),
        &places.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>()
    )
    .fetch_all(tables)
    .await?;
    Ok(rows.into_iter().map(|row| (OrganizationId::new(row.organization_id), row.leaf_hash)).collect())
}

/// A tree that has fewer leaves than were signed of it: whose, how many were, and how many it has. The log of checkpoints
/// is not made of events.
pub(super) async fn smaller_than_signed(
    tables: &mut PgConnection,
    origin: &str,
) -> Result<Option<(OrganizationId, i64, i64)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select h.organization_id, h.size, coalesce(t.size, 0) as "found!"
        from signer.heads h
        left join trees t on t.organization_id = h.organization_id
        where h.origin = $1 || '/' || h.organization_id::text and h.size > coalesce(t.size, 0)
            and h.organization_id <> $2
        order by h.organization_id
        limit 1
        "#,
        origin,
        META.uuid()
    )
    .fetch_optional(tables)
    .await?;
    Ok(row.map(|row| (OrganizationId::new(row.organization_id), row.size, row.found)))
}

pub(super) async fn insert_leaves(tables: &mut PgConnection, growth: &Growth) -> Result<(), sqlx::Error> {
    let leaves: Vec<_> = growth
        .trees
        .iter()
        .flat_map(|(id, tree)| tree.leaves.iter().map(move |leaf| (id.uuid(), leaf)))
        .collect();
    sqlx::query!(
        "
        insert into tree_leaves (organization_id, leaf_index, recorded_at, leaf_hash)
        select * from unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::bytea[])
        ",
        &leaves.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        &leaves.iter().map(|(_, leaf)| leaf.sequence - 1).collect::<Vec<_>>(),
        &leaves.iter().map(|(_, leaf)| leaf.recorded_at).collect::<Vec<_>>(),
        &leaves.iter().map(|(_, leaf)| leaf.hash.0.as_slice()).collect::<Vec<_>>() as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}

/// A full tile.
struct FullTile {
    organization_id: Uuid,
    n: i64,
    root: Hash,
    hashes: Vec<u8>,
}

/// Inserts the tiles that became full, level by level: the roots of one level are the hashes of the next.
pub(super) async fn complete_tiles(tables: &mut PgConnection, growth: &Growth) -> Result<(), sqlx::Error> {
    let mut fresh: HashMap<OrganizationId, Vec<Hash>> = growth
        .trees
        .iter()
        .map(|(id, tree)| (*id, tree.leaves.iter().map(|leaf| leaf.hash).collect()))
        .collect();
    for level in 0..LEVELS {
        let growing: BTreeMap<_, _> = growth.trees.iter().filter(|(_, tree)| tree.completes(level)).collect();
        if growing.is_empty() {
            return Ok(());
        }
        let mut earlier = earlier_hashes(tables, level, &growing).await?;
        let (mut tiles, mut roots) = (Vec::new(), HashMap::new());
        for (id, tree) in growing {
            let mut hashes = earlier.remove(id).unwrap_or_default();
            hashes.extend(fresh.remove(id).unwrap_or_default());
            let full = full_tiles(*id, tree, level, &hashes)?;
            roots.insert(*id, full.iter().map(|tile| tile.root).collect());
            tiles.extend(full);
        }
        insert_tiles(tables, level, &tiles).await?;
        fresh = roots;
    }
    Ok(())
}

/// The full tiles among hashes that begin where the first of them does.
fn full_tiles(
    organization_id: OrganizationId,
    tree: &Tree,
    level: u32,
    hashes: &[Hash],
) -> Result<Vec<FullTile>, sqlx::Error> {
    let (before, after) = tree.widths(level);
    let first = before / TILE_WIDTH;
    let missing = || {
        let text = format!("level {level} of the tree of {organization_id} lacks hashes before {before}");
        sqlx::Error::Decode(text.into())
    };
    if hashes.len() as u64 != after - first * TILE_WIDTH {
        return Err(missing());
    }
    let tile = |(n, hashes): (u64, &[Hash])| {
        Some(FullTile {
            organization_id: organization_id.uuid(),
            n: number(n),
            root: Tile::root_of(hashes)?,
            hashes: hashes.iter().flat_map(|hash| hash.0).collect(),
        })
    };
    Ok((first..).zip(hashes.chunks(256)).filter_map(tile).collect())
}

/// The hashes of tiles that were begun before this page.
async fn earlier_hashes(
    tables: &mut PgConnection,
    level: u32,
    growing: &BTreeMap<&OrganizationId, &Tree>,
) -> Result<HashMap<OrganizationId, Vec<Hash>>, sqlx::Error> {
    let begun: Vec<(Uuid, i64, i64)> = growing
        .iter()
        .map(|(id, tree)| (id.uuid(), tree.widths(level).0))
        .filter(|(_, before)| before % TILE_WIDTH != 0)
        .map(|(id, before)| (id, number(before - before % TILE_WIDTH), number(before)))
        .collect();
    if begun.is_empty() {
        return Ok(HashMap::new());
    }
    let organizations: Vec<Uuid> = begun.iter().map(|(id, ..)| *id).collect();
    let firsts: Vec<i64> = begun.iter().map(|(_, first, _)| *first).collect();
    let befores: Vec<i64> = begun.iter().map(|(.., before)| *before).collect();
    // A row for each tree, not one for each of its up to 255 hashes.
    let rows: Vec<(Uuid, Vec<u8>)> = if level == 0 {
        sqlx::query!(
            r#"
            select l.organization_id, string_agg(l.leaf_hash, ''::bytea order by l.leaf_index) as "hashes!"
            from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as begun (organization_id, first, before)
            join tree_leaves l on l.organization_id = begun.organization_id
                and l.leaf_index >= begun.first and l.leaf_index < begun.before
            group by l.organization_id
            "#,
            &organizations,
            &firsts,
            &befores
        )
        .fetch_all(tables)
        .await?
        .into_iter()
        .map(|row| (row.organization_id, row.hashes))
        .collect()
    } else {
        sqlx::query!(
            r#"
            select t.organization_id, string_agg(t.root, ''::bytea order by t.n) as "hashes!"
            from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as begun (organization_id, first, before)
            join tree_tiles t on t.organization_id = begun.organization_id and t.level = $4
                and t.n >= begun.first and t.n < begun.before
            group by t.organization_id
            "#,
            &organizations,
            &firsts,
            &befores,
            i16::try_from(level - 1).unwrap_or(i16::MAX)
        )
        .fetch_all(tables)
        .await?
        .into_iter()
        .map(|row| (row.organization_id, row.hashes))
        .collect()
    };
    // Every hash has 32 bytes, which the tables check.
    let split = |bytes: &[u8]| bytes.as_chunks().0.iter().copied().map(Hash).collect();
    Ok(rows.iter().map(|(id, hashes)| (OrganizationId::new(*id), split(hashes))).collect())
}

async fn insert_tiles(tables: &mut PgConnection, level: u32, tiles: &[FullTile]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tree_tiles (organization_id, level, n, root, hashes)
        select organization_id, $1, n, root, hashes
        from unnest($2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[]) as full_tiles (organization_id, n, root, hashes)
        ",
        i16::try_from(level).unwrap_or(i16::MAX),
        &tiles.iter().map(|tile| tile.organization_id).collect::<Vec<_>>(),
        &tiles.iter().map(|tile| tile.n).collect::<Vec<_>>(),
        &tiles.iter().map(|tile| tile.root.0.as_slice()).collect::<Vec<_>>() as _,
        &tiles.iter().map(|tile| tile.hashes.as_slice()).collect::<Vec<_>>() as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}

pub(super) async fn save_edges(tables: &mut PgConnection, growth: &Growth) -> Result<(), sqlx::Error> {
    let edges: Vec<Vec<u8>> = growth.trees.values().map(|tree| tree.edge.to_bytes()).collect();
    let roots: Vec<Hash> = growth.trees.values().map(|tree| tree.edge.root()).collect();
    sqlx::query!(
        "
        insert into trees (organization_id, size, edge, root)
        select * from unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bytea[])
        on conflict (organization_id) do update
        set size = excluded.size, edge = excluded.edge, root = excluded.root
        ",
        &growth.organizations(),
        &growth.trees.values().map(|tree| number(tree.edge.size())).collect::<Vec<_>>(),
        &edges,
        &roots.iter().map(|root| root.0.as_slice()).collect::<Vec<_>>() as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}
