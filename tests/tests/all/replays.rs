//! Sending deliveries again in bulk, from the request to the receiver, through crashes, rivals and rebuilds.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::appointment::{AppointmentEvent, AppointmentRescheduled, RescheduleReason};
use carelog_domain::webhook_subscription::{DisableReason, WebhookSubscriptionCommand};
use carelog_domain::{EventId, OrganizationId, PatientId, StreamEvent, StreamKind};
use carelog_embedded::receiver::Behaviour;
use carelog_event_log::runtime::RebuildScope;
use carelog_event_log::{AppendRequest, NewEvent, StreamKey, Verdict, new_id};
use carelog_server::serve::Roles;
use carelog_tests::{Partner, Product, at, scope, start_appointment, until};
use futures::future::{LocalBoxFuture, join_all};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::metrics::scrape;
use crate::worker_processes::{FEW, PROCESS};

const PAUSE: WebhookSubscriptionCommand =
    WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };
const REQUESTS: &str =
    "select count(*) from log.events where event_type = 'webhook_delivery.redelivery_requested'";

/// A clinic, its administrator and a partner who hears everything.
struct Stage {
    product: Product,
    organization_id: OrganizationId,
    key: String,
    partner: Partner,
}

impl Stage {
    fn open(roles: Roles) -> LocalBoxFuture<'static, Self> {
        Box::pin(async move {
            let product =
                Product::start_as(roles, true, std::sync::Arc::new(carelog_event_log::SystemClock)).await;
            let (organization_id, key) = product.clinic().await;
            let partner = product.subscribe(organization_id, &["*"]).await;
            Self { product, organization_id, key, partner }
        })
    }

    /// Lets `count` events happen while the subscription is paused.
    async fn skip(&self, count: u32) {
        self.product.tell(&self.partner, PAUSE).await;
        happen(&self.product, self.organization_id, count).await;
        let skipped = "select count(*) from webhooks.webhook_events where reason = 'skipped_inactive'";
        let mut seen = 0;
        while seen < i64::from(count) {
            // Half a minute for each step forward.
            seen = until("events are skipped", async || {
                Some(self.product.count(skipped).await).filter(|now| *now > seen)
            })
            .await;
        }
        self.product.tell(&self.partner, WebhookSubscriptionCommand::Enable).await;
    }

    fn body(&self) -> Value {
        json!({ "subscription_id": self.partner.subscription_id })
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.product.call(&self.key, Method::POST, path, Some(body)).await
    }

    /// Asks for a replay and gives its id.
    async fn replay(&self, body: &Value) -> String {
        let (status, answer) = self.post("/v1/webhook-replays", body).await;
        assert_eq!(status, 202, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    async fn shown(&self, id: &str) -> Value {
        let (_, shown) =
            self.product.call(&self.key, Method::GET, &format!("/v1/webhook-replays/{id}"), None).await;
        shown
    }

    async fn becomes(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until("the replay stands as expected", async || {
            let shown = self.shown(id).await;
            wanted(&shown).then_some(shown)
        })
        .await
    }

    /// Waits until every delivery that a completed replay asked for was delivered.
    async fn is_through(&self, id: &str) -> Value {
        let mut seen = -1;
        loop {
            // Half a minute for each step forward.
            let shown =
                self.becomes(id, |shown| shown["delivered"].as_i64() > Some(seen) || is_through(shown)).await;
            if is_through(&shown) {
                return shown;
            }
            seen = shown["delivered"].as_i64().unwrap();
        }
    }

    /// The product is sound, and a rebuild of it equals it and sends nothing.
    async fn ends_well(self) {
        self.product.settled().await;
        self.product.is_sound().await;
        let (before, sent) = (self.product.contents().await, self.product.receiver.counts());
        self.product.rebuild(RebuildScope::Everything).await;
        assert_eq!(self.product.contents().await, before);
        assert_eq!(self.product.receiver.counts(), sent);
        self.product.stop().await;
    }
}

fn is_through(shown: &Value) -> bool {
    shown["status"] == "completed" && shown["delivered"] == shown["requested"]
}

/// Public events through the log itself, many in a stream, because nothing but their number matters.
pub(crate) async fn happen(product: &Product, organization_id: OrganizationId, count: u32) {
    const A_STREAM: u32 = 500;
    let mut left = count;
    while left > 0 {
        let stream_id = start_appointment(product.log(), organization_id).await;
        left -= 1;
        let more = left.min(A_STREAM);
        left -= more;
        if more > 0 {
            let request = moves(organization_id, stream_id, more);
            assert!(matches!(product.log().append(request).await.unwrap(), Verdict::Accepted(_)));
        }
    }
}

fn moves(organization_id: OrganizationId, stream_id: Uuid, count: u32) -> AppendRequest {
    let patient_id = PatientId::new(new_id());
    let moved = |minute: u32| {
        let moved = AppointmentEvent::Rescheduled(AppointmentRescheduled {
            patient_id,
            starts_at: at("2026-04-01T00:00:00Z").saturating_add_micros(i64::from(minute) * 60_000_000),
            ends_at: None,
            reason: RescheduleReason::Other,
        });
        let encoded = moved.encode().unwrap();
        NewEvent {
            event_id: EventId::new(new_id()),
            event_type: encoded.event_type,
            occurred_at: at("2026-03-01T12:00:00Z"),
            subject: Some(patient_id),
            facts: Arc::from(encoded.facts),
            personal: None,
        }
    };
    let scope = scope(organization_id);
    AppendRequest {
        stream: StreamKey { organization_id, kind: StreamKind::Appointment, id: stream_id },
        expected_version: 1,
        premise: None,
        circumstances: scope.circumstances,
        network: None,
        idempotency: None,
        can_wait: false,
        events: (0..count).map(moved).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_a_range_of_time_is_sent_once_each_and_nothing_else() {
    let stage = Stage::open(Roles::ALL).await;
    let product = &stage.product;
    stage.partner.hook.set_behaviour(Behaviour::Status(415));
    for _ in 0..9 {
        start_appointment(product.log(), stage.organization_id).await;
    }
    product.settled().await;
    let moments = product
        .texts(
            "select to_char(source_recorded_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
             from webhooks.webhook_events where reason = 'unsupported' order by source_sequence",
        )
        .await;
    assert_eq!(moments.len(), 9);
    stage.partner.hook.set_behaviour(Behaviour::Ok);
    let deliveries =
        product.texts("select delivery_id::text from webhooks.webhook_events order by source_sequence").await;
    let body = json!({
        "subscription_id": stage.partner.subscription_id, "events": ["appointment.*"],
        "reasons": ["unsupported"], "from": moments[2], "until": moments[7],
    });

    let (status, preview) = stage.post("/v1/webhook-replays/preview", &body).await;
    assert_eq!((status, &preview["matching"], &preview["failed"]), (200, &json!(5), &json!(5)));
    assert_eq!(
        (&preview["first_event_at"], &preview["last_event_at"]),
        (&json!(moments[2]), &json!(moments[6]))
    );
    let id = stage.replay(&body).await;
    let shown = stage.is_through(&id).await;

    assert_eq!(
        (&shown["matching"], &shown["requested"], &shown["skipped"]),
        (&json!(5), &json!(5), &json!(0))
    );
    product.settled().await;
    let outcomes = product
        .texts("select state || ' ' || attempt_count from webhooks.webhook_events order by source_sequence")
        .await;
    let failed = "failed 1";
    let sent = "delivered 2";
    assert_eq!(outcomes, [failed, failed, sent, sent, sent, sent, sent, failed, failed]);
    let ids: Vec<String> = stage.partner.hook.receipts().into_iter().map(|r| r.webhook_id).collect();
    assert_eq!(ids.len(), 14);
    assert_eq!(ids[9..].iter().collect::<BTreeSet<_>>(), deliveries[2..7].iter().collect());
    // The trail says who asked, and each request names the replay as its cause.
    let caused = "select count(*) from log.events e join log.events r on r.event_id = e.causation_id
                  where e.event_type = 'webhook_delivery.redelivery_requested'
                    and r.event_type = 'webhook_replay.requested' and r.actor_kind = 'api_key'
                    and e.correlation_id = r.correlation_id";
    assert_eq!(product.count(caused).await, 5);
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_meets_a_retry_and_people_makes_one_attempt() {
    let stage = Stage::open(Roles::ALL).await;
    let product = &stage.product;
    stage.partner.hook.set_behaviour(Behaviour::Status(415));
    happen(product, stage.organization_id, 20).await;
    product.settled().await;
    stage.partner.hook.set_behaviour(Behaviour::Status(500));
    start_appointment(product.log(), stage.organization_id).await;
    product.settled().await;
    let ids =
        product.texts("select delivery_id::text from webhooks.webhook_events order by source_sequence").await;
    // Long enough that everybody asks while it is under way.
    stage.partner.hook.set_behaviour(Behaviour::Delay(Duration::from_secs(3)));

    let body = stage.body();
    let paths: Vec<String> =
        ids[..10].iter().map(|id| format!("/v1/webhook-deliveries/{id}/redeliver")).collect();
    let people =
        join_all(paths.iter().chain(&paths).map(|path| product.call(&stage.key, Method::POST, path, None)));
    let (people, id, ()) = tokio::join!(people, stage.replay(&body), product.pull_retries());
    let shown = stage.is_through(&id).await;

    product.settled().await;
    let attempts =
        product.texts("select distinct state || ' ' || attempt_count from webhooks.webhook_events").await;
    assert_eq!(attempts, ["delivered 2"], "{people:?} {shown}");
    assert_eq!(stage.partner.hook.counts().received, 42);
    assert_eq!(product.count(REQUESTS).await, 20);
    let granted = people.iter().filter(|(status, _)| *status == 200).count();
    let by_replay = usize::try_from(shown["requested"].as_u64().unwrap()).unwrap();
    assert_eq!(granted + by_replay, 20, "{people:?} {shown}");
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_its_process_was_killed_between_a_batch_and_saying_so() {
    let stage = Stage::open(Roles { api: true, projectors: true, workers: false, signer: false }).await;
    let product = &stage.product;
    stage.skip(130).await;
    // Whoever says how far the replay has come fails, and cannot know that it is counted.
    product
        .sql(
            "create sequence public.tries;
             grant usage on sequence public.tries to public;
             create function public.refuse() returns trigger language plpgsql security definer as
             $$ begin perform nextval('public.tries'); raise exception 'no room' using errcode = '53100'; end $$;
             create trigger refuse before insert on log.events for each row
             when (new.event_type = 'webhook_replay.advanced') execute function public.refuse()",
        )
        .await;
    let id = stage.replay(&stage.body()).await;
    let worker = product.process(PROCESS, "workers", FEW, &[]).await;
    until("a batch was asked for, and nobody could say so", async || {
        let called = "select last_value from public.tries where is_called";
        let tries = product.texts(&format!("select count(*)::text from ({called}) t")).await;
        (tries == ["1"]).then_some(())
    })
    .await;
    worker.kill();
    let asked = product.count(REQUESTS).await;
    assert!(asked > 0, "the batch was asked for");
    assert_eq!(
        stage.shown(&id).await["place"],
        stage.shown(&id).await["first_sequence"].as_i64().unwrap() - 1
    );

    product.sql("drop trigger refuse on log.events").await;
    product.sql("update runtime.effects set next_at = now() - interval '1 s' where owner is not null").await;
    product.look_for_due_effects().await;
    let worker = product.process(PROCESS, "workers", FEW, &[]).await;
    let shown = until("the replay is through", async || {
        product.look_for_due_effects().await;
        let shown = stage.shown(&id).await;
        (shown["status"] == "completed" && shown["delivered"] == 130).then_some(shown)
    })
    .await;

    assert_eq!(
        (&shown["requested"], &shown["skipped"], &shown["failed"]),
        (&json!(130), &json!(0), &json!(0))
    );
    assert_eq!(product.count(REQUESTS).await, 130, "each once, though {asked} were asked for twice");
    let facts = "select (convert_from(facts, 'utf8')::jsonb ->> 'requested')::bigint from log.events
                 where event_type = 'webhook_replay.completed'";
    assert_eq!(product.count(facts).await, 130);
    // A killed worker may have sent what it did not record: that is an attempt of unknown outcome, no second request.
    let succeeded = "select count(*) from webhooks.webhook_attempts where outcome = 'success'";
    assert_eq!(product.count(succeeded).await, 130);
    drop(worker);
    product.is_sound().await;
    stage.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_replay_asks_for_nothing_more_and_what_it_asked_for_is_sent() {
    let stage = Stage::open(Roles::ALL).await;
    stage.skip(800).await;
    let id = stage.replay(&stage.body()).await;
    let (status, second) = stage.post("/v1/webhook-replays", &stage.body()).await;
    assert_eq!((status, &second["code"]), (409, &json!("replay_under_way")));
    stage.becomes(&id, |shown| shown["requested"].as_i64() > Some(0)).await;

    let path = format!("/v1/webhook-replays/{id}/cancel");
    let (status, answer) = stage.post(&path, &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let (status, again) = stage.post(&path, &json!({})).await;
    assert_eq!((status, &again["code"]), (409, &json!("already_ended")));

    let shown = stage
        .becomes(&id, |shown| shown["status"] == "cancelled" && shown["delivered"] == shown["requested"])
        .await;
    assert_eq!(shown["end_reason"], "requested");
    stage.product.settled().await;
    let requested = stage.shown(&id).await["requested"].as_i64().unwrap();
    assert!((1..800).contains(&requested), "{shown}");
    assert_eq!(stage.product.count(REQUESTS).await, requested);
    assert_eq!(stage.partner.hook.counts().received, u64::try_from(requested).unwrap());
    // The next one sends the rest.
    let rest = stage.replay(&stage.body()).await;
    let through = stage.is_through(&rest).await;
    assert_eq!(through["requested"].as_i64().unwrap() + requested, 800);
    assert_eq!(stage.partner.hook.counts().received, 800);
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_waits_while_its_subscription_is_paused_and_ends_when_that_is_deleted() {
    let stage = Stage::open(Roles::ALL).await;
    stage.skip(20).await;
    stage.product.tell(&stage.partner, PAUSE).await;
    stage.product.settled().await;
    let id = stage.replay(&stage.body()).await;
    until("the replay was looked at and waits", async || {
        let waits =
            "select count(*) from runtime.effects f join log.events e on e.event_id = f.source_event_id
                     where e.event_type = 'webhook_replay.requested' and f.owner is null
                       and f.next_at > now() + interval '2 s'";
        (stage.product.count(waits).await == 1).then_some(())
    })
    .await;
    assert_eq!(stage.product.count(REQUESTS).await, 0);

    stage.product.tell(&stage.partner, WebhookSubscriptionCommand::Delete).await;
    stage.product.pull_retries().await;

    let shown = until("the replay ends", async || {
        stage.product.pull_retries().await;
        let shown = stage.shown(&id).await;
        (shown["status"] == "cancelled").then_some(shown)
    })
    .await;
    assert_eq!(shown["end_reason"], "subscription_deleted");
    assert_eq!(stage.product.count(REQUESTS).await, 0);
    let (status, refused) = stage.post("/v1/webhook-replays", &stage.body()).await;
    assert_eq!((status, &refused["errors"][0]["pointer"]), (422, &json!("/subscription_id")));
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_events_pass_a_long_replay() {
    let stage = Stage::open(Roles::ALL).await;
    stage.skip(50_000).await;
    let (_, preview) = stage.post("/v1/webhook-replays/preview", &stage.body()).await;
    assert_eq!(preview["matching"], 50_000);
    let id = stage.replay(&stage.body()).await;
    stage.becomes(&id, |shown| shown["delivered"].as_i64() >= Some(100)).await;

    let fresh = "select count(*) from webhooks.webhook_events where state = 'delivered' and version = 3";
    let before = stage.product.count(fresh).await;
    for _ in 0..10 {
        start_appointment(stage.product.log(), stage.organization_id).await;
    }
    until("the fresh events have arrived", async || {
        (stage.product.count(fresh).await - before == 10).then_some(())
    })
    .await;

    let shown = stage.shown(&id).await;
    assert_eq!(shown["status"], "running", "{shown}");
    assert!(shown["requested"].as_i64() < Some(50_000), "{shown}");
    let in_batches = "select coalesce(max(asked), 0)::bigint from (
                          select (convert_from(facts, 'utf8')::jsonb ->> 'requested')::bigint
                                 - lag((convert_from(facts, 'utf8')::jsonb ->> 'requested')::bigint, 1, 0)
                                       over (order by position) as asked
                          from log.events where event_type = 'webhook_replay.advanced') a";
    let largest = stage.product.count(in_batches).await;
    assert!((1..=100).contains(&largest), "a batch of {largest}");
    let path = format!("/v1/webhook-replays/{id}/cancel");
    assert_eq!(stage.post(&path, &json!({})).await.0, 200);
    stage.becomes(&id, |shown| shown["status"] == "cancelled").await;
    stage.product.settled().await;
    let counts = stage.partner.hook.counts();
    assert_eq!((counts.received, counts.duplicates), (counts.verified, 0));
    stage.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_does_not_read_its_earlier_batches_again() {
    const DELIVERIES: i64 = 1_000;
    let stage = Stage::open(Roles { workers: false, ..Roles::ALL }).await;
    stage.skip(u32::try_from(DELIVERIES).unwrap()).await;
    // Numbers belong to a process: in this one nobody else counts.
    let worker = stage.product.process(PROCESS, "workers", NonZeroU16::MAX, &[]).await;

    let id = stage.replay(&stage.body()).await;
    let shown = stage.is_through(&id).await;

    assert_eq!(shown["requested"], DELIVERIES);
    let batches = "select count(*) from log.events where event_type = 'webhook_replay.advanced'";
    let batches = stage.product.count(batches).await;
    let (told, _) = scrape(worker.metrics).await;
    let read = |kind: &str| {
        let name = format!("carelog_stream_events_read_total{{kind=\"{kind}\"}}");
        told.get(&name).copied().unwrap_or_default()
    };
    println!("{batches} batches, {} of their events read", read("webhook_replay"));
    assert!(batches >= 10, "{batches}");
    assert!(read("webhook_replay") <= f64::from(u32::try_from(batches).unwrap()), "{told:#?}");
    let of_deliveries = read("webhook_delivery");
    assert!((1.0..=6_000.0).contains(&of_deliveries), "{of_deliveries} events of deliveries are counted too");
    assert!(worker.end().await.success());
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_during_a_replay_equals_the_live_tables_and_sends_nothing() {
    let stage = Stage::open(Roles::ALL).await;
    stage.skip(1_000).await;
    let id = stage.replay(&stage.body()).await;
    stage.becomes(&id, |shown| shown["requested"].as_i64() > Some(0)).await;

    stage.product.rebuild(RebuildScope::Everything).await;
    stage.product.rebuild(RebuildScope::Organization(stage.organization_id)).await;

    let shown = stage.is_through(&id).await;
    assert_eq!((&shown["requested"], &shown["matching"]), (&json!(1_000), &json!(1_000)));
    let counts = stage.partner.hook.counts();
    assert_eq!((counts.received, counts.duplicates), (1_000, 0));
    assert_eq!(stage.product.count(REQUESTS).await, 1_000);
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replays_asked_for_at_once_one_is_refused() {
    let stage = Stage::open(Roles::ALL).await;
    stage.skip(300).await;
    let body = stage.body();

    let answers = join_all((0..6).map(|_| stage.post("/v1/webhook-replays", &body))).await;

    let mut codes: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    codes.sort_unstable();
    assert_eq!(codes, [202, 409, 409, 409, 409, 409], "{answers:?}");
    let (_, made) = answers.iter().find(|(status, _)| *status == 202).unwrap();
    stage.is_through(made["id"].as_str().unwrap()).await;
    assert_eq!(stage.product.count(REQUESTS).await, 300);
    stage.ends_well().await;
}
