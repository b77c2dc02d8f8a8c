//! The log of checkpoints, one for the whole installation. Hashes, sizes and checkpoints go to whoever follows a clinic's
//! events; of its leaves each clinic gets its own.

use std::sync::Arc;

use axum::response::Response;
use carelog_audit::meta::{self, META, MetaLeaf};
use carelog_audit::proof::{
    InclusionProof, SignedCheckpoint, TilePath, TlogProof, leaf_hash, verify_inclusion,
};
use carelog_audit::trees;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, Transaction};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    BYTES, CheckpointQuery, ConsistencyQuery, ConsistencyView, FRESH, IMMUTABLE, MAX_PATH_BYTES, TEXT,
    consistent, not_sealed_yet, respond,
};
use crate::http::Api;
use crate::http::body::{PathName, Query};
use crate::http::caller::Caller;
use crate::http::command::json;
use crate::http::problem::Problem;
use crate::witness::asking::cosigned_by;

/// Leaves on one page.
const PAGE: u16 = 200;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(checkpoint))
        .routes(routes!(tile))
        .routes(routes!(consistency))
        .routes(routes!(leaves))
        .routes(routes!(tlog_proof))
}

/// Where to go on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LeavesQuery {
    /// The first place that is looked at, from 0.
    #[serde(default)]
    from: u64,
}

/// The clinic's own checkpoints in the log of checkpoints.
#[derive(Debug, Serialize, ToSchema)]
struct LeavesView {
    /// In the order of the log.
    items: Vec<LeafView>,
    /// Give it as `from` to see more; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
struct LeafView {
    /// Its place in the log of checkpoints, from 0.
    index: u64,
    /// What is hashed: the text of the checkpoint, without signatures.
    checkpoint: String,
}

/// The newest checkpoint of the log of checkpoints.
#[utoipa::path(get, path = "/v1/proofs/meta/checkpoint", tag = "proofs", params(CheckpointQuery),
    responses((status = 200, description = "A signed note, as of a clinic's log.", body = String,
        content_type = "text/plain")))]
async fn checkpoint(caller: Caller, Query(query): Query<CheckpointQuery>) -> Result<Response, Problem> {
    let newest = newest(&caller, query.witnesses).await?;
    Ok(respond(TEXT, FRESH, newest.to_string()))
}

/// A tile of the log of checkpoints.
#[utoipa::path(get, path = "/v1/proofs/meta/tile/{*path}", tag = "proofs",
    params(("path" = String, Path, description = "As in C2SP tlog-tiles: `<level>/<n>`, with `.p/<width>` where it is \
        not full. Entries are not served as tiles, since each clinic sees its own alone.")),
    responses((status = 200, description = "Hashes, 32 bytes each.", body = Vec<u8>,
        content_type = "application/octet-stream")))]
async fn tile(caller: Caller, PathName(path): PathName<String>) -> Result<Response, Problem> {
    if path.len() > MAX_PATH_BYTES {
        return Err(Problem::not_found());
    }
    let path: TilePath = format!("tile/{path}").parse().map_err(|_| Problem::not_found())?;
    let TilePath::Hashes { tile, width } = path else { return Err(Problem::not_found()) };
    if tile.width(newest(&caller, 0).await?.claim().size) < width {
        return Err(Problem::not_found());
    }
    let mut tx = read(&caller).await?;
    let mut tree = trees::open(&mut tx, META).await?.ok_or_else(Problem::not_found)?;
    let bytes = tree.tile(tile, width).await?.ok_or_else(Problem::not_found)?;
    Ok(respond(BYTES, IMMUTABLE, bytes))
}

/// That the log of checkpoints only grew.
#[utoipa::path(get, path = "/v1/proofs/meta/consistency", tag = "proofs", params(ConsistencyQuery),
    responses((status = 200, description = "The proof.", body = ConsistencyView)))]
async fn consistency(caller: Caller, Query(query): Query<ConsistencyQuery>) -> Result<Response, Problem> {
    let checkpoint = newest(&caller, 0).await?;
    consistent(&mut *read(&caller).await?, META, &checkpoint, &query).await
}

/// The clinic's own leaves of the log of checkpoints. All of them have to be of one tree.
#[utoipa::path(get, path = "/v1/proofs/meta/leaves", tag = "proofs", params(LeavesQuery),
    responses((status = 200, description = "One page.", body = LeavesView)))]
async fn leaves(caller: Caller, Query(query): Query<LeavesQuery>) -> Result<Response, Problem> {
    let own = Some(caller.organization_id);
    let mut tx = caller.read_trail().await?;
    let found = meta::leaves(&mut tx, own, query.from, i64::from(PAGE)).await?;
    tx.commit().await?;
    let next = found.last().filter(|_| found.len() == usize::from(PAGE)).map(|last| last.index + 1);
    let view = |leaf: MetaLeaf| LeafView { index: leaf.index, checkpoint: leaf.text };
    Ok(json(StatusCode::OK, &LeavesView { items: found.into_iter().map(view).collect(), next }))
}

/// That a checkpoint of the clinic is in the log of checkpoints: the newest one that is.
#[utoipa::path(get, path = "/v1/proofs/meta/tlog-proof", tag = "proofs",
    responses((status = 200, description = "A proof file (C2SP tlog-proof), with the text of the clinic's checkpoint as \
        its extra data.", body = String, content_type = "text/plain")))]
async fn tlog_proof(caller: Caller) -> Result<Response, Problem> {
    let checkpoint = newest(&caller, 0).await?;
    let tree = checkpoint.claim();
    let mut tx = read(&caller).await?;
    let leaf = meta::newest_leaf(&mut tx, caller.organization_id, tree.size, u64::MAX).await?;
    let leaf = leaf.ok_or_else(not_sealed_yet)?;
    let mut reader = trees::open(&mut tx, META).await?.ok_or_else(not_sealed_yet)?;
    let proof: InclusionProof = reader.inclusion(leaf.index, tree.size).await?.ok_or_else(not_sealed_yet)?;
    verify_inclusion(&proof, leaf_hash(leaf.text.as_bytes()), tree.root)
        .map_err(|error| Problem::internal(&error))?;
    let extra = Some(leaf.text.into_bytes());
    let file = TlogProof { extra, index: proof.index, hashes: proof.hashes, checkpoint };
    Ok(respond(TEXT, FRESH, file.to_string()))
}

/// Rows of nobody are shown to nobody who is bound to an organization: what is read so is named by its place alone.
async fn read(caller: &Caller) -> Result<Transaction<'static, Postgres>, Problem> {
    let pool = &caller.api.system.databases.audit_system;
    Ok(pool.begin_with("begin read only").await?)
}

async fn newest(caller: &Caller, witness_count: u64) -> Result<SignedCheckpoint, Problem> {
    let mut tx = read(caller).await?;
    let found = cosigned_by(&mut tx, &caller.api.origin, META, witness_count).await?;
    Ok(found.ok_or_else(not_sealed_yet)?.checkpoint)
}
