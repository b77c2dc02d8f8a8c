//! The database's part of a round.

use carelog_domain::{OrganizationId, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{KeyHolder, Published, Refusal, Signed, SignerError, Wish, origin};
use crate::proof::{ConsistencyProof, Hash, SignedCheckpoint};
use crate::trees::{self, TreeError};

/// Trees that are signed in one round; the others follow in the next, before those that were signed in this one.
const MAX_WISHES: usize = 500;

/// What a round asks of the holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Trees that have grown.
    pub wishes: Vec<Wish>,
    /// Trees that the holder need not even be asked about.
    pub refusals: Vec<Refusal>,
}

/// How long the oldest event of a checkpoint has waited for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    /// The organization.
    pub organization_id: OrganizationId,
    /// Microseconds between the event's commit and the signature.
    pub micros: i64,
}

/// A tree, and what was published of it.
struct Candidate {
    organization_id: OrganizationId,
    size: u64,
    root: Vec<u8>,
    published: u64,
}

/// The public key that signs the logs whose names begin so, once one has.
///
/// # Errors
/// When the database fails.
pub async fn public_key(
    connection: &mut PgConnection,
    prefix: &str,
) -> Result<Option<[u8; 32]>, sqlx::Error> {
    let key = sqlx::query_scalar!("select public_key from signer.keys where origin = $1", prefix)
        .fetch_optional(connection)
        .await?;
    Ok(key.and_then(|key| key.try_into().ok()))
}

/// Says that this key signs the logs whose names begin so, unless another one does. Gives the one that does.
///
/// # Errors
/// When the database fails.
pub async fn register_key(
    connection: &mut PgConnection,
    prefix: &str,
    public: [u8; 32],
    now: Timestamp,
) -> Result<Option<[u8; 32]>, sqlx::Error> {
    sqlx::query!(
        "insert into signer.keys (origin, public_key, created_at) values ($1, $2, $3) on conflict do nothing",
        prefix,
        public.as_slice(),
        OffsetDateTime::from(now)
    )
    .execute(&mut *connection)
    .await?;
    public_key(connection, prefix).await
}

/// Finds the trees that have grown since they were signed, and proves their growth. `prefix` is the first part of
/// the logs' names.
///
/// # Errors
/// When the database fails. A tree that contradicts what was signed is no error but a refusal.
pub fn prepare<'a>(
    connection: &'a mut PgConnection,
    prefix: &'a str,
    holder: &'a KeyHolder,
) -> BoxFuture<'a, Result<Prepared, SignerError>> {
    Box::pin(async move {
        let candidates = candidates(connection, prefix).await?;
        let mut prepared = Prepared { refusals: vanished(prefix, holder, &candidates), wishes: Vec::new() };
        for candidate in candidates {
            if prepared.wishes.len() == MAX_WISHES {
                break;
            }
            match consider(connection, prefix, holder, &candidate).await {
                Ok(Ok(Some(wish))) => prepared.wishes.push(wish),
                Ok(Ok(None)) => {}
                Ok(Err(refusal)) => prepared.refusals.push(refusal),
                Err(error) => return Err(error),
            }
        }
        announce(connection, &prepared.wishes).await?;
        Ok(prepared)
    })
}

async fn candidates(connection: &mut PgConnection, prefix: &str) -> Result<Vec<Candidate>, SignerError> {
    let rows = sqlx::query!(
        r#"
        select t.organization_id, t.size, t.root, coalesce(published.size, 0) as "published!"
        from proof.trees t
        left join lateral (
            select c.size, c.signed_at
            from signer.checkpoints c
            where c.organization_id = t.organization_id and c.origin = $1 || '/' || t.organization_id::text
            order by c.size desc
            limit 1) published on true
        order by published.signed_at nulls first, t.organization_id
        "#,
        prefix
    )
    .fetch_all(connection)
    .await?;
    let candidate = |organization_id, size: i64, root, published: i64| Candidate {
        organization_id: OrganizationId::new(organization_id),
        size: size.unsigned_abs(),
        root,
        published: published.unsigned_abs(),
    };
    Ok(rows
        .into_iter()
        .map(|row| candidate(row.organization_id, row.size, row.root, row.published))
        .collect())
}

/// Logs that were signed and have no tree any more.
fn vanished(prefix: &str, holder: &KeyHolder, candidates: &[Candidate]) -> Vec<Refusal> {
    let known: std::collections::HashSet<String> =
        candidates.iter().map(|candidate| origin(prefix, candidate.organization_id)).collect();
    holder
        .origins()
        .filter(|(name, _)| is_of(prefix, name) && !known.contains(*name))
        .map(|(name, signed)| Refusal::Shrunk { origin: name.to_owned(), signed, found: 0 })
        .collect()
}

/// Whether a log's name is this prefix and an organization.
fn is_of(prefix: &str, name: &str) -> bool {
    let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|id| id.parse::<Uuid>().is_ok())
}

async fn consider(
    connection: &mut PgConnection,
    prefix: &str,
    holder: &KeyHolder,
    candidate: &Candidate,
) -> Result<Result<Option<Wish>, Refusal>, SignerError> {
    let &Candidate { organization_id, size, published, .. } = candidate;
    let origin = origin(prefix, organization_id);
    let last = holder.last(&origin);
    let (signed, signed_root) = last.map_or((0, None), |(size, root)| (size, Some(root)));
    if published > signed {
        return Ok(Err(Refusal::Forgotten { origin, published, remembered: signed }));
    }
    if size < signed {
        return Ok(Err(Refusal::Shrunk { origin, signed, found: size }));
    }
    let stored = Hash::from_slice(&candidate.root);
    if size == signed && stored != signed_root {
        return Ok(Err(Refusal::Changed { origin, signed }));
    }
    if size == published {
        return Ok(Ok(None));
    }
    let Some(mut tree) = trees::open(connection, organization_id).await? else { return Ok(Ok(None)) };
    let proof = async {
        let root = tree.root(size).await?;
        Ok::<_, TreeError>((root, tree.consistency(signed, size).await?))
    };
    let (root, growth) = match proof.await {
        Ok((root, Some(growth))) if Some(root) == stored => (root, growth),
        Ok(_) | Err(TreeError::Missing { .. } | TreeError::Stored { .. }) => {
            return Ok(Err(Refusal::Damaged { origin }));
        }
        Err(error @ TreeError::Database(_)) => return Err(error.into()),
    };
    let growth = ConsistencyProof { old_size: signed, new_size: size, ..growth };
    Ok(Ok(Some(Wish { organization_id, origin, size, root, growth, covered: published })))
}

/// Writes down what is about to be signed. Sealed pages are committed without waiting for the disk; this commit
/// waits, and with it reaches the disk whatever was committed before. So no crash takes away what a signature covers.
async fn announce(connection: &mut PgConnection, wishes: &[Wish]) -> Result<(), sqlx::Error> {
    if wishes.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into signer.heads (organization_id, origin, size, root)
        select * from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bytea[])
        on conflict (organization_id, origin) do update set size = excluded.size, root = excluded.root
        ",
        &wishes.iter().map(|wish| wish.organization_id.uuid()).collect::<Vec<_>>(),
        &wishes.iter().map(|wish| wish.origin.clone()).collect::<Vec<_>>(),
        &wishes.iter().map(|wish| number(wish.size)).collect::<Vec<_>>(),
        &wishes.iter().map(|wish| wish.root.0.as_slice()).collect::<Vec<_>>() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Keeps what was signed, and says how long the oldest event of each checkpoint has waited.
///
/// # Errors
/// When the database fails.
pub fn publish<'a>(
    connection: &'a mut PgConnection,
    signed: &'a [Signed],
    now: Timestamp,
) -> BoxFuture<'a, Result<Vec<Delay>, SignerError>> {
    Box::pin(async move {
        let organizations: Vec<Uuid> = signed.iter().map(|one| one.organization_id.uuid()).collect();
        let claims: Vec<_> = signed.iter().map(|one| one.checkpoint.claim()).collect();
        sqlx::query!(
            "
            insert into signer.checkpoints (organization_id, origin, size, root, note, signed_at)
            select organization_id, origin, size, root, note, $6
            from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bytea[], $5::text[])
                as signed (organization_id, origin, size, root, note)
            on conflict do nothing
            ",
            &organizations,
            &claims.iter().map(|claim| claim.origin.clone()).collect::<Vec<_>>(),
            &claims.iter().map(|claim| number(claim.size)).collect::<Vec<_>>(),
            &claims.iter().map(|claim| claim.root.0.as_slice()).collect::<Vec<_>>() as _,
            &signed.iter().map(|one| one.checkpoint.to_string()).collect::<Vec<_>>(),
            OffsetDateTime::from(now)
        )
        .execute(&mut *connection)
        .await?;
        let rows = sqlx::query!(
            "
            select l.organization_id, l.recorded_at
            from unnest($1::uuid[], $2::bigint[]) as first (organization_id, leaf_index)
            join proof.tree_leaves l
                on l.organization_id = first.organization_id and l.leaf_index = first.leaf_index
            ",
            &organizations,
            &signed.iter().map(|one| number(one.covered)).collect::<Vec<_>>()
        )
        .fetch_all(connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let organization_id = OrganizationId::new(row.organization_id);
                let recorded_at = timestamp(row.recorded_at, organization_id)?;
                Ok(Delay { organization_id, micros: now.micros_since(recorded_at).max(0) })
            })
            .collect()
    })
}

fn timestamp(at: OffsetDateTime, organization_id: OrganizationId) -> Result<Timestamp, SignerError> {
    let refused = |_| SignerError::Stored { column: "tree_leaves.recorded_at", organization_id };
    Timestamp::try_from(at).map_err(refused)
}

/// When the oldest sealed event that no checkpoint covers was written to the log.
///
/// # Errors
/// When the database fails.
pub async fn oldest_unsigned(
    connection: &mut PgConnection,
    prefix: &str,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select min(l.recorded_at)
        from proof.trees t
        left join lateral (
            select c.size
            from signer.checkpoints c
            where c.organization_id = t.organization_id and c.origin = $1 || '/' || t.organization_id::text
            order by c.size desc
            limit 1) published on true
        join proof.tree_leaves l
            on l.organization_id = t.organization_id and l.leaf_index = coalesce(published.size, 0)
        "#,
        prefix
    )
    .fetch_one(connection)
    .await
}

/// The newest checkpoint of an organization's log, with the cosignatures that it has; nothing where none was signed yet.
///
/// # Errors
/// When the database fails or a stored checkpoint does not parse.
pub fn newest_checkpoint<'a>(
    connection: &'a mut PgConnection,
    prefix: &'a str,
    organization_id: OrganizationId,
) -> BoxFuture<'a, Result<Option<Published>, SignerError>> {
    Box::pin(async move {
        let row = sqlx::query!(
            r#"
            select c.note || coalesce(
                       (select string_agg(s.line, '' order by s.witness)
                        from signer.cosignatures s
                        where s.organization_id = c.organization_id and s.origin = c.origin and s.size = c.size),
                       '') as "note!",
                   c.signed_at
            from signer.checkpoints c
            where c.organization_id = $1 and c.origin = $2
            order by c.size desc
            limit 1
            "#,
            organization_id.uuid(),
            origin(prefix, organization_id)
        )
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let refused = |_| SignerError::Stored { column: "checkpoints.note", organization_id };
        let checkpoint = SignedCheckpoint::parse(&row.note).map_err(refused)?;
        Ok(Some(Published { checkpoint, signed_at: row.signed_at }))
    })
}

/// A checkpoint to be handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Whose log.
    pub organization_id: OrganizationId,
    /// The signed note.
    pub note: String,
    /// When it was signed.
    pub signed_at: OffsetDateTime,
}

/// The newest checkpoint of each log.
///
/// # Errors
/// When the database fails.
pub async fn newest_of_each(connection: &mut PgConnection, prefix: &str) -> Result<Vec<Fresh>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        select h.organization_id, newest.note, newest.signed_at
        from signer.heads h
        cross join lateral (
            select c.note, c.signed_at
            from signer.checkpoints c
            where c.organization_id = h.organization_id and c.origin = h.origin
            order by c.size desc
            limit 1) newest
        where h.origin = $1 || '/' || h.organization_id::text
        ",
        prefix
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| fresh(row.organization_id, row.note, row.signed_at)).collect())
}

/// The newest checkpoint of each log that was signed after a moment.
///
/// # Errors
/// When the database fails.
pub async fn signed_since(
    connection: &mut PgConnection,
    prefix: &str,
    since: OffsetDateTime,
) -> Result<Vec<Fresh>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        select distinct on (organization_id) organization_id, note, signed_at
        from signer.checkpoints
        where signed_at > $2 and origin = $1 || '/' || organization_id::text
        order by organization_id, size desc
        ",
        prefix,
        since
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| fresh(row.organization_id, row.note, row.signed_at)).collect())
}

const fn fresh(organization_id: Uuid, note: String, signed_at: OffsetDateTime) -> Fresh {
    Fresh { organization_id: OrganizationId::new(organization_id), note, signed_at }
}
