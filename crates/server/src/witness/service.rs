//! The protocol over HTTP (C2SP tlog-witness): `POST /add-checkpoint` and `GET /<hash of the origin>/checkpoint`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use carelog_audit::proof::{AddCheckpoint, WitnessRefusal};
use carelog_event_log::Clock;
use http::{StatusCode, header};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::{Memory, WitnessError};

/// Longest body that is read: a checkpoint with a hundred signatures and the longest proof take half of it.
const MAX_BODY_BYTES: usize = 64 << 10;
const TEXT: &str = "text/plain; charset=utf-8";
/// The type that the specification gives the size in a conflict.
const SIZE: &str = "text/x.tlog.size";

/// A witness as it answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: TaskTracker,
}

pub(super) fn router(answering: Answering) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin_hash}/checkpoint", get(checkpoint))
        .with_state(answering)
}

async fn add_checkpoint(State(answering): State<Answering>, body: Body) -> Response {
    let Ok(bytes) = to_bytes(body, MAX_BODY_BYTES).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or broke off\n").into_response();
    };
    // One after the other, so that no two requests are judged by the same memory. The disk is waited for.
    let tasks = answering.tasks.clone();
    let answered = tasks.spawn_blocking(move || answering.add(&bytes)).await;
    answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn checkpoint(State(answering): State<Answering>, Path(origin_hash): Path<String>) -> Response {
    let memory = answering.memory.lock().unwrap_or_else(PoisonError::into_inner);
    match memory.newest(&origin_hash) {
        Some(checkpoint) => ([(header::CONTENT_TYPE, TEXT)], checkpoint.to_string()).into_response(),
        None => (StatusCode::NOT_FOUND, "nothing of this log was cosigned\n").into_response(),
    }
}

impl Answering {
    fn add(&self, body: &[u8]) -> Response {
        let request = std::str::from_utf8(body).map_err(|_| WitnessRefusal::Malformed);
        let request = match request.and_then(AddCheckpoint::parse) {
            Ok(request) => request,
            Err(refusal) => return refused(&refusal),
        };
        let claim = request.checkpoint.claim();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let unix_seconds = self.clock.now().unix_seconds().unsigned_abs();
        match memory.add(&request, unix_seconds) {
            Ok(cosignature) => {
                info!(log.origin = claim.origin, tree.size = claim.size, "cosigned");
                ([(header::CONTENT_TYPE, TEXT)], cosignature.line().to_string()).into_response()
            }
            Err(WitnessError::Refused(refusal)) => {
                if refusal == WitnessRefusal::Unproven {
                    // What the log has signed is the proof that it contradicts itself.
                    warn!(
                        log.origin = claim.origin,
                        old.size = request.old_size,
                        checkpoint = request.checkpoint.to_string(),
                        "a checkpoint does not continue what was cosigned"
                    );
                }
                refused(&refusal)
            }
            Err(failure) => {
                error!(error = %failure, "a checkpoint cannot be kept, so it is not cosigned");
                (StatusCode::INTERNAL_SERVER_ERROR, "the checkpoint cannot be kept\n").into_response()
            }
        }
    }
}

fn refused(refusal: &WitnessRefusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match refusal {
        WitnessRefusal::Conflict { size } => {
            (status, [(header::CONTENT_TYPE, SIZE)], format!("{size}\n")).into_response()
        }
        _ => (status, [(header::CONTENT_TYPE, TEXT)], format!("{refusal}\n")).into_response(),
    }
}
