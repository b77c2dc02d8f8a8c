//! The HTTP API: commands in, current state out.
//!
//! A request passes [`Service`], which gives it an id and a deadline, then the router, then the extractors of its
//! handler: [`caller::Caller`] says who calls and whether they may, [`command::Wish`] what they want. Everything
//! that is refused leaves as a [`Problem`]. Each resource has a file of its own, with its routes, its bodies and
//! their descriptions; `openapi` makes the document from them. `console` holds the pages for people, which ask the API.
//!
//! Guarantees
//! - Nobody sees or changes anything outside the organization of their key. A foreign id and an unknown one are
//!   answered alike.
//! - Personal values leave only after the access to them is in the log.
//! - A command is executed once per idempotency key, whoever repeats it and however it was lost.
//! - No answer and no log line quotes what a caller sent.
//!
//! Start reading at `appointments.rs`, then `caller.rs` and `command.rs`.

mod accept;
mod access;
mod analytics;
mod api_keys;
mod appointments;
mod asyncapi;
mod attempts;
mod authentication;
mod authorization;
mod body;
mod caller;
mod command;
mod console;
mod daily_hooks;
mod deliveries;
mod disclosures;
mod docs;
mod event_types;
mod events;
mod files;
mod forms;
mod freshness;
mod health;
mod integrations;
mod legal_holds;
mod limits;
mod listener;
mod me;
mod members;
mod messages;
mod openapi;
mod opening;
mod organizations;
mod page;
mod past;
mod patients;
mod plans;
mod problem;
mod proofs;
mod reading;
mod receiving;
mod references;
mod replays;
mod rooms;
mod schemas;
mod service;
mod specialists;
mod subscriptions;
mod telemetry;
#[cfg(test)]
mod tests;
mod text;
mod trail;
mod video_rooms;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use carelog_domain::{ApiKeyId, Timestamp};
use carelog_event_log::EventLog;
use carelog_webhooks::Directory;
use carelog_webhooks::sending::Vetting;
use http::HeaderValue;
use tokio::sync::OnceCell;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::rooms::keep as keep_rooms;

pub use self::authentication::{OperatorKey, load_or_create_operator_key};
pub use self::problem::{FieldProblem, Problem};
pub use self::service::{Service, body_bytes};
pub use self::telemetry::{install as install_metrics, keep_up as keep_metrics_up};

pub(crate) use self::listener::serve;
pub(crate) use self::trail::{trail_lines, trail_table};

use self::authentication::{KeyCache, Principal};
use self::limits::Limits;
use self::references::References;
use crate::config::{Config, ExportsConfig, HttpConfig, WebhooksConfig, WitnessAddress};
use crate::signing;
use crate::system::System;

/// What the handlers share.
#[derive(Debug)]
pub struct Api {
    system: System,
    config: HttpConfig,
    operator: OperatorKey,
    keys: KeyCache,
    limits: Limits,
    references: References,
    vetting: Vetting,
    webhooks: WebhooksConfig,
    subscriptions: Directory,
    /// First part of the names of the logs that are signed.
    origin: Arc<str>,
    /// Who cosigns their checkpoints.
    witnesses: Vec<WitnessAddress>,
    checks: files::Checks,
    exports: ExportsConfig,
    video: carelog_video::Directory,
    rooms: rooms::Rooms,
    /// Where Daily is.
    daily_url: String,
    /// How browsers reach this, in links to rooms.
    public_url: Option<String>,
    /// Which pages may frame a chart.
    chart_policy: HeaderValue,
    /// The data dictionary, once somebody asked for it.
    analytics_page: OnceCell<bytes::Bytes>,
}

impl Api {
    /// The API of a running system. `vetting` says where subscriptions may lead.
    pub fn new(system: System, config: &Config, operator: OperatorKey, vetting: Vetting) -> Self {
        let pool = system.databases.core_system.clone();
        Self {
            subscriptions: Directory::new(system.log.clone(), pool, vetting.policy().clone()),
            video: carelog_video::Directory::new(system.log.clone()),
            rooms: rooms::Rooms::new(system.clone(), config.video.relays()),
            daily_url: config.video.daily_url.clone(),
            public_url: config.video.public_url.clone(),
            limits: Limits::new(&config.http),
            keys: KeyCache::new(),
            references: References::new(),
            origin: signing::origin_prefix(&config.proofs, &system.log),
            witnesses: config.proofs.witnesses.clone(),
            checks: files::Checks::default(),
            exports: config.exports.clone(),
            chart_policy: config.analytics.chart_policy(),
            analytics_page: OnceCell::new(),
            system,
            config: config.http.clone(),
            webhooks: config.webhooks.clone(),
            operator,
            vetting,
        }
    }

    /// The router with everything around it.
    pub fn service(self: Arc<Self>) -> Service {
        let deadline = self.config.request_timeout();
        let (documented, _) = resources().split_for_parts();
        let console = console::routes(Arc::clone(&self), documented.clone().with_state(Arc::clone(&self)));
        let rooms = rooms::routes(Arc::clone(&self));
        let watching = watching(self.system.clone());
        let router: Router = documented
            .route("/openapi.json", get(openapi::serve))
            .route("/asyncapi.json", get(asyncapi::serve))
            .route("/docs", get(docs::serve))
            .route("/docs/analytics", get(docs::analytics::serve))
            .route("/docs/events", get(docs::events::serve))
            .route(analytics::embedding::PATH, get(analytics::embedding::serve))
            .route(daily_hooks::PATH, post(daily_hooks::receive))
            .fallback(async || Problem::not_found())
            .with_state(self)
            .merge(watching)
            .merge(console)
            .merge(rooms);
        Service::new(router, deadline)
    }

    /// Hears what other processes tell of video rooms, until the system stops.
    pub async fn follow_rooms(&self) {
        self.rooms.follow().await;
    }

    /// Forgets what has become old; to be called now and then.
    pub fn tidy(&self) {
        self.limits.tidy();
    }

    fn log(&self) -> &EventLog {
        &self.system.log
    }

    fn now(&self) -> Timestamp {
        self.log().clock().now()
    }

    async fn look_up_key(&self, id: ApiKeyId) -> Result<Option<Principal>, Problem> {
        let mut tx = reading::read_all(&self.system.databases.core_system).await?;
        let record = carelog_records::queries::find_api_key(&mut tx, id).await?;
        tx.commit().await?;
        Ok(record.map(|record| Principal {
            organization_id: record.organization_id,
            api_key_id: record.api_key_id,
            role: record.role,
            scopes: record.scopes,
            patient_id: record.patient_id,
            specialist_id: record.specialist_id,
            member_id: record.member_id,
            secret_sha256: *record.secret_sha256.bytes(),
            expires_at: record.expires_at,
            is_revoked: record.revoked_at.is_some(),
        }))
    }
}

/// What tells how the process does, which it tells without the API too.
fn watching(system: System) -> Router {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(telemetry::serve))
        .with_state(system)
}

/// Health and metrics alone, with everything around them.
pub(crate) fn watching_service(system: System, config: &HttpConfig) -> Service {
    Service::new(watching(system).fallback(async || Problem::not_found()), config.request_timeout())
}

/// Every documented route.
fn resources() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(organizations::routes())
        .merge(me::routes())
        .merge(integrations::routes())
        .merge(members::routes())
        .merge(api_keys::routes())
        .merge(patients::routes())
        .merge(legal_holds::routes())
        .merge(specialists::routes())
        .merge(appointments::routes())
        .merge(forms::routes())
        .merge(files::routes())
        .merge(plans::routes())
        .merge(video_rooms::routes())
        .merge(subscriptions::routes())
        .merge(deliveries::routes())
        .merge(attempts::routes())
        .merge(replays::routes())
        .merge(event_types::routes())
        .merge(messages::routes())
        .merge(events::routes())
        .merge(trail::routes())
        .merge(past::routes())
        .merge(disclosures::routes())
        .merge(proofs::routes())
        .merge(analytics::routes())
}
