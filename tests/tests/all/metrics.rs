//! The numbers that operators watch are those of the rows.

use std::collections::BTreeMap;
use std::process::Command;

use carelog_embedded::receiver::Behaviour;
use carelog_tests::{Product, start_appointment};
use reqwest::Method;
use serde_json::json;

const ALONE: &str = "CARELOG_TEST_ALONE";

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
    for behaviour in [
        Behaviour::Ok,
        Behaviour::FailFirst { count: 2, status: 503 },
        Behaviour::Status(415),
        Behaviour::Status(500),
    ] {
        product.subscribe(organization_id, &["*"]).await.hook.set_behaviour(behaviour);
    }
    for _ in 0..5 {
        start_appointment(product.log(), organization_id).await;
    }
    product.settled().await;
    product.pull_retries().await;
    product.settled().await;

    let address = product.server.address.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let text = client.get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
    let shown: BTreeMap<String, f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect();

    let rows = product
        .texts(
            r#"select format('carelog_webhook_attempts_total{outcome="%s"} %s', outcome, count(*))
               from webhooks.webhook_attempts group by outcome
               union all
               select format('carelog_webhook_delivered_total{attempt="%s"} %s', attempt, count(*))
               from (
                   select case when attempt_count = 1 then 'first' else 'later' end as attempt
                   from webhooks.webhook_events where state = 'delivered'
               ) d
               group by attempt
               union all
               select format('carelog_webhook_failed_total{reason="%s"} %s', reason, count(*))
               from webhooks.webhook_events where state = 'failed' group by reason
               union all
               select 'carelog_webhook_first_attempt_seconds_count ' || count(*)
               from webhooks.webhook_attempts where number = 1
               union all
               select 'carelog_webhook_delivered_seconds_count ' || count(*)
               from webhooks.webhook_events where state = 'delivered'
               union all
               select 'carelog_webhook_waiting{state="later"} ' || count(*)
               from webhooks.webhook_events where state = 'pending'
               union all
               select 'carelog_video_failing_rooms ' || count(*)
               from video.video_rooms where failure_reason is not null and status <> 'open'
               union all
               select 'carelog_webhook_waiting{state="due"} 0'
               union all
               select 'carelog_webhook_waiting{state="held"} 0'"#,
        )
        .await;
    assert!(rows.len() >= 10, "{rows:?}");
    assert_eq!(shown.get("carelog_video_failing_rooms").copied(), Some(1.0));
    for row in rows {
        let (name, count) = row.rsplit_once(' ').unwrap();
        assert_eq!(shown.get(name).copied(), Some(count.parse().unwrap()), "{name}\n{text}");
    }
    product.stop().await;
}
