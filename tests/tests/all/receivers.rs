//! The receivers that partners are shown, with the official libraries, behind real deliveries and forged ones.

use std::net::{Ipv4Addr, SocketAddr};

use carelog_domain::appointment::Appointment;
use carelog_domain::webhook_subscription::{RotatedSecret, WebhookSubscriptionCommand};
use carelog_domain::{OrganizationId, SubscriptionId};
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_tests::{
    ExampleReceiver, Language, Product, confirm, new_secret, run, scope, start_appointment, subscribe, until,
};
use reqwest::Client;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

pub(crate) const RUST_BINARY: &str = env!("CARGO_BIN_EXE_receiver-example");
const LANGUAGES: [Language; 3] = [Language::Python, Language::JavaScript, Language::Rust];

/// An example behind a front with TLS, and the subscription that leads there.
struct Subscribed {
    language: Language,
    example: ExampleReceiver,
    subscription_id: SubscriptionId,
}

impl Subscribed {
    /// The subscription signs with `signs`, the receiver knows `knows`.
    async fn new(
        product: &Product,
        organization_id: OrganizationId,
        language: Language,
        signs: &str,
        knows: &str,
    ) -> Self {
        let example = ExampleReceiver::start(language, &[knows], RUST_BINARY).await;
        let plain = SocketAddr::from((Ipv4Addr::LOCALHOST, example.port));
        let front = product.receiver.front(plain).await.unwrap();
        let subscription_id = SubscriptionId::new(new_id());
        let url = format!("https://localhost:{}/webhooks", front.port());
        subscribe(product.log(), organization_id, subscription_id, &["*"], url, signs.to_owned()).await;
        Self { language, example, subscription_id }
    }

    async fn rotate(&self, product: &Product, organization_id: OrganizationId, secret: &str) {
        let rotate = WebhookSubscriptionCommand::RotateSecret {
            secret: RotatedSecret { secret: secret.to_owned() },
            overlap_seconds: 3_600,
        };
        let id = self.subscription_id.uuid();
        run::<carelog_domain::webhook_subscription::WebhookSubscription>(
            product.log(),
            &scope(organization_id),
            id,
            rotate,
        )
        .await;
    }

    fn refused(&self) -> usize {
        self.example.said().iter().filter(|line| line["verdict"] == "refused").count()
    }

    /// How often it said so about events of one stream.
    fn count(&self, verdict: &str, stream_id: uuid::Uuid) -> usize {
        let about = |line: &Value| line["message"]["data"]["appointment_id"] == json!(stream_id);
        self.example.said().iter().filter(|line| line["verdict"] == verdict && about(line)).count()
    }
}

/// Two events of a new appointment.
async fn happen(product: &Product, organization_id: OrganizationId) -> uuid::Uuid {
    let stream_id = start_appointment(product.log(), organization_id).await;
    run::<Appointment>(product.log(), &scope(organization_id), stream_id, confirm()).await;
    stream_id
}

#[tokio::test(flavor = "multi_thread")]
async fn t45_the_official_libraries_verify_every_delivery_before_during_and_after_a_rotation() {
    let product = Product::start().await;
    let (organization_id, _) = product.clinic().await;
    let (old, new) = (new_secret(), new_secret());
    let (mut with_old, mut with_new) = (Vec::new(), Vec::new());
    for language in LANGUAGES {
        with_old.push(Subscribed::new(&product, organization_id, language, &old, &old).await);
        with_new.push(Subscribed::new(&product, organization_id, language, &old, &new).await);
    }

    // Before: the old secret alone.
    let before = happen(&product, organization_id).await;
    for receiver in &with_old {
        all_said(&product, receiver, before).await;
    }
    for receiver in &with_new {
        until("the new secret does not fit yet", async || (receiver.refused() > 0).then_some(())).await;
    }

    // During: both, each by itself.
    for receiver in with_old.iter().chain(&with_new) {
        receiver.rotate(&product, organization_id, &new).await;
    }
    for receiver in &with_new {
        until_verified(&product, receiver, organization_id).await;
    }
    let refused: Vec<usize> = with_old.iter().chain(&with_new).map(Subscribed::refused).collect();
    let during = happen(&product, organization_id).await;
    for receiver in with_old.iter().chain(&with_new) {
        all_said(&product, receiver, during).await;
    }
    let refused_since: Vec<usize> = with_old.iter().chain(&with_new).map(Subscribed::refused).collect();
    assert_eq!(refused_since, refused, "nothing is refused while the secrets overlap");

    // After: as if the hour had passed.
    product.sql("update webhooks.webhook_subscription_parts set overlap_seconds = 0").await;
    for receiver in &with_old {
        let before = receiver.refused();
        until("the old secret fits no more", async || {
            product.settled().await;
            happen(&product, organization_id).await;
            (receiver.refused() > before).then_some(())
        })
        .await;
    }
    let after = happen(&product, organization_id).await;
    for receiver in &with_new {
        all_said(&product, receiver, after).await;
    }
    product.settled().await;
    for receiver in &with_old {
        assert_eq!(receiver.count("applied", after), 0, "{:?}", receiver.language);
    }
    product.stop().await;
}

/// Waits until both events of a stream were verified; in whichever order they came, the newer one was applied.
async fn all_said(product: &Product, receiver: &Subscribed, stream_id: uuid::Uuid) {
    until("both events are verified", async || {
        product.look_for_due_effects().await;
        let applied = receiver.count("applied", stream_id);
        (applied + receiver.count("late", stream_id) == 2 && applied > 0).then_some(())
    })
    .await;
}

async fn until_verified(product: &Product, receiver: &Subscribed, organization_id: OrganizationId) {
    until("the new secret fits", async || {
        let stream_id = happen(product, organization_id).await;
        product.settled().await;
        (receiver.count("applied", stream_id) > 0).then_some(())
    })
    .await;
}

/// Signs as Carelog does, at a time of the test's choice.
struct Forger {
    client: Client,
    url: String,
    webhook: Webhook,
}

impl Forger {
    async fn post(&self, id: &str, seconds_ago: i64, signed: &[u8], sent: &[u8]) -> u16 {
        let timestamp = SystemClock.now().unix_seconds() - seconds_ago;
        let signature = self.webhook.sign(id, timestamp, signed).unwrap();
        self.post_signed(id, &timestamp.to_string(), &signature, sent).await
    }

    async fn post_signed(&self, id: &str, timestamp: &str, signature: &str, sent: &[u8]) -> u16 {
        let request = self.client.post(&self.url).body(sent.to_vec());
        let request = request.header("webhook-id", id).header("webhook-timestamp", timestamp);
        let answer = request.header("webhook-signature", signature).send().await.unwrap();
        answer.status().as_u16()
    }
}

fn message(sequence: u64, data: &str) -> Vec<u8> {
    format!(r#"{{"event":"form.signed","sequence":{sequence},"data":{data}}}"#).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_refuse_what_is_forged_and_apply_once_and_in_order() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for language in LANGUAGES {
        let secret = new_secret();
        let example = ExampleReceiver::start(language, &[&new_secret(), &secret], RUST_BINARY).await;
        let forger = Forger {
            client: Client::builder().no_proxy().build().unwrap(),
            url: format!("http://127.0.0.1:{}/", example.port),
            webhook: Webhook::new(&secret).unwrap(),
        };
        let body = message(7, r#"{"form_id":"a"}"#);

        assert_eq!(forger.post("tampered", 0, &body, &message(8, r#"{"form_id":"a"}"#)).await, 401);
        assert_eq!(forger.post("stale", 301, &body, &body).await, 401);
        assert_eq!(forger.post("early", -360, &body, &body).await, 401);
        let now = SystemClock.now().unix_seconds();
        let foreign = Webhook::new(&new_secret()).unwrap().sign("wrong", now, &body).unwrap();
        let mine = forger.webhook.sign("wrong", now, &body).unwrap();
        for signature in [&foreign, "v1,", "v1", ",", "v1,%", "v2,AAAA", &mine.replace("v1", "v1a"), "ä"] {
            let status = forger.post_signed("wrong", &now.to_string(), signature, &body).await;
            assert_eq!(status, 401, "{language:?} {signature:?}");
        }
        assert_eq!(forger.post_signed("wrong", "now", &mine, &body).await, 401);
        assert_eq!(forger.post_signed("wrong", &now.to_string(), &mine, b"\xff\xfd").await, 401);
        assert_eq!(forger.post("another id", 0, &body, b"").await, 401);

        // Several signatures, of which one fits.
        let both = format!("v1a,AAAA {foreign} {mine}");
        assert_eq!(forger.post_signed("wrong", &now.to_string(), &both, &body).await, 204);
        // Bytes that a receiver that parses and prints again would change.
        let odd = "{ \"form_id\" : \"b\", \"text\": \"Z\\u00fcrich Zürich 😀 \u{2028} \\/ \\\" \u{7f}\", \"n\": 1e2, \"m\": 1.0 }";
        let odd = message(9, odd);
        assert_eq!(forger.post("odd", 299, &odd, &odd).await, 204);
        assert_eq!(forger.post("odd", 0, &odd, &odd).await, 204);
        let late = message(6, r#"{"form_id":"a"}"#);
        assert_eq!(forger.post("late", 0, &late, &late).await, 204);

        let last = until("everything was worked off", async || {
            let verdicts = example.verdicts("late");
            (!verdicts.is_empty()).then_some(verdicts)
        });
        assert_eq!(last.await, ["late"], "{language:?}");
        assert_eq!(example.verdicts("wrong"), ["applied"], "{language:?}");
        assert_eq!(example.verdicts("odd"), ["applied", "duplicate"], "{language:?}");
        let said = example.said();
        let heard = said.iter().find(|line| line["id"] == "odd").unwrap();
        let said: Value = serde_json::from_slice(&odd).unwrap();
        assert_eq!(heard["message"]["data"]["text"], said["data"]["text"], "{language:?}");
    }
}
