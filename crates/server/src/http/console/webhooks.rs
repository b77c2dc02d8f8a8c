//! Subscriptions, what is wrong with them, and what was sent.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

use super::Console;
use super::asking::Trouble;
use super::session::Visitor;
use super::view::{Page, moment};

/// Deliveries on a page.
const SHOWN: usize = 50;
const SUBSCRIPTIONS: &str = "/v1/webhook-subscriptions";
const DELIVERIES: &str = "/v1/webhook-deliveries";

/// `GET /console/webhooks`
pub(super) async fn list(State(console): State<Console>, visitor: Visitor) -> Result<Response, Trouble> {
    let page = console.get(&visitor, &format!("{SUBSCRIPTIONS}?limit=200")).await?;
    let subscriptions = items(&page);
    let body = html! {
        @for subscription in subscriptions { (notice(subscription)) }
        @if subscriptions.is_empty() {
            p { "No subscription yet. " code { "POST /v1/webhook-subscriptions" } " makes one." }
        } @else {
            table {
                caption { "Subscriptions" }
                thead {
                    tr {
                        th scope="col" { "Subscription" } th scope="col" { "Status" }
                        th scope="col" { "Events" } th scope="col" { "Failures in a row" }
                        th scope="col" { "Made" }
                    }
                }
                tbody {
                    @for subscription in subscriptions {
                        tr {
                            td { (link("webhooks", text(subscription, "id"))) }
                            td { (status(subscription)) }
                            td { (words(subscription, "events")) }
                            td { (number(subscription, "consecutive_failures")) }
                            td { (moment(subscription.get("created_at").and_then(Value::as_str))) }
                        }
                    }
                }
            }
        }
    };
    Ok(Page { title: "Webhooks", sections: Some(visitor.sections), body }.into_response())
}

/// `GET /console/webhooks/{subscription_id}`
pub(super) async fn show(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<Uuid>,
) -> Result<Response, Trouble> {
    let subscription = console.get(&visitor, &format!("{SUBSCRIPTIONS}/{id}")).await?;
    let of = format!("{DELIVERIES}?subscription_id={id}&limit={SHOWN}");
    let undelivered = console.get(&visitor, &format!("{of}&undelivered=true")).await?;
    let latest = console.get(&visitor, &of).await?;
    let is_active = text(&subscription, "status") == "active";
    let body = html! {
        (notice(&subscription))
        dl {
            dt { "Status" } dd { (status(&subscription)) }
            dt { "URL" } dd { code { (text(&subscription, "url")) } }
            @if let Some(description) = subscription.get("description").and_then(Value::as_str) {
                dt { "Description" } dd { (description) }
            }
            dt { "Events" } dd { (words(&subscription, "events")) }
            dt { "Format" } dd { (text(&subscription, "format")) }
            dt { "Held until" } dd { (moment(subscription.get("held_until").and_then(Value::as_str))) }
        }
        @if is_active {
            (button(&format!("/console/webhooks/{id}/test"), "Send a test"))
            " " (button(&format!("/console/webhooks/{id}/disable"), "Pause"))
        } @else {
            (button(&format!("/console/webhooks/{id}/enable"), "Send again"))
        }
        (deliveries("Not delivered", &undelivered))
        (deliveries("Latest", &latest))
    };
    Ok(Page { title: "Subscription", sections: Some(visitor.sections), body }.into_response())
}

/// `POST /console/webhooks/{subscription_id}/{act}`
pub(super) async fn act(
    State(console): State<Console>,
    visitor: Visitor,
    Path((id, act)): Path<(Uuid, String)>,
) -> Result<Response, Trouble> {
    let act = match act.as_str() {
        "enable" | "disable" | "test" => act,
        _ => return Err(Trouble::NotFound),
    };
    let done = console.post(&visitor, &format!("{SUBSCRIPTIONS}/{id}/{act}")).await?;
    console.wait(&visitor, &format!("{SUBSCRIPTIONS}/{id}"), &done).await?;
    Ok(Redirect::to(&format!("/console/webhooks/{id}")).into_response())
}

/// `GET /console/deliveries/{delivery_id}`
pub(super) async fn delivery(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<Uuid>,
) -> Result<Response, Trouble> {
    let delivery = console.get(&visitor, &format!("{DELIVERIES}/{id}")).await?;
    let attempts = delivery.get("attempts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let body = html! {
        dl {
            dt { "Event" } dd { (text(&delivery, "event")) " (" (number(&delivery, "sequence")) ")" }
            dt { "Recorded" } dd { (moment(delivery.get("recorded_at").and_then(Value::as_str))) }
            dt { "State" } dd { (state(&delivery)) }
            dt { "Next attempt" } dd { (moment(delivery.get("next_attempt_at").and_then(Value::as_str))) }
            dt { "Subscription" } dd { (link("webhooks", text(&delivery, "subscription_id"))) }
        }
        @if text(&delivery, "state") != "pending" {
            (button(&format!("/console/deliveries/{id}"), "Send again"))
        }
        table {
            caption { "Attempts" }
            thead {
                tr {
                    th scope="col" { "Number" } th scope="col" { "Began" } th scope="col" { "Outcome" }
                    th scope="col" { "Status" } th scope="col" { "Milliseconds" }
                }
            }
            tbody {
                @for attempt in attempts {
                    tr {
                        td { (number(attempt, "number")) }
                        td { (moment(attempt.get("started_at").and_then(Value::as_str))) }
                        td { (text(attempt, "outcome")) " " (text(attempt, "detail")) }
                        td { (number(attempt, "status")) }
                        td { (number(attempt, "duration_ms")) }
                    }
                }
            }
        }
    };
    Ok(Page { title: "Delivery", sections: Some(visitor.sections), body }.into_response())
}

/// `POST /console/deliveries/{delivery_id}`
pub(super) async fn redeliver(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<Uuid>,
) -> Result<Response, Trouble> {
    let done = console.post(&visitor, &format!("{DELIVERIES}/{id}/redeliver")).await?;
    console.wait(&visitor, &format!("{DELIVERIES}/{id}"), &done).await?;
    Ok(Redirect::to(&format!("/console/deliveries/{id}")).into_response())
}

impl Console {
    /// Waits until a read shows what a command did.
    async fn wait(&self, visitor: &Visitor, path: &str, done: &Value) -> Result<(), Trouble> {
        match done.get("position").and_then(Value::as_str) {
            Some(position) => self.get(visitor, &format!("{path}?wait_for={position}")).await.map(drop),
            None => Ok(()),
        }
    }
}

/// What somebody has to know about a subscription and do about it; nothing where all is well.
fn notice(subscription: &Value) -> Markup {
    let (id, reason) = (text(subscription, "id"), text(subscription, "disable_reason"));
    let failures = subscription.get("consecutive_failures").and_then(Value::as_u64).unwrap_or_default();
    let since = subscription.get("failing_since").and_then(Value::as_str);
    let what = match reason {
        "gone" => {
            "is disabled: its receiver answered 410. What happens meanwhile is kept and can be sent later."
        }
        "failing" => {
            "is disabled: it failed for three days. Mend the receiver, then send again; what was missed can be replayed."
        }
        "receiver_request" => "is disabled, because its receiver asked for that.",
        _ if text(subscription, "status") == "active" && failures >= 3 => {
            "fails: one delivery at a time is tried until one succeeds."
        }
        _ => return html! {},
    };
    html! {
        p.notice role="alert" {
            "Subscription " (link("webhooks", id)) " " (what)
            @if since.is_some() { " Failing since " (moment(since)) "." }
        }
    }
}

fn deliveries(caption: &str, page: &Value) -> Markup {
    let rows = items(page);
    html! {
        table {
            caption {
                (caption)
                @if page.get("next").is_some_and(Value::is_string) { " (the newest " (SHOWN) ")" }
            }
            thead {
                tr {
                    th scope="col" { "Delivery" } th scope="col" { "Event" } th scope="col" { "Recorded" }
                    th scope="col" { "State" } th scope="col" { "Attempts" } th scope="col" { "Last outcome" }
                }
            }
            tbody {
                @if rows.is_empty() { tr { td colspan="6" { "None." } } }
                @for row in rows {
                    tr {
                        td { (link("deliveries", text(row, "id"))) }
                        td { (text(row, "event")) }
                        td { (moment(row.get("recorded_at").and_then(Value::as_str))) }
                        td { (state(row)) }
                        td { (number(row, "attempt_count")) }
                        td { (text(row, "last_outcome")) " " (number(row, "last_status")) }
                    }
                }
            }
        }
    }
}

fn status(subscription: &Value) -> Markup {
    let status = text(subscription, "status");
    html! {
        @if status == "active" { (status) } @else {
            span.bad { (status) } " (" (text(subscription, "disable_reason")) ")"
        }
    }
}

fn state(delivery: &Value) -> Markup {
    let state = text(delivery, "state");
    html! {
        @if state == "failed" { span.bad { (state) } " (" (text(delivery, "reason")) ")" } @else { (state) }
    }
}

/// A link to a page of a thing, named by the end of its id, which tells more than its beginning, a time.
fn link(pages: &str, id: &str) -> Markup {
    html! { a href={ "/console/" (pages) "/" (id) } { code { "…" (id.get(24..).unwrap_or(id)) } } }
}

fn button(action: &str, label: &str) -> Markup {
    html! { form method="post" action=(action) { button { (label) } } }
}

fn items(page: &Value) -> &[Value] {
    page.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn words(value: &Value, name: &str) -> String {
    let words = value.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(", ")
}

fn number(value: &Value, name: &str) -> Markup {
    html! { @match value.get(name).and_then(Value::as_i64) { Some(number) => (number), None => "" } }
}
