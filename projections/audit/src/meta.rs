//! The log of checkpoints: one tree for the whole installation, whose leaves are the texts of the organizations'
//! checkpoints.
//!
//! An organization whose checkpoints were signed twice, in one history for itself and in another for somebody else, has
//! both in this log, or one of them nowhere that it can be proved. Whoever reads the leaves of one organization sees
//! whether they belong to one tree. A checkpoint that is newer than the last append is not in it yet: bundles carry the
//! proof of the newest that is. A witness for this log alone does not stand for the organizations.
//!
//! It is signed, served and cosigned like the others, under the id of no organization ([`META`]). What it is made of is
//! kept in `signer.meta_leaves`, which no rebuild touches; a rebuild of the trees makes this one from there. A leaf is shown to
//! its own organization alone, because sizes tell how much happens in a clinic; its hash tells nothing.

use carelog_domain::{OrganizationId, Timestamp};
use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::proof::leaf_hash;
use crate::sealer::{GrowError, grow};
use crate::signer::SignerError;

/// In whose place the log of checkpoints stands where logs are told apart by organizations: nobody's.
pub const META: OrganizationId = OrganizationId::new(Uuid::nil());

/// Checkpoints that are appended in one transaction.
const MAX_LEAVES: i64 = 2_000;

/// The advisory lock of whoever appends.
const LOCK: i64 = 0x6361_7265_6d65_7461;

/// A leaf of the log of checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaLeaf {
    /// Its place, from 0.
    pub index: u64,
    /// Whose checkpoint.
    pub organization_id: OrganizationId,
    /// The text of the checkpoint, without signatures: what is hashed.
    pub text: String,
}

/// Appends the newest checkpoint of each organization that has none, or an older one, in the log yet; gives how many
/// were. Grows the tree by whatever it lacks.
///
/// # Errors
/// When the database fails, or the tree is not that of the leaves.
pub fn append<'a>(
    connection: &'a mut PgConnection,
    prefix: &'a str,
    now: Timestamp,
) -> BoxFuture<'a, Result<u64, SignerError>> {
    Box::pin(async move {
        let mut tx = connection.begin_with("begin; set local search_path to proof, public").await?;
        // One process at a time, so that places follow each other.
        lock(&mut tx).await?;
        let appended = sqlx::query!(
            "
            insert into signer.meta_leaves (leaf_index, organization_id, origin, size, text, appended_at)
            select first.leaf_index + row_number() over (order by fresh.signed_at, fresh.organization_id) - 1,
                   fresh.organization_id, fresh.origin, fresh.size, fresh.text, $2
            from (select coalesce(max(leaf_index) + 1, 0) as leaf_index from signer.meta_leaves) first
            cross join (
                select h.organization_id, h.origin, newest.size, newest.signed_at,
                       split_part(newest.note, E'\\n\\n', 1) || E'\\n' as text
                from signer.heads h
                cross join lateral (
                    select c.size, c.note, c.signed_at
                    from signer.checkpoints c
                    where c.organization_id = h.organization_id and c.origin = h.origin
                    order by c.size desc
                    limit 1) newest
                where h.origin = $1 || '/' || h.organization_id::text and h.organization_id <> $3
                    and not exists (
                        select
                        from signer.meta_leaves m
                        where m.organization_id = h.organization_id and m.origin = h.origin and m.size >= newest.size)
                order by newest.signed_at, h.organization_id
                limit $4) fresh
            ",
            prefix,
            OffsetDateTime::from(now),
            META.uuid(),
            MAX_LEAVES
        )
        .execute(&mut *tx)
        .await?;
        grow_tree(&mut tx).await?;
        tx.commit().await?;
        Ok(appended.rows_affected())
    })
}

/// Grows the tree that a rebuild makes by all leaves, in the transaction in which it takes the place of the one that serves.
pub(crate) async fn grow_rebuilt(tx: &mut PgConnection) -> Result<(), SignerError> {
    lock(tx).await?;
    grow_tree(tx).await
}

/// Keeps others from appending until the transaction ends.
async fn lock(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).fetch_one(tx).await?;
    Ok(())
}

/// Appends to the tree the leaves that it lacks: new ones, or all of them in a rebuild. Unqualified names have to mean the
/// tables of `proof`, or those that are to take their place.
async fn grow_tree(tx: &mut PgConnection) -> Result<(), SignerError> {
    loop {
        let rows = sqlx::query!(
            "
            select m.leaf_index, m.text, m.appended_at
            from signer.meta_leaves m
            where m.leaf_index >= coalesce((select t.size from trees t where t.organization_id = $1), 0)
            order by m.leaf_index
            limit $2
            ",
            META.uuid(),
            MAX_LEAVES
        )
        .fetch_all(&mut *tx)
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        let leaves = rows
            .into_iter()
            .map(|row| (row.leaf_index + 1, row.appended_at, leaf_hash(row.text.as_bytes())))
            .collect();
        grow(tx, META, leaves).await.map_err(|error| match error {
            GrowError::Database(error) => SignerError::Database(error),
            GrowError::Seal(_) => {
                SignerError::Stored { column: "meta_leaves.leaf_index", organization_id: META }
            }
        })?;
    }
}

/// Leaves from a place on, in their order: those of one organization, or all.
///
/// # Errors
/// When the database fails.
pub async fn leaves(
    connection: &mut PgConnection,
    organization_id: Option<OrganizationId>,
    from: u64,
    limit: i64,
) -> Result<Vec<MetaLeaf>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        select leaf_index, organization_id, text
        from signer.meta_leaves
        where leaf_index >= $1 and ($2::uuid is null or organization_id = $2)
        order by leaf_index
        limit $3
        ",
        i64::try_from(from).unwrap_or(i64::MAX),
        organization_id.map(OrganizationId::uuid),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| MetaLeaf {
            index: row.leaf_index.unsigned_abs(),
            organization_id: OrganizationId::new(row.organization_id),
            text: row.text,
        })
        .collect())
}

/// The newest leaf of an organization that a tree of so many leaves has, whose checkpoint covers no more than so many events.
///
/// # Errors
/// When the database fails.
pub async fn newest_leaf(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    tree_size: u64,
    most_events: u64,
) -> Result<Option<MetaLeaf>, sqlx::Error> {
    let row = sqlx::query!(
        "
        select leaf_index, text
        from signer.meta_leaves
        where organization_id = $1 and leaf_index < $2 and size <= $3
        order by leaf_index desc
        limit 1
        ",
        organization_id.uuid(),
        i64::try_from(tree_size).unwrap_or(i64::MAX),
        i64::try_from(most_events).unwrap_or(i64::MAX)
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| MetaLeaf { index: row.leaf_index.unsigned_abs(), organization_id, text: row.text }))
}
