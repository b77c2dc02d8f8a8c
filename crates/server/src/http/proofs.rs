//! What lets a stranger check that nothing was changed or left out: the newest signed checkpoint of the caller's
//! organization, the tiles of its tree (C2SP tlog-tiles, with `/v1/proofs` as the prefix), and proofs.
//!
//! Hashes, sizes and checkpoints go to whoever follows the events. Leaf data says who did what: partners get that of
//! the events that they may see, and bundles of entries are read like the trail, which is an entry of its own.
//! No proof leaves that does not hold.

mod meta;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use carelog_audit::meta::META;
use carelog_audit::proof::{
    Algorithm, Hash, InclusionProof, SignedCheckpoint, TILE_WIDTH, Tile, TilePath, TlogProof, VerifierKey,
    entry_bundle, leaf_hash, verify_consistency, verify_inclusion,
};
use carelog_audit::signer::{self, newest_checkpoint, public_key};
use carelog_audit::trees;
use carelog_domain::access::DenialReason;
use carelog_domain::{EventId, OrganizationId, Role};
use carelog_event_log::RecordedEvent;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{PathName, Query};
use super::caller::Caller;
use super::command::json;
use super::problem::Problem;
use super::{Api, access};
use crate::witness::asking::{cosigned_by, policy_lines};

/// Bytes of a path that are looked at.
const MAX_PATH_BYTES: usize = 64;
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// What never changes, for as long as anybody wants to keep it. The address does not name the organization.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";
/// What is read like the trail, each time anew.
const NEVER: &str = "no-store";
/// What changes with every round of signing.
const FRESH: &str = "private, max-age=1";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(checkpoint))
        .routes(routes!(policy))
        .routes(routes!(tile))
        .routes(routes!(consistency))
        .routes(routes!(event))
        .routes(routes!(tlog_proof))
        .merge(meta::routes())
}

/// Between which sizes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConsistencyQuery {
    /// Leaves of the older tree: the size of a checkpoint that the caller kept.
    from: u64,
    /// Leaves of the newer tree; that of the newest checkpoint where it is absent.
    to: Option<u64>,
}

/// That a tree begins with an older one (RFC 9162 §2.1.4).
#[derive(Debug, Serialize, ToSchema)]
struct ConsistencyView {
    /// Leaves of the older tree.
    from: u64,
    /// Leaves of the newer tree.
    to: u64,
    /// The proof, each hash in base64.
    hashes: Vec<String>,
    /// The signed checkpoint of the newer tree, where it is the newest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

/// That an event is in the tree (RFC 9162 §2.1.3).
#[derive(Debug, Serialize, ToSchema)]
struct InclusionView {
    /// The event's gapless place among the organization's events.
    sequence: i64,
    /// The event.
    #[schema(value_type = Uuid)]
    event_id: EventId,
    /// Its place in the tree, from 0.
    index: u64,
    /// Leaves of the tree.
    size: u64,
    /// What is hashed: canonical JSON (RFC 8785) of what the log says about the event, byte for byte.
    leaf_data: String,
    /// SHA-256 over a zero byte and the leaf data, in base64.
    leaf_hash: String,
    /// The proof from the leaf to the root, each hash in base64.
    hashes: Vec<String>,
    /// The signed checkpoint with size and root.
    checkpoint: String,
}

/// How many must have seen it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CheckpointQuery {
    /// Witnesses that must have cosigned the checkpoint. By default none: witnesses are a little behind the newest one.
    #[serde(default)]
    witnesses: u64,
}

/// The newest checkpoint that was signed, or that witnesses have cosigned.
#[utoipa::path(get, path = "/v1/proofs/checkpoint", tag = "proofs", params(CheckpointQuery),
    responses((status = 200, description = "A signed note (C2SP tlog-checkpoint): the log's name, its number of \
        events, the root of their tree, the log's signature, and the cosignatures of the witnesses that have seen it \
        (C2SP tlog-cosignature).", body = String, content_type = "text/plain")))]
async fn checkpoint(caller: Caller, Query(query): Query<CheckpointQuery>) -> Result<Response, Problem> {
    let mut tx = caller.read_trail().await?;
    let (prefix, organization_id) = (&caller.api.origin, caller.organization_id);
    let found = cosigned_by(&mut tx, prefix, organization_id, query.witnesses).await?;
    let checkpoint = found.ok_or_else(not_sealed_yet)?.checkpoint;
    Ok(respond(TEXT, FRESH, checkpoint.to_string()))
}

/// The names and public keys of the log and of the log of checkpoints, and those of the witnesses that are asked, as
/// verifiers want them.
#[utoipa::path(get, path = "/v1/proofs/policy", tag = "proofs",
    responses((status = 200, description = "A policy (C2SP tlog-policy). Whoever wants to check Carelog takes it once, \
        and compares it with what the operator says elsewhere. It asks for no witness; whoever wants to changes its \
        last line.", body = String, content_type = "text/plain")))]
async fn policy(caller: Caller) -> Result<Response, Problem> {
    let key = log_key(&caller, caller.organization_id).await?;
    let witnesses = policy_lines(&caller.api.witnesses);
    let meta = log_key(&caller, META).await?;
    Ok(respond(TEXT, FRESH, format!("log {key}\nlog {meta}\n{witnesses}quorum none\n")))
}

/// A tile of the tree, or the entries below it.
#[utoipa::path(get, path = "/v1/proofs/tile/{*path}", tag = "proofs",
    params(("path" = String, Path, description = "As in C2SP tlog-tiles: `<level>/<n>` or `entries/<n>`, with \
        `.p/<width>` where it is not full, and `n` in groups of three digits: `0/x001/067.p/12`.")),
    responses((status = 200, description = "Hashes, 32 bytes each; or leaf data, each behind its length in two bytes.",
        body = Vec<u8>, content_type = "application/octet-stream")))]
async fn tile(caller: Caller, PathName(path): PathName<String>) -> Result<Response, Problem> {
    if path.len() > MAX_PATH_BYTES {
        return Err(Problem::not_found());
    }
    let path: TilePath = format!("tile/{path}").parse().map_err(|_| Problem::not_found())?;
    let (cache, bytes) = match path {
        TilePath::Hashes { tile, width } => (IMMUTABLE, hashes(&caller, tile, width).await?),
        TilePath::Entries { n, width } => (NEVER, entries(&caller, n, width).await?),
    };
    let bytes = bytes.ok_or_else(Problem::not_found)?;
    Ok(respond(BYTES, cache, bytes))
}

/// That the tree only grew.
#[utoipa::path(get, path = "/v1/proofs/consistency", tag = "proofs", params(ConsistencyQuery),
    responses((status = 200, description = "The proof.", body = ConsistencyView)))]
async fn consistency(caller: Caller, Query(query): Query<ConsistencyQuery>) -> Result<Response, Problem> {
    let checkpoint = newest(&caller).await?;
    let mut tx = caller.read_trail().await?;
    consistent(&mut tx, caller.organization_id, &checkpoint, &query).await
}

/// That an event is in the tree that was signed last.
#[utoipa::path(get, path = "/v1/proofs/events/{sequence}", tag = "proofs",
    params(("sequence" = i64, Path, description = "The event's `sequence`.")),
    responses((status = 200, description = "The proof.", body = InclusionView)))]
async fn event(caller: Caller, PathName(sequence): PathName<i64>) -> Result<Response, Problem> {
    let Proved { event, leaf_data, proof, checkpoint } = prove(&caller, sequence).await?;
    let view = InclusionView {
        sequence,
        event_id: event.event_id,
        index: proof.index,
        size: proof.size,
        leaf_hash: leaf_hash(&leaf_data).to_base64(),
        leaf_data: String::from_utf8(leaf_data).map_err(|error| Problem::internal(&error))?,
        hashes: texts(&proof.hashes),
        checkpoint: checkpoint.to_string(),
    };
    Ok(json(StatusCode::OK, &view))
}

/// The same as a file that can be handed on.
#[utoipa::path(get, path = "/v1/proofs/events/{sequence}/tlog-proof", tag = "proofs",
    params(("sequence" = i64, Path, description = "The event's `sequence`.")),
    responses((status = 200, description = "A proof file (C2SP tlog-proof), with the leaf data as its extra data.",
        body = String, content_type = "text/plain")))]
async fn tlog_proof(caller: Caller, PathName(sequence): PathName<i64>) -> Result<Response, Problem> {
    let Proved { event, leaf_data, proof, checkpoint } = prove(&caller, sequence).await?;
    let file = TlogProof { extra: Some(leaf_data), index: proof.index, hashes: proof.hashes, checkpoint };
    let mut response = respond(TEXT, FRESH, file.to_string());
    let name = format!("attachment; filename=\"{}.tlog-proof\"", event.event_id);
    let name = HeaderValue::from_str(&name).map_err(|error| Problem::internal(&error))?;
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// The proof that a signed tree begins with a smaller one.
async fn consistent(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    checkpoint: &SignedCheckpoint,
    query: &ConsistencyQuery,
) -> Result<Response, Problem> {
    let signed = checkpoint.claim().size;
    let to = query.to.unwrap_or(signed);
    if query.from > to {
        return Err(Problem::invalid_query("from: expected a size that is not above `to`"));
    }
    if to > signed {
        return Err(not_sealed_yet());
    }
    let tree = trees::open(connection, organization_id).await?;
    let mut tree = tree.ok_or_else(not_sealed_yet)?;
    let proof = tree.consistency(query.from, to).await?.ok_or_else(not_sealed_yet)?;
    let newer = if to == signed { checkpoint.claim().root } else { tree.root(to).await? };
    verify_consistency(&proof, tree.root(query.from).await?, newer)
        .map_err(|error| Problem::internal(&error))?;
    let checkpoint = (to == signed).then(|| checkpoint.to_string());
    let view = ConsistencyView { from: query.from, to, hashes: texts(&proof.hashes), checkpoint };
    Ok(json(StatusCode::OK, &view))
}

/// An event with its proof.
struct Proved {
    event: RecordedEvent,
    leaf_data: Vec<u8>,
    proof: InclusionProof,
    checkpoint: SignedCheckpoint,
}

/// Makes a proof of an event that the caller may see, and checks it.
async fn prove(caller: &Caller, sequence: i64) -> Result<Proved, Problem> {
    let log = caller.api.log();
    let mut events = log.organization_at(caller.organization_id, &[sequence]).await?;
    let sees_all = caller.role() != Role::Partner;
    let event = events.pop().filter(|event| sees_all || event.event_type.is_public());
    let event = event.ok_or_else(Problem::not_found)?;
    let checkpoint = newest(caller).await?;
    let size = checkpoint.claim().size;
    let index = u64::try_from(sequence - 1).map_err(|_| Problem::not_found())?;
    if index >= size {
        return Err(not_sealed_yet());
    }
    let mut tx = caller.read_trail().await?;
    let mut tree = trees::open(&mut tx, caller.organization_id).await?.ok_or_else(not_sealed_yet)?;
    let proof = tree.inclusion(index, size).await?.ok_or_else(not_sealed_yet)?;
    let leaf_data = event.leaf_data(log.name());
    verify_inclusion(&proof, leaf_hash(&leaf_data), checkpoint.claim().root)
        .map_err(|error| Problem::internal(&error))?;
    Ok(Proved { event, leaf_data, proof, checkpoint })
}

/// The newest checkpoint that covers an entry of the caller's organization, as it stands beside exports; nothing where none
/// was signed since.
pub(super) async fn covering(caller: &Caller, sequence: i64) -> Result<Option<SignedCheckpoint>, Problem> {
    let mut tx = caller.read_trail().await?;
    let found = cosigned_by(&mut tx, &caller.api.origin, caller.organization_id, 0).await?;
    let found = found.map(|found| found.checkpoint);
    Ok(found.filter(|checkpoint| checkpoint.claim().size >= sequence.unsigned_abs()))
}

/// Hashes of a tile; nothing where the signed tree has not grown so far. What is sealed and not yet signed may be
/// sealed once more after a crash, and is nothing that anybody should keep.
async fn hashes(caller: &Caller, tile: Tile, width: u64) -> Result<Option<Vec<u8>>, Problem> {
    let signed = newest(caller).await?.claim().size;
    if tile.width(signed) < width {
        return Ok(None);
    }
    let mut tx = caller.read_trail().await?;
    match trees::open(&mut tx, caller.organization_id).await? {
        Some(mut tree) => Ok(tree.tile(tile, width).await?),
        None => Ok(None),
    }
}

/// Leaf data of a tile's events; nothing where the tree has not grown so far.
async fn entries(caller: &Caller, n: u64, width: u64) -> Result<Option<Vec<u8>>, Problem> {
    if caller.role() == Role::Partner {
        let refusal = Problem::new(StatusCode::FORBIDDEN, "wrong_role");
        return Err(caller.refuse(DenialReason::WrongRole, refusal).await);
    }
    let log = caller.api.log();
    let first = n.checked_mul(TILE_WIDTH).and_then(|first| i64::try_from(first).ok());
    let (Some(first), Ok(limit)) = (first, i64::try_from(width)) else { return Ok(None) };
    let size = newest(caller).await?.claim().size;
    if first.unsigned_abs().saturating_add(width) > size {
        return Ok(None);
    }
    let events = log.organization(caller.organization_id, first, limit).await?;
    access::record_trail_query(caller, None, events.len()).await?;
    let leaves: Vec<Vec<u8>> = events.iter().map(|event| event.leaf_data(log.name())).collect();
    let bundle = entry_bundle(leaves.iter().map(Vec::as_slice));
    bundle.map(Some).ok_or_else(|| Problem::fault("leaf data is longer than an entry may be"))
}

async fn newest(caller: &Caller) -> Result<SignedCheckpoint, Problem> {
    let mut tx = caller.read_trail().await?;
    let newest = newest_checkpoint(&mut tx, &caller.api.origin, caller.organization_id).await?;
    Ok(newest.ok_or_else(not_sealed_yet)?.checkpoint)
}

async fn log_key(caller: &Caller, organization_id: OrganizationId) -> Result<VerifierKey, Problem> {
    let mut tx = caller.read_trail().await?;
    let public = public_key(&mut tx, &caller.api.origin).await?.ok_or_else(not_sealed_yet)?;
    let origin = signer::origin(&caller.api.origin, organization_id);
    VerifierKey::new(&origin, Algorithm::Ed25519, public).map_err(|error| Problem::internal(&error))
}

fn not_sealed_yet() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_sealed_yet")
        .detail("no signed checkpoint covers it yet: try again in a few seconds")
        .retry_after(5)
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| hash.to_base64()).collect()
}

fn respond(content_type: &'static str, cache: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("authorization"));
    response
}
