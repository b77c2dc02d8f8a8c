//! The receivers that partners are shown, with the official libraries, behind real deliveries and forged ones.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

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
/// Longest wait for an answer to half a request.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
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
        let about = |line: &Value| line["thing"] == json!(stream_id);
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

/// Waits until both events of a stream were applied, in whichever order they came.
async fn all_said(product: &Product, receiver: &Subscribed, stream_id: uuid::Uuid) {
    until("both events are applied", async || {
        product.look_for_due_effects().await;
        (receiver.count("applied", stream_id) == 2).then_some(())
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

/// A running example, and one who knows its secret.
async fn example_and_forger(language: Language) -> (ExampleReceiver, Forger) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let secret = new_secret();
    let example = ExampleReceiver::start(language, &[&new_secret(), &secret], RUST_BINARY).await;
    let url = format!("http://127.0.0.1:{}/", example.port);
    let client = Client::builder().no_proxy().build().unwrap();
    (example, Forger { client, url, webhook: Webhook::new(&secret).unwrap() })
}

fn message(sequence: u64, data: &str) -> Vec<u8> {
    format!(r#"{{"event":"form.signed","sequence":{sequence},"data":{data}}}"#).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_refuse_what_is_forged_and_apply_the_rest_once() {
    for language in LANGUAGES {
        let (example, forger) = example_and_forger(language).await;
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
        assert_eq!(forger.post("another id", 0, &body, b"{}").await, 401);

        // Several signatures, of which one fits.
        let both = format!("v1a,AAAA {foreign} {mine}");
        assert_eq!(forger.post_signed("wrong", &now.to_string(), &both, &body).await, 204);
        // Bytes that a receiver that parses and prints again would change.
        let odd = "{ \"form_id\" : \"b\", \"text\": \"Z\\u00fcrich Zürich 😀 \u{2028} \\/ \\\" \u{7f}\", \"n\": 1e2, \"m\": 1.0 }";
        let odd = message(9, odd);
        assert_eq!(forger.post("odd", 299, &odd, &odd).await, 204);
        assert_eq!(forger.post("odd", 0, &odd, &odd).await, 204);

        let odd_was_said = until("everything was worked off", async || {
            let verdicts = example.verdicts("odd");
            (verdicts.len() == 2).then_some(verdicts)
        });
        assert_eq!(odd_was_said.await, ["applied", "duplicate"], "{language:?}");
        assert_eq!(example.verdicts("wrong"), ["applied"], "{language:?}");
        let sent: Value = serde_json::from_slice(&odd).unwrap();
        assert_eq!(said_of(&example, "odd").await["set"]["text"], sent["data"]["text"], "{language:?}");
    }
}

/// The first line about a message, once it is there.
async fn said_of(example: &ExampleReceiver, id: &str) -> Value {
    until("the message was applied", async || example.said().into_iter().find(|line| line["id"] == id)).await
}

/// Number ten was answered with 503 and comes again after number eleven.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_apply_an_older_message_but_keep_what_a_newer_one_has_set() {
    for language in LANGUAGES {
        let (example, forger) = example_and_forger(language).await;
        let change = |sequence: u64, status: &str, name: &str, value: &str| {
            let data = json!({"appointment_id": "a", "status": status, name: value});
            json!({"event": format!("appointment.{status}"), "sequence": sequence, "data": data}).to_string()
        };
        for (id, body) in [
            ("eleven", change(11, "confirmed", "channel", "patient")),
            ("ten", change(10, "rescheduled", "starts_at", "Tuesday")),
            ("two", change(2, "booked", "starts_at", "Monday")),
            ("twelve", change(12, "rescheduled", "starts_at", "Friday")),
        ] {
            assert_eq!(forger.post(id, 0, body.as_bytes(), body.as_bytes()).await, 204);
        }

        let mut set = Vec::new();
        for id in ["eleven", "ten", "two", "twelve"] {
            let said = said_of(&example, id).await;
            assert_eq!(said["verdict"], "applied", "{language:?} {id}");
            set.push(said["set"].clone());
        }
        let expected = [
            json!({"appointment_id": "a", "status": "confirmed", "channel": "patient"}),
            json!({"starts_at": "Tuesday"}),
            json!({}),
            json!({"appointment_id": "a", "status": "rescheduled", "starts_at": "Friday"}),
        ];
        assert_eq!(set, expected, "{language:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_answer_415_to_a_signed_message_of_another_format_and_go_on() {
    for language in LANGUAGES {
        let (example, forger) = example_and_forger(language).await;
        let cloud_event =
            r#"{"specversion":"1.0","id":"1","type":"form.signed","sequence":"7","data":{"form_id":"a"}}"#;
        let no_number = r#"{"event":"form.signed","sequence":null,"data":{"form_id":"a"}}"#;
        let no_thing = r#"{"event":"form.signed","sequence":7,"data":{}}"#;
        let no_object = r#"{"event":"form.signed","sequence":7,"data":["form_id"]}"#;
        let deep = "[".repeat(100_000);
        for body in [cloud_event, no_number, no_thing, no_object, "null", "[]", "7", "{}", "no JSON", &deep] {
            let body = body.as_bytes();
            assert_eq!(forger.post("other", 0, body, body).await, 415, "{language:?}");
        }

        let good = message(7, r#"{"form_id":"a"}"#);
        assert_eq!(forger.post("other", 0, &good, &good).await, 204, "{language:?}");
        assert_eq!(said_of(&example, "other").await["verdict"], "applied", "{language:?}");
    }
}

/// Sends bytes that are no whole request, says no more, and returns what comes until the other side closes.
fn send_part(port: u16, bytes: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LONGEST_ANSWER)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{bytes:?} is not answered"),
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_survive_a_client_that_hangs_up_midway() {
    for language in LANGUAGES {
        let (example, forger) = example_and_forger(language).await;

        let cut =
            send_part(example.port, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"event\"");

        assert!(!cut.starts_with("HTTP/1.1 2"), "{language:?} {cut}");
        let good = message(7, r#"{"form_id":"a"}"#);
        assert_eq!(forger.post("good", 0, &good, &good).await, 204, "{language:?}");
        assert_eq!(said_of(&example, "good").await["verdict"], "applied", "{language:?}");
    }
}

/// The other examples leave such lengths to their libraries.
#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_refuses_a_length_that_is_missing_wrong_or_too_large() {
    let (example, forger) = example_and_forger(Language::Python).await;

    for (header, status) in [
        ("host: a", 411),
        ("transfer-encoding: chunked", 411),
        ("content-length: -1", 411),
        ("content-length: ten", 411),
        ("content-length: 1_0", 411),
        ("content-length: 1000001", 413),
        ("content-length: 99999999999999999999", 413),
    ] {
        let answer = send_part(example.port, &format!("POST / HTTP/1.1\r\nhost: a\r\n{header}\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{header}: {answer}");
        assert!(answer.contains("connection: close"), "{header}: {answer}");
    }

    let good = message(7, r#"{"form_id":"a"}"#);
    assert_eq!(forger.post("good", 0, &good, &good).await, 204);
}
