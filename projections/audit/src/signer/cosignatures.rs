//! What witnesses said about checkpoints. A cosignature is kept only after it was found true; it is never changed.

use carelog_domain::{OrganizationId, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::store::number;
use super::{Published, SignerError, origin};
use crate::proof::{Cosignature, SignedCheckpoint, VerifierKey};

/// Checkpoints with cosignatures that are looked at behind the newest one.
const MAX_CANDIDATES: i64 = 16;

/// A newest checkpoint that a witness has not cosigned yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncosigned {
    /// Whose log.
    pub organization_id: OrganizationId,
    /// The checkpoint.
    pub checkpoint: SignedCheckpoint,
    /// Leaves of the newest checkpoint that the witness has cosigned, as far as is known here; 0 where there is none.
    pub cosigned: u64,
}

/// A checkpoint with what is known of its witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The checkpoint with its cosignatures.
    pub published: Published,
    /// How many witnesses have cosigned it.
    pub witness_count: u64,
}

/// Which newest checkpoints are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// First part of the names of the logs.
    pub prefix: &'a str,
    /// Who has not cosigned them.
    pub witness: &'a VerifierKey,
    /// Logs that are left out.
    pub paused: &'a [OrganizationId],
    /// Logs that come after all others.
    pub refused: &'a [OrganizationId],
    /// How many.
    pub limit: i64,
}

/// The newest checkpoints that a witness has not cosigned; those that waited longest come first.
///
/// # Errors
/// When the database fails or a stored checkpoint does not parse.
pub async fn uncosigned(
    connection: &mut PgConnection,
    looked: Looked<'_>,
) -> Result<Vec<Uncosigned>, SignerError> {
    let uuids = |ids: &[OrganizationId]| ids.iter().map(|id| id.uuid()).collect::<Vec<Uuid>>();
    let rows = sqlx::query!(
        r#"
        select h.organization_id, newest.note, coalesce(last.size, 0) as "cosigned!"
        from signer.heads h
        cross join lateral (
            select c.size, c.note
            from signer.checkpoints c
            where c.organization_id = h.organization_id and c.origin = h.origin
            order by c.size desc
            limit 1) newest
        left join lateral (
            select s.size, s.cosigned_at
            from signer.cosignatures s
            where s.organization_id = h.organization_id and s.origin = h.origin and s.witness = $2
            order by s.size desc
            limit 1) last on true
        where h.origin = $1 || '/' || h.organization_id::text and newest.size > coalesce(last.size, 0)
            and h.organization_id <> all($4)
        order by h.organization_id = any($5), last.cosigned_at nulls first, h.organization_id
        limit $3
        "#,
        looked.prefix,
        looked.witness.to_string(),
        looked.limit,
        &uuids(looked.paused),
        &uuids(looked.refused)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let organization_id = OrganizationId::new(row.organization_id);
            let checkpoint = parse(&row.note, organization_id)?;
            Ok(Uncosigned { organization_id, checkpoint, cosigned: row.cosigned.unsigned_abs() })
        })
        .collect()
}

/// Leaves of the newest checkpoint of a log that a witness has cosigned, as far as is known here.
///
/// # Errors
/// When the database fails.
pub async fn cosigned_size(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    origin: &str,
    witness: &VerifierKey,
) -> Result<u64, sqlx::Error> {
    let size = sqlx::query_scalar!(
        "select max(size) from signer.cosignatures where organization_id = $1 and origin = $2 and witness = $3",
        organization_id.uuid(),
        origin,
        witness.to_string()
    )
    .fetch_one(connection)
    .await?;
    Ok(size.map_or(0, i64::unsigned_abs))
}

/// Keeps a cosignature that was checked. The first one of a witness for a checkpoint stays.
///
/// # Errors
/// When the database fails.
pub async fn keep_cosignature(
    connection: &mut PgConnection,
    wanted: &Uncosigned,
    cosignature: &Cosignature,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let claim = wanted.checkpoint.claim();
    sqlx::query!(
        "
        insert into signer.cosignatures (organization_id, origin, size, witness, line, cosigned_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict do nothing
        ",
        wanted.organization_id.uuid(),
        &claim.origin,
        number(claim.size),
        cosignature.witness.to_string(),
        cosignature.line().to_string(),
        OffsetDateTime::from(now)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest checkpoint of a log, and behind it the newest ones with cosignatures, each with those that it has.
///
/// # Errors
/// When the database fails or a stored checkpoint does not parse.
pub fn cosigned_checkpoints<'a>(
    connection: &'a mut PgConnection,
    prefix: &'a str,
    organization_id: OrganizationId,
) -> BoxFuture<'a, Result<Vec<Cosigned>, SignerError>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            r#"
            with newest as (
                select c.size
                from signer.checkpoints c
                where c.organization_id = $1 and c.origin = $2
                order by c.size desc
                limit 1),
            seen as (
                select s.size, count(*) as witness_count, string_agg(s.line, '' order by s.witness) as lines
                from signer.cosignatures s
                where s.organization_id = $1 and s.origin = $2
                group by s.size
                order by s.size desc
                limit $3)
            select c.note || coalesce(seen.lines, '') as "note!", c.signed_at,
                   coalesce(seen.witness_count, 0) as "witness_count!"
            from (select size from newest union select size from seen) wanted
            join signer.checkpoints c on c.organization_id = $1 and c.origin = $2 and c.size = wanted.size
            left join seen on seen.size = wanted.size
            order by c.size desc
            "#,
            organization_id.uuid(),
            origin(prefix, organization_id),
            MAX_CANDIDATES
        )
        .fetch_all(connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let checkpoint = parse(&row.note, organization_id)?;
                let published = Published { checkpoint, signed_at: row.signed_at };
                Ok(Cosigned { published, witness_count: row.witness_count.unsigned_abs() })
            })
            .collect()
    })
}

fn parse(note: &str, organization_id: OrganizationId) -> Result<SignedCheckpoint, SignerError> {
    let refused = |_| SignerError::Stored { column: "checkpoints.note", organization_id };
    SignedCheckpoint::parse(note).map_err(refused)
}
