//! The numbers that operators watch are those of the rows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use carelog_domain::SubscriptionId;
use carelog_domain::webhook_subscription::{DisableReason, WebhookSubscriptionCommand};
use carelog_embedded::receiver::Behaviour;
use carelog_event_log::{SystemClock, new_id};
use carelog_server::serve::Roles;
use carelog_tests::{Partner, Product, new_secret, start_appointment, subscribe};
use reqwest::Method;
use serde_json::json;

use crate::webhooks::send_again;
use crate::worker_processes::{FEW, PROCESS};

const ALONE: &str = "CARELOG_TEST_ALONE";

/// The counts as they follow from the log and the rows. A round ends an event after its attempts; what was skipped has no
/// history, or one that begins with the wish to send it after all.
const RECOUNT: &str = r#"
    with outcomes as (
        select stream_id, version, event_type, facts,
               count(*) filter (where event_type = 'webhook_delivery.redelivery_requested') over earlier as asked,
               count(*) filter (where event_type = 'webhook_delivery.attempted') over earlier as tried
        from log.readable_events
        where stream_kind = 'webhook_delivery'
        window earlier as (partition by stream_id order by version)
    ),
    ends as (
        select event_type, facts->>'reason' as reason, case when asked = 0 then 'first' else 'later' end as round,
               case when tried - coalesce((
                   select max(b.tried) from outcomes b where b.stream_id = o.stream_id and b.asked < o.asked
               ), 0) = 1 then 'first' else 'later' end as attempt
        from outcomes o
    )
    select format('carelog_webhook_attempts_total{outcome="%s"} %s', outcome, count(*))
    from webhooks.webhook_attempts group by outcome
    union all
    select format('carelog_webhook_delivered_total{attempt="%s",round="%s"} %s', attempt, round, count(*))
    from ends where event_type = 'webhook_delivery.delivered' group by attempt, round
    union all
    select format('carelog_webhook_failed_total{reason="%s",round="%s"} %s', reason, round, count(*))
    from ends where event_type = 'webhook_delivery.exhausted' group by reason, round
    union all
    select format('carelog_webhook_failed_total{reason="skipped_inactive",round="first"} %s', count(*))
    from (
        select from webhooks.webhook_events where reason = 'skipped_inactive'
        union all
        select from outcomes where event_type = 'webhook_delivery.redelivery_requested' and version = 2
    ) skipped
    having count(*) > 0
    union all
    select 'carelog_webhook_first_attempt_seconds_count ' || count(*)
    from outcomes where event_type = 'webhook_delivery.attempted' and asked = 0 and tried = 1
    union all
    select 'carelog_webhook_delivered_seconds_count ' || count(*)
    from outcomes where event_type = 'webhook_delivery.delivered' and asked = 0
    union all
    select 'carelog_webhook_waiting{state="later"} ' || count(*)
    from webhooks.webhook_events where state = 'pending'
    union all
    select 'carelog_webhook_replays ' || count(*)
    from webhooks.webhook_replays where status = 'running'
    union all
    select 'carelog_video_failing_rooms ' || count(*)
    from video.video_rooms where failure_reason is not null and status <> 'open'
    union all
    select 'carelog_webhook_waiting{state="due"} 0'
    union all
    select 'carelog_webhook_waiting{state="held"} 0'"#;

/// A replay under way that looks at its queue in an hour, as it stands in the tables.
const REPLAY: &str = "
    with replay as (
        insert into webhooks.webhook_replays
            (organization_id, replay_id, subscription_id, sequence, first_sequence, last_sequence, place, version,
             requested_at, number, matching_count, status, filter, states, reasons)
        select organization_id, gen_random_uuid(), subscription_id, 1, 1, 1, 1, 1, now(), 1, 1, 'running', '{}', '{}', '{}'
        from webhooks.webhook_subscriptions
        limit 1
        returning organization_id, replay_id
    )
    insert into runtime.effects (organization_id, source_event_id, step, reactor, lane, position, next_at)
    select organization_id, gen_random_uuid(), replay_id, 'webhooks', 1, 1, now() + interval '1 hour' from replay";

/// What a process tells of itself.
pub(crate) async fn scrape(address: SocketAddr) -> (BTreeMap<String, f64>, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let text = client.get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
    let shown = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect();
    (shown, text)
}

async fn equals_a_recount(product: &Product, shown: &BTreeMap<String, f64>) {
    let rows = product.texts(RECOUNT).await;
    assert!(rows.len() >= 10, "{rows:?}");
    for row in &rows {
        let (name, count) = row.rsplit_once(' ').unwrap();
        assert_eq!(shown.get(name).copied(), Some(count.parse().unwrap()), "{name}\n{shown:#?}");
    }
    let counted =
        |name: &str| name.starts_with("carelog_webhook_delivered_total") || name.contains("_failed_total");
    for name in shown.keys().filter(|name| name.starts_with("carelog_webhook") && counted(name)) {
        assert!(rows.iter().any(|row| row.starts_with(name.as_str())), "{name} is in no row: {rows:#?}");
    }
}

/// Counters belong to a process, and the other tests count in this one: the test runs itself in another.
#[test]
fn the_counts_of_deliveries_are_those_of_the_rows() {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(Box::pin(recount()));
    }
    let test = "metrics::the_counts_of_deliveries_are_those_of_the_rows";
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(ALONE, "1")
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}

/// Asks Daily for a room with an account that is none any more.
async fn a_room_fails(product: &Product, admin: &str) {
    const KEY: &str = "a-key-that-is-taken-away";
    product.daily.add_domain("clinic", "7a1e6f0c-2f4e-4a7e-9d1a-5f5b1f4c0001", KEY);
    let done = async |method, path: &str, body| {
        let (status, answer) = product.call(admin, method, path, Some(&body)).await;
        assert!(status < 300, "{path}: {status} {answer}");
        answer["id"].as_str().unwrap_or_default().to_owned()
    };
    let settings = json!({ "settings": { "api_key": KEY } });
    done(Method::PUT, "/v1/integrations/daily", settings).await;
    product.daily.revoke(KEY);
    let patient = done(Method::POST, "/v1/patients", json!({ "birth_year": 1950 })).await;
    let starts_at = product.log().clock().now().saturating_add_micros(300_000_000);
    let booking = json!({ "patient_id": patient, "mode": "video", "starts_at": starts_at });
    let appointment = done(Method::POST, "/v1/appointments", booking).await;
    done(Method::POST, &format!("/v1/appointments/{appointment}/onboard"), json!({})).await;
}

async fn recount() {
    let product = Product::start().await;
    let (organization_id, admin) = product.clinic().await;
    a_room_fails(&product, &admin).await;
    let mut partners = Vec::new();
    for behaviour in [
        Behaviour::Ok,
        Behaviour::FailFirst { count: 2, status: 503 },
        Behaviour::Status(415),
        Behaviour::Status(500),
    ] {
        let partner = product.subscribe(organization_id, &["*"]).await;
        partner.hook.set_behaviour(behaviour);
        partners.push(partner);
    }
    let paused = product.subscribe(organization_id, &["*"]).await;
    let pause = WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };
    product.tell(&paused, pause).await;
    let inner = SubscriptionId::new(new_id());
    subscribe(product.log(), organization_id, inner, &["*"], "https://10.0.0.1/".to_owned(), new_secret())
        .await;
    for _ in 0..5 {
        start_appointment(product.log(), organization_id).await;
    }
    product.settled().await;
    product.pull_retries().await;
    product.settled().await;
    asked_again(&product, &partners, &paused).await;
    product.settled().await;
    product.sql(REPLAY).await;

    let (shown, text) = scrape(product.server.address.unwrap()).await;

    assert_eq!(shown.get("carelog_video_failing_rooms").copied(), Some(1.0));
    for (name, least) in [
        ("carelog_webhook_delivered_total{attempt=\"first\",round=\"later\"}", 3.0),
        ("carelog_webhook_failed_total{reason=\"skipped_inactive\",round=\"first\"}", 5.0),
        ("carelog_webhook_attempts_total{outcome=\"blocked_url\"}", 5.0),
    ] {
        assert!(shown.get(name).is_some_and(|count| *count >= least), "{name}\n{text}");
    }
    equals_a_recount(&product, &shown).await;
    for histogram in ["first_attempt", "delivered"] {
        let last = format!("carelog_webhook_{histogram}_seconds_bucket{{le=\"129600\"}}");
        assert!(shown.contains_key(&last), "36 hours are within the buckets\n{text}");
    }
    the_oldest_that_is_due_is_told(&product).await;
    product.stop().await;
}

/// One delivery that arrived, one that was given up, and one that was skipped are sent once more.
async fn asked_again(product: &Product, partners: &[Partner], paused: &Partner) {
    partners[2].hook.set_behaviour(Behaviour::Ok);
    product.tell(paused, WebhookSubscriptionCommand::Enable).await;
    for partner in [&partners[0], &partners[2], paused] {
        let one = format!(
            "select delivery_id::text from webhooks.webhook_events
             where subscription_id = '{}' order by source_sequence limit 1",
            partner.subscription_id
        );
        let delivery = product.texts(&one).await.remove(0).parse().unwrap();
        send_again(product, partner.organization_id, delivery).await;
    }
}

/// A retry is due for a hundred seconds, and nobody looks.
async fn the_oldest_that_is_due_is_told(product: &Product) {
    product
        .sql(
            "update runtime.effect_queues set next_at = now() + interval '1 day';
             update runtime.effects set next_at = now() - interval '100 s'
             where ctid = (select ctid from runtime.effects e where next_at is not null and owner is null and exists (
                               select from webhooks.webhook_subscriptions s where s.subscription_id = e.step) limit 1)",
        )
        .await;
    let age =
        "select extract(epoch from now() - min(next_at))::bigint from runtime.effects where next_at <= now()";

    let before = product.count(age).await;
    let (shown, text) = scrape(product.server.address.unwrap()).await;
    let after = product.count(age).await;

    assert_eq!(shown.get("carelog_webhook_waiting{state=\"due\"}").copied(), Some(1.0), "{text}");
    let told = shown.get("carelog_webhook_oldest_due_seconds").copied().unwrap();
    let (before, after) =
        (f64::from(i32::try_from(before).unwrap()), f64::from(i32::try_from(after).unwrap()));
    assert!(before >= 100.0 && told >= before - 1.0 && told <= after + 1.0, "{before} {told} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_the_api_tells_how_it_is_and_nothing_else() {
    let roles = Roles { workers: false, ..Roles::ALL };
    let product = Product::start_as(roles, true, Arc::new(SystemClock)).await;
    let (organization_id, admin) = product.clinic().await;
    a_room_fails(&product, &admin).await;
    let worker = product.process(PROCESS, "workers", FEW, &[]).await;
    for behaviour in [Behaviour::Ok, Behaviour::Status(415), Behaviour::FailFirst { count: 2, status: 503 }] {
        product.subscribe(organization_id, &["*"]).await.hook.set_behaviour(behaviour);
    }
    for _ in 0..3 {
        start_appointment(product.log(), organization_id).await;
    }
    product.settled().await;

    let (shown, _) = scrape(worker.metrics).await;

    assert_eq!(worker.address, None, "it has no API");
    equals_a_recount(&product, &shown).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (path, status) in
        [("/health/live", 200), ("/health/ready", 200), ("/v1/patients", 404), ("/docs", 404)]
    {
        let answer = client.get(format!("http://{}{path}", worker.metrics)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    assert!(worker.end().await.success());
    product.stop().await;
}
