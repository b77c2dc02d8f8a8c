//! Trying a subscription out.

use std::sync::Arc;

use axum::response::Response;
use carelog_domain::SubscriptionId;
use carelog_domain::webhook_subscription::{WebhookSubscription, WebhookSubscriptionCommand};
use carelog_event_log::read;
use carelog_webhooks::delivery_id;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::checks::{check_destination, check_partner};
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::command::{Nothing, Wish};
use crate::http::problem::Problem;
use crate::http::{Api, freshness};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(test))
}

/// A delivery that was asked for.
#[derive(Serialize, ToSchema)]
struct TestView<'a> {
    /// The subscription.
    id: Uuid,
    /// The delivery; `GET /v1/webhook-deliveries/{delivery_id}` shows its attempts.
    delivery_id: Uuid,
    /// The subscription's version.
    version: i64,
    /// Give it to a read as `wait_for`.
    position: Option<&'a str>,
}

/// Send a `webhook_subscription.test_requested` to this subscription alone, whatever its filter. It goes the way of any
/// other delivery: signed, checked, and shown with its attempts.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{subscription_id}/test", tag = "webhooks",
    params(("subscription_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 202, description = "Asked for.", body = inline(TestView<'_>))))]
async fn test(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    check_partner(&caller, id).await?;
    check_destination(&caller, &wish.terms, id).await?;
    let command = WebhookSubscriptionCommand::RequestTest;
    let done = caller.change::<WebhookSubscription>(&wish.terms, id, None, command).await?;
    let position = done.answer.position.as_deref();
    let place = position.map(freshness::parse).transpose()?;
    let place = place.ok_or_else(|| Problem::fault("a test leads to an event"))?;
    let mut connection = caller.api.log().pool().acquire().await?;
    let event = read::at(&mut connection, &[(place.lane, place.position)]).await?.pop();
    let event = event.ok_or_else(|| Problem::fault("an event that was appended is not in the log"))?;
    let view = TestView {
        id: done.answer.id,
        delivery_id: delivery_id(event.event_id, SubscriptionId::new(event.stream.id)).uuid(),
        version: done.answer.version,
        position,
    };
    Ok(done.respond(StatusCode::ACCEPTED, &view))
}
