//! What a subscription may look like, beyond what its aggregate knows.

use std::collections::BTreeMap;

use carelog_domain::StreamKind;
use carelog_domain::webhook_subscription::WebhookSubscriptionEvent;
use carelog_event_log::StreamKey;
use carelog_webhooks::queries;
use carelog_webhooks::sending::{ExtraHeaders, WebhookUrl};
use http::StatusCode;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::problem::Problem;
use super::super::reading::read;
use super::super::text::Line;

/// An organization may have so many subscriptions; one that is made a second time, under the same key, counts once. Two
/// that are made at the same moment may both find room.
pub(super) async fn check_count(caller: &Caller, id: Uuid) -> Result<(), Problem> {
    // Those of partners too, which one partner does not see.
    let mut tx = read(&caller.api.system.databases.core_app, caller.organization_id, None).await?;
    let others = queries::count_others(&mut tx, caller.organization_id, id).await?;
    tx.commit().await?;
    let maximum = caller.api.webhooks.max_subscriptions;
    if others.is_some_and(|others| others >= i64::from(maximum)) {
        return Err(Problem::new(StatusCode::CONFLICT, "too_many_subscriptions").detail(format!(
            "an organization may have {maximum} subscriptions; delete one that is not needed"
        )));
    }
    Ok(())
}

/// Refuses a subscription that belongs to another partner or to the clinic, as the log has it, which is never behind. What
/// does not exist is left to its aggregate.
pub(super) async fn check_partner(caller: &Caller, id: Uuid) -> Result<(), Problem> {
    let Some(partner_id) = caller.partner() else { return Ok(()) };
    let stream =
        StreamKey { organization_id: caller.organization_id, kind: StreamKind::WebhookSubscription, id };
    let events = caller.api.log().stream(&stream, 0).await?;
    let Some(first) = events.first() else { return Ok(()) };
    match first.decode_as().map_err(|error| Problem::internal(&error))? {
        WebhookSubscriptionEvent::Created(created) if created.partner_id == Some(partner_id) => Ok(()),
        _ => Err(caller.refuse_foreign().await),
    }
}

pub(super) fn checked_url(caller: &Caller, url: Line<2048>) -> Result<String, Problem> {
    WebhookUrl::parse(&String::from(url), &caller.api.policy).map(|url| url.as_str().to_owned()).map_err(
        |error| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code()).and_field("/url", error.to_string())
        },
    )
}

pub(super) fn checked_pace(caller: &Caller, per_tick_limit: Option<u16>) -> Result<Option<u16>, Problem> {
    let maximum = caller.api.webhooks.per_tick_limit.get();
    match per_tick_limit {
        Some(given) if given > maximum => {
            let detail = format!("at most {maximum} deliveries may start in a tick");
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "per_tick_limit_out_of_range")
                .and_field("/per_tick_limit", detail))
        }
        allowed => Ok(allowed),
    }
}

pub(super) fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Problem> {
    ExtraHeaders::parse(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .map(drop)
        .map_err(|refused| Problem::invalid("/headers", refused.to_string()))
}
