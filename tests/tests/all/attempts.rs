//! What is shown and kept of each attempt.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use carelog_domain::DeliveryId;
use carelog_domain::webhook_delivery::{WebhookDelivery, WebhookDeliveryCommand};
use carelog_domain::webhook_subscription::{RotatedSecret, SubscriptionChange, WebhookSubscriptionCommand};
use carelog_embedded::receiver::Behaviour;
use carelog_event_log::runtime::RebuildScope;
use carelog_tests::{Partner, Product, new_secret, run, scope, start_appointment, until};
use carelog_webhooks::queries;
use reqwest::Method;
use serde_json::{Value, json};

/// A partner of a clinic, and the clinic's key.
struct Scene {
    product: Product,
    key: String,
    partner: Partner,
}

impl Scene {
    async fn new(behaviour: Behaviour) -> Self {
        let product = Box::pin(Product::start()).await;
        let (organization_id, key) = Box::pin(product.clinic()).await;
        let partner = product.subscribe(organization_id, &["appointment.*", "patient.*"]).await;
        partner.hook.set_behaviour(behaviour);
        Self { product, key, partner }
    }

    async fn appointment(&self) {
        start_appointment(self.product.log(), self.partner.organization_id).await;
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}{path}", self.product.server.address.unwrap());
        let request = client.request(method, url).bearer_auth(&self.key);
        let request = if let Some(body) = body { request.json(body) } else { request };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn attempt(&self, delivery: &str, number: u16) -> Value {
        let path = format!("/v1/webhook-deliveries/{delivery}/attempts/{number}");
        let (status, view) = self.call(Method::GET, &path, None).await;
        assert_eq!(status, 200, "{view}");
        view
    }

    async fn expunge(&self, delivery: &str) {
        let path = format!("/v1/webhook-deliveries/{delivery}/expunge");
        let (status, answer) = self.call(Method::POST, &path, Some(&json!({}))).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Waits for so many attempts in all, and until everything about them is written; gives the deliveries, the oldest
    /// first.
    async fn attempted(&self, count: i64) -> Vec<String> {
        until("the attempts were made", async || {
            let made = self.product.count("select count(*) from webhooks.webhook_attempts").await;
            (made >= count).then_some(())
        })
        .await;
        self.product.settled().await;
        self.product
            .texts("select delivery_id::text from webhooks.webhook_events order by source_sequence")
            .await
    }

    async fn kept(&self) -> i64 {
        self.product
            .count("select coalesce(sum(cardinality(numbers)), 0)::bigint from kept.webhook_answers")
            .await
    }

    /// What an erasure or a removal changes: the log, the answers that are kept, and the keys.
    async fn changeable(&self) -> Vec<String> {
        let of_core = "select event_id::text from log.events union all select k::text from kept.webhook_answers k order by 1";
        let mut rows = self.product.texts(of_core).await;
        let keys = "select k::text from vault.data_keys k order by 1";
        let keys: Vec<String> =
            sqlx::query_scalar(keys).fetch_all(&self.product.databases().vault).await.unwrap();
        rows.extend(keys);
        rows
    }

    async fn stop(self) {
        self.product.is_sound().await;
        self.product.stop().await;
    }
}

fn says(status: u16, body: &'static [u8]) -> Behaviour {
    Behaviour::Say { status, headers: Vec::new(), body: Bytes::from_static(body) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_shown_to_the_byte_also_after_the_subscription_changed() {
    let scene = Scene::new(Behaviour::Ok).await;
    let Scene { product, partner, .. } = &scene;
    let (one, two) = (product.receiver.url("one"), product.receiver.url("two"));
    let second = product.receiver.hook("two");
    let rotated = new_secret();
    for hook in [&product.receiver.hook("one"), &second] {
        hook.set_secrets(&[&partner.secret, &rotated]).unwrap();
    }
    let change = |url: &str, headers: &[(&str, &str)]| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let change = SubscriptionChange {
            url: Some(url.to_owned()),
            description: None,
            headers: Some(headers.collect()),
        };
        WebhookSubscriptionCommand::Change { filter: None, per_tick_limit: None, change: Some(change) }
    };
    // Nothing was sent yet, so nothing is remembered of the subscription as it was made.
    product.tell(partner, change(&format!("{one}?token=s3cret"), &[("x-tenant", "t3nant")])).await;
    product.settled().await;
    scene.appointment().await;
    scene.attempted(1).await;
    product.tell(partner, change(&two, &[("authorization", "Bearer t3nant")])).await;
    let rotation = WebhookSubscriptionCommand::RotateSecret {
        overlap_seconds: 3600,
        secret: RotatedSecret { secret: rotated },
    };
    product.tell(partner, rotation).await;
    product.settled().await;
    until("the change is heeded", async || {
        scene.appointment().await;
        product.settled().await;
        (!second.receipts().is_empty()).then_some(())
    })
    .await;

    let deliveries = scene.attempted(2).await;
    let mut receipts = product.receiver.hook("one").receipts();
    receipts.extend(second.receipts());
    assert_eq!(receipts.len(), deliveries.len());
    let mut signatures = Vec::new();
    for receipt in &receipts {
        let shown = scene.attempt(&receipt.webhook_id, 1).await;
        assert!(receipt.verified);
        let request = &shown["request"];
        assert_eq!(request["body"].as_str().unwrap().as_bytes(), &receipt.body[..]);
        assert_eq!(request["method"], "POST");
        let url = if &*receipt.hook == "one" { &one } else { &two };
        assert_eq!(request["url"], json!(url), "without the query");
        let headers = request["headers"].as_array().unwrap();
        for header in headers {
            let name = header["name"].as_str().unwrap();
            let sent = receipt.headers[name].to_str().unwrap();
            match header["value"].as_str() {
                Some(value) => assert_eq!(value, sent, "{name}"),
                None => assert!(["x-tenant", "authorization"].contains(&name) && sent.contains("t3nant")),
            }
        }
        // Which checkpoint was the newest when it was sent is not kept.
        let left_out = ["host", "accept", "content-length", "carelog-checkpoint"];
        let sent = receipt.headers.keys().filter(|name| !left_out.contains(&name.as_str())).count();
        assert_eq!(headers.len(), sent, "{:?}", receipt.headers);
        assert!(!shown.to_string().contains("s3cret") && !shown.to_string().contains("t3nant"));
        signatures.push(receipt.headers["webhook-signature"].to_str().unwrap().split(' ').count());
    }
    assert_eq!((signatures.first(), signatures.last()), (Some(&1), Some(&2)), "the old secret signs too");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_any_bytes_is_kept_sealed_and_one_without_anything_leaves_no_trace() {
    let scene = Scene::new(Behaviour::Ok).await;
    scene.appointment().await;
    scene.attempted(1).await;
    assert_eq!(scene.product.count("select count(*) from kept.webhook_answers").await, 0);

    let headers = vec![
        ("x-request-id".to_owned(), "r-17".to_owned()),
        ("content-type".to_owned(), "text/plain".to_owned()),
        ("set-cookie".to_owned(), "no".to_owned()),
    ];
    let long: Vec<u8> = b"Zaphodine, ".repeat(200);
    let bodies: [&[u8]; 4] = ["Grüße\0 an Zaphodine".as_bytes(), b"\xff\xfe\0Zaphodine", &long, b""];
    for (body, count) in bodies.iter().zip(2..) {
        let body = Bytes::copy_from_slice(body);
        scene.partner.hook.set_behaviour(Behaviour::Say { status: 200, headers: headers.clone(), body });
        scene.appointment().await;
        scene.attempted(count).await;
    }

    let deliveries = scene.attempted(5).await;
    let answers: Vec<Value> = futures::future::join_all(
        deliveries.iter().map(|delivery| async { scene.attempt(delivery, 1).await["answer"].clone() }),
    )
    .await;
    assert_eq!(answers[0], Value::Null);
    let with_type = json!([{ "name": "x-request-id", "value": "r-17" }, { "name": "content-type", "value": "text/plain" }]);
    for (answer, body) in answers[1..4].iter().zip(bodies) {
        let kept = &body[..body.len().min(1024)];
        let is_text = std::str::from_utf8(kept).is_ok();
        let shown = if is_text { String::from_utf8(kept.to_vec()).unwrap() } else { STANDARD.encode(kept) };
        let expected = json!({
            "is_erased": false, "headers": with_type, "body": shown, "is_base64": !is_text,
            "read_bytes": body.len(), "end": "complete",
        });
        assert_eq!(*answer, expected);
    }
    assert_eq!(answers[4]["headers"], json!([{ "name": "x-request-id", "value": "r-17" }]));
    let viewed = "select count(*) from log.events where event_type = 'access.record_viewed'";
    assert_eq!(scene.product.count(viewed).await, 4, "that somebody saw an answer is in the log");
    let plain = "select count(*) from (select e::text from log.events e union all
                 select k::text from kept.webhook_answers k) t (text)
                 where text like '%Zaphodine%' or text like '%' || encode('Zaphodine', 'hex') || '%'";
    assert_eq!(scene.product.count(plain).await, 0);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_leaves_answers_and_shows_the_same_attempts() {
    let scene = Scene::new(says(200, b"thanks")).await;
    scene.appointment().await;
    let delivery = scene.attempted(1).await.remove(0);
    let before = scene.attempt(&delivery, 1).await;
    assert!(before["connect_ms"].is_number() && before["wait_ms"].is_number(), "{before}");

    for scope in [RebuildScope::Everything, RebuildScope::Organization(scene.partner.organization_id)] {
        scene.product.rebuild(scope).await;
        assert_eq!(scene.attempt(&delivery, 1).await, before);
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_opens_at_its_own_attempt_only() {
    let scene = Scene::new(says(200, b"thanks")).await;
    scene.appointment().await;
    scene.appointment().await;
    let deliveries = scene.attempted(2).await;
    // Somebody puts one answer in the place of another.
    scene
        .product
        .sql(&format!(
            "update kept.webhook_answers set (key_ids, sealed) = (
                 select key_ids, sealed from kept.webhook_answers where delivery_id = '{}')
             where delivery_id = '{}'",
            deliveries[0], deliveries[1]
        ))
        .await;

    let path = |delivery: &str| format!("/v1/webhook-deliveries/{delivery}/attempts/1");
    assert_eq!(scene.call(Method::GET, &path(&deliveries[0]), None).await.0, 200);
    assert_eq!(scene.call(Method::GET, &path(&deliveries[1]), None).await.0, 500);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expunged_answers_are_gone_for_good_and_the_trail_tells() {
    let scene = Scene::new(says(503, b"Zaphodine is out")).await;
    scene.appointment().await;
    let delivery = scene.attempted(1).await.remove(0);
    assert_eq!(scene.attempt(&delivery, 1).await["answer"]["body"], "Zaphodine is out");

    scene.expunge(&delivery).await;
    scene.expunge(&delivery).await;

    assert_eq!(scene.attempt(&delivery, 1).await["answer"], Value::Null);
    assert_eq!(scene.kept().await, 0);
    let events = "select count(*) from log.events where event_type = 'webhook_delivery.answers_expunged'";
    assert_eq!(scene.product.count(events).await, 1);
    scene.product.settled().await;
    let (_, trail) = scene.call(Method::GET, "/v1/trail?limit=200", None).await;
    assert!(trail.to_string().contains("webhook_delivery.answers_expunged"), "{trail}");
    // It is still to be sent; what the receiver answers then is not kept.
    scene.product.pull_retries().await;
    scene.attempted(2).await;
    assert_eq!(scene.attempt(&delivery, 2).await["answer"], Value::Null);
    assert_eq!(scene.kept().await, 0);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_not_shown_once_the_log_says_that_it_is_expunged() {
    let scene = Scene::new(says(503, b"Zaphodine is out")).await;
    scene.appointment().await;
    let delivery = scene.attempted(1).await.remove(0);
    let mut connection = scene.product.databases().core_system.acquire().await.unwrap();
    let (organization_id, id) = (scene.partner.organization_id, DeliveryId::new(delivery.parse().unwrap()));
    let row = queries::delivery(&mut connection, organization_id, id).await.unwrap().unwrap();

    // As after a crash between the event and the removal.
    let command = WebhookDeliveryCommand::ExpungeAnswers { emission: row.emission().unwrap() };
    run::<WebhookDelivery>(scene.product.log(), &scope(organization_id), id.uuid(), command).await;

    assert_eq!(scene.kept().await, 1);
    assert_eq!(scene.attempt(&delivery, 1).await["answer"], Value::Null);
    scene.expunge(&delivery).await;
    assert_eq!(scene.kept().await, 0);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expunging_while_an_attempt_is_under_way_neither_ends_it_nor_moves_the_delivery() {
    let scene = Scene::new(says(503, b"later")).await;
    scene.appointment().await;
    let delivery = scene.attempted(1).await.remove(0);
    scene.partner.hook.set_behaviour(Behaviour::Delay(Duration::from_secs(2)));
    let received = scene.partner.hook.counts().received;
    scene.product.pull_retries().await;
    until("the second attempt is under way", async || {
        (scene.partner.hook.counts().received > received).then_some(())
    })
    .await;

    scene.expunge(&delivery).await;

    scene.attempted(2).await;
    let (_, shown) = scene.call(Method::GET, &format!("/v1/webhook-deliveries/{delivery}"), None).await;
    assert_eq!((&shown["state"], &shown["attempt_count"]), (&json!("delivered"), &json!(2)));
    assert_eq!(scene.partner.hook.counts().received, received + 1);
    scene.product.rebuild(RebuildScope::Everything).await;
    let (_, rebuilt) = scene.call(Method::GET, &format!("/v1/webhook-deliveries/{delivery}"), None).await;
    assert_eq!(rebuilt, shown);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_a_patient_reaches_the_answers_about_the_patient() {
    let scene = Scene::new(says(200, b"hello Zaphodine")).await;
    let body = json!({ "details": { "name": "Zaphodine" } });
    let (_, registered) = scene.call(Method::POST, "/v1/patients", Some(&body)).await;
    let patient = registered["id"].as_str().unwrap();
    let delivery = scene.attempted(1).await.remove(0);
    assert_eq!(scene.attempt(&delivery, 1).await["answer"]["body"], "hello Zaphodine");

    let path = format!("/v1/patients/{patient}/erasure");
    let (status, asked) =
        scene.call(Method::POST, &path, Some(&json!({ "ground": "patient_request" }))).await;
    assert_eq!(status, 200, "{asked}");
    let erased = "select count(*) from webhooks.webhook_events where source_type = 'patient.erased' and state = 'delivered'";
    until("the patient is erased", async || (scene.product.count(erased).await == 1).then_some(())).await;
    scene.product.settled().await;

    let answer = scene.attempt(&delivery, 1).await["answer"].clone();
    assert_eq!((&answer["is_erased"], &answer["body"]), (&json!(true), &json!("")));
    assert_eq!(scene.kept().await, 1, "the answer to the news of the erasure is not kept");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_legal_hold_nothing_about_the_patient_is_expunged_or_erased() {
    let scene = Scene::new(says(200, b"hello Zaphodine")).await;
    let body = json!({ "details": { "name": "Zaphodine" } });
    let (_, registered) = scene.call(Method::POST, "/v1/patients", Some(&body)).await;
    let patient = format!("/v1/patients/{}", registered["id"].as_str().unwrap());
    let delivery = scene.attempted(1).await.remove(0);
    let reason = json!({ "reason": "litigation" });
    let (status, placed) = scene.call(Method::POST, &format!("{patient}/legal-holds"), Some(&reason)).await;
    assert_eq!(status, 201, "{placed}");
    assert_eq!(scene.attempt(&delivery, 1).await["answer"]["body"], "hello Zaphodine");
    scene.product.settled().await;
    let before = scene.changeable().await;

    let expunge = format!("/v1/webhook-deliveries/{delivery}/expunge");
    let erasure = (format!("{patient}/erasure"), json!({ "ground": "patient_request" }));
    for (path, body) in [(expunge, json!({})), erasure] {
        let (status, refused) = scene.call(Method::POST, &path, Some(&body)).await;
        assert_eq!((status, &refused["code"]), (409, &json!("legal_hold")), "{path}: {refused}");
    }

    scene.product.settled().await;
    assert_eq!(scene.changeable().await, before);
    assert_eq!(scene.attempt(&delivery, 1).await["answer"]["body"], "hello Zaphodine");
    let hold = format!("{patient}/legal-holds/{}", placed["legal_hold_id"].as_str().unwrap());
    assert_eq!(scene.call(Method::DELETE, &hold, None).await.0, 200);
    scene.expunge(&delivery).await;
    assert_eq!((scene.attempt(&delivery, 1).await["answer"].clone(), scene.kept().await), (Value::Null, 0));
    scene.stop().await;
}
