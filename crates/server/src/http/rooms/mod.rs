//! The embedded video room: its pages, and the socket by which browsers are introduced to each other.
//!
//! The pages are the same for everybody; who somebody is stands in the link's fragment, which browsers send to nobody.
//! The page tells it in the first message on the socket, so that it is in no log, no referrer and no cookie.
//!
//! - [`pages`]: the page, its script and its style.
//! - [`door`]: who may come in.
//! - [`connection`]: one page's connection.
//! - [`recording`]: recordings that the specialist's page makes.
//! - [`telling`]: what the log hears of it.
//!
//! What a server between two browsers cannot do: it does not see what they send each other, so it can neither cut nor
//! record it (a page does), and each learns the other's network address unless everything goes by a relay. The end of a room is obeyed
//! by the pages; with `relay_only`, the relay's credentials end with it too.

mod connection;
mod door;
mod messages;
mod pages;
mod recording;
mod telling;

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use axum::routing::{get, put};
use axum::{Extension, Router};
use carelog_domain::{AppointmentId, Timestamp};
use carelog_video::embedded::{Hub, Relays, wake};
use http::{HeaderMap, StatusCode, header};
use tokio::sync::Semaphore;

pub(crate) use self::telling::keep;

use self::messages::MAX_MESSAGE_BYTES;
use super::Api;
use super::caller::{address, text};
use super::problem::Problem;
use super::service::Arrival;
use crate::system::System;

/// Connections of pages in one process; each looks at the database every few seconds.
const MAX_CONNECTIONS: usize = 2_000;
/// When to come again if there are as many.
const RETRY_SECONDS: u64 = 5;

/// What the connections share.
#[derive(Clone, Debug)]
pub(super) struct Rooms {
    system: System,
    hub: Hub,
    relays: Arc<Relays>,
    video: carelog_video::Directory,
    places: Arc<Semaphore>,
}

impl Rooms {
    pub(super) fn new(system: System, relays: Relays) -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let video = carelog_video::Directory::new(system.log.clone());
        Self { system, hub: Hub::default(), relays: Arc::new(relays), video, places }
    }

    /// Lets everybody in a room look at it. Where that fails, they do so by themselves in a few seconds.
    pub(super) async fn wake(&self, appointment_id: AppointmentId) {
        let woken =
            async { wake(&mut *self.system.databases.core_app.acquire().await?, appointment_id).await };
        if let Err(error) = woken.await {
            tracing::warn!(error = %error, "a video room cannot be told of a change");
        }
    }

    fn now(&self) -> Timestamp {
        self.system.log.clock().now()
    }

    /// Hears what other processes tell of rooms, until the system stops.
    pub(super) async fn follow(&self) {
        let stop = self.system.runtime.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.hub.follow(&self.system.databases.core_system) => {}
        }
    }
}

/// The pages and the socket.
pub(super) fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/rooms", get(pages::room))
        .route("/rooms/room.js", get(pages::script))
        .route("/rooms/recorder.js", get(pages::recorder))
        .route("/rooms/room.css", get(pages::style))
        .route("/rooms/socket", get(socket))
        .route("/rooms/recordings/{recording_id}/{number}", put(recording::piece))
        .with_state(api)
}

/// `GET /rooms/socket`
async fn socket(
    State(api): State<Arc<Api>>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    admit(&api, &headers, arrival)?;
    let upgrade = upgrade.map_err(|_| Problem::new(StatusCode::UPGRADE_REQUIRED, "not_a_websocket"))?;
    let place = Arc::clone(&api.rooms.places).try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections").retry_after(RETRY_SECONDS)
    })?;
    let (rooms, tasks) = (api.rooms.clone(), api.system.runtime.tasks.clone());
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(move |socket| {
        tasks.track_future(async move {
            connection::serve(rooms, socket).await;
            drop(place);
        })
    }))
}

/// A socket is opened, and a piece sent, by our own page, and not too often. Pages of other sites know no link; still they have no business
/// here.
fn admit(api: &Api, headers: &HeaderMap, arrival: Arrival) -> Result<(), Problem> {
    let origin = text(headers, header::ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
    if origin.is_none() || origin.map(|(_, host)| host) != text(headers, header::HOST.as_str()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_origin"));
    }
    api.limits.check_address(address(arrival.peer, headers, &api.config.trusted_proxies))
}
