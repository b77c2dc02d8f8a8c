//! The console: pages for the people of a clinic and its partners, drawn on the server; only the replay has a script.
//!
//! A page asks the API of this process for what it shows, with the key of whoever signed in. So the console can do
//! nothing that the key cannot, and each of its reads and commands is checked, limited and written down like any other.
//!
//! - [`session`]: signing in and out. The key travels in a cookie that is sealed under the organization's own key.
//! - [`asking`]: asking the API.
//! - [`view`]: what every page looks like.
//! - [`sections`]: which parts a key opens.
//! - [`analytics`]: published figures, as charts and tables.
//! - [`trail`]: the trail as it happened.
//! - [`webhooks`]: subscriptions, what is wrong with them, and what was sent.

mod analytics;
mod asking;
mod sections;
mod session;
mod trail;
mod view;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::Redirect;
use axum::routing::{get, post};

use self::session::Visitor;
pub(super) use self::view::STYLE;
use super::Api;

/// Of a form.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// What the pages share.
#[derive(Clone, Debug)]
struct Console {
    api: Arc<Api>,
    /// The API without anything around it.
    router: Router,
}

/// Every page. `router` answers for the API.
pub(super) fn routes(api: Arc<Api>, router: Router) -> Router {
    Router::new()
        .route("/console", get(async |visitor: Visitor| Redirect::to(visitor.sections.home())))
        .route("/console/sign-in", get(session::page).post(session::sign_in))
        .route("/console/sign-out", post(session::sign_out))
        .route("/console/analytics", get(analytics::list))
        .route("/console/analytics/{view}", get(analytics::show))
        .route("/console/analytics/{view}/{file}", get(analytics::file))
        .route("/console/trail", get(trail::show))
        .route("/console/trail/replay", get(trail::replay))
        .route("/console/trail/replay.js", get(trail::script))
        .route("/console/webhooks", get(webhooks::list))
        .route("/console/webhooks/{subscription_id}", get(webhooks::show))
        .route("/console/webhooks/{subscription_id}/{act}", post(webhooks::act))
        .route("/console/deliveries/{delivery_id}", get(webhooks::delivery).post(webhooks::redeliver))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .with_state(Console { api, router })
}
