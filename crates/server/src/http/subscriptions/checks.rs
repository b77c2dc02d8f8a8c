//! What a subscription may look like, beyond what its aggregate knows.

use std::collections::BTreeMap;

use carelog_domain::webhook_subscription::WebhookSubscriptionEvent;
use carelog_domain::{StreamKind, SubscriptionId};
use carelog_event_log::StreamKey;
use carelog_webhooks::queries;
use carelog_webhooks::sending::{ExtraHeaders, UrlError, WebhookUrl};
use http::StatusCode;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::command::Terms;
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

/// The URL in its normal form, where it leads to no address that is refused. Where its name leads by now does not matter
/// to a repeated request.
pub(super) async fn checked_url(caller: &Caller, terms: &Terms, url: Line<2048>) -> Result<String, Problem> {
    let refused = |error: UrlError| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code()).and_field("/url", error.to_string())
    };
    let vetting = &caller.api.vetting;
    let url = WebhookUrl::parse(&String::from(url), vetting.policy()).map_err(refused)?;
    if !caller.is_repeated(terms).await? {
        vetting.check(&url).await.map_err(refused)?;
    }
    Ok(url.as_str().to_owned())
}

/// Refuses to try a subscription out whose URL leads to an address that is refused, by now or from the start. A repeated
/// request was tried out.
pub(super) async fn check_destination(caller: &Caller, terms: &Terms, id: Uuid) -> Result<(), Problem> {
    if caller.is_repeated(terms).await? {
        return Ok(());
    }
    let key = (caller.organization_id, SubscriptionId::new(id));
    let mut tx = caller.read().await?;
    let opened = caller.api.subscriptions.open(&mut tx, key).await?;
    tx.commit().await?;
    // One that cannot be seen here is left to its aggregate, and its delivery to the sender.
    let Some(opened) = opened else { return Ok(()) };
    let code = match &opened.url {
        Ok(url) => caller.api.vetting.check(url).await.map_err(UrlError::code),
        Err(code) => Err(*code),
    };
    code.map_err(|code| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code)
            .detail("the url of the subscription leads nowhere that deliveries may go; change it")
    })
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
    let pairs = || headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in pairs() {
        // Each alone: what is wrong with one header points at it.
        ExtraHeaders::parse([(name, value)]).map_err(|refused| {
            let token = name.replace('~', "~0").replace('/', "~1");
            Problem::invalid(format!("/headers/{token}"), refused.to_string())
        })?;
    }
    ExtraHeaders::parse(pairs())
        .map(drop)
        .map_err(|refused| Problem::invalid("/headers", refused.to_string()))
}
