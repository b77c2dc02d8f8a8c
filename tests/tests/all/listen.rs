//! `carelog webhooks listen` as a process, and the messages that it fetches.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use carelog_domain::webhook_subscription::{
    DisableReason, RotatedSecret, SubscriptionChange, WebhookSubscriptionCommand,
};
use carelog_event_log::runtime::Projector as _;
use carelog_tests::{ExampleReceiver, Language, Partner, Product, new_secret, start_appointment, until};
use carelog_webhooks::WebhooksProjector;
use futures::future::LocalBoxFuture;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::receivers::RUST_BINARY;

/// A running `carelog webhooks listen --json`; killed when dropped.
struct Listener {
    child: Child,
    lines: Receiver<Value>,
    seen: Vec<Value>,
    errors: Receiver<String>,
    said: String,
}

impl Listener {
    fn start(server: SocketAddr, partner: &Partner, key: &str, secret: &str, more: &[&str]) -> Self {
        let mut child =
            command(server, partner, key).env("CARELOG_WEBHOOK_SECRET", secret).args(more).spawn().unwrap();
        let (to_lines, lines) = channel();
        read_lines(child.stdout.take().unwrap(), move |line| {
            let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            to_lines.send(line).is_ok()
        });
        let (to_errors, errors) = channel();
        read_lines(child.stderr.take().unwrap(), move |line| to_errors.send(line).is_ok());
        Self { child, lines, seen: Vec::new(), errors, said: String::new() }
    }

    /// What it printed so far.
    fn seen(&mut self) -> &[Value] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// What it told beside that.
    fn said(&mut self) -> &str {
        for line in self.errors.try_iter() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        &self.said
    }

    async fn listens(&mut self) {
        until("it listens", async || self.said().contains("listening").then_some(())).await;
    }

    async fn saw(&mut self, count: usize) -> Vec<Value> {
        until("it prints what came", async || (self.seen().len() >= count).then(|| self.seen.clone())).await
    }

    async fn ended(&mut self) -> ExitStatus {
        until("it ends", async || self.child.try_wait().unwrap()).await
    }

    fn interrupt(&self) {
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::INT).unwrap();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `carelog webhooks listen --json` with pipes.
fn command(server: SocketAddr, partner: &Partner, key: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"));
    command
        .args(["webhooks", "listen", "--json", "--subscription", &partner.subscription_id.to_string()])
        .env("CARELOG_SERVER", format!("http://{server}"))
        .env("CARELOG_KEY", key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn read_lines(output: impl Read + Send + 'static, mut take: impl FnMut(String) -> bool + Send + 'static) {
    std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).all(&mut take));
}

fn texts<'a>(values: &'a [Value], field: &str) -> Vec<&'a str> {
    values.iter().map(|value| value[field].as_str().unwrap()).collect()
}

fn product() -> LocalBoxFuture<'static, (Product, Partner, String)> {
    Box::pin(async {
        let product = Product::start().await;
        let (organization_id, key) = product.clinic().await;
        let partner = product.subscribe(organization_id, &["*"]).await;
        (product, partner, key)
    })
}

/// The ids of a partner's deliveries in the order of their events.
async fn ids(product: &Product, partner: &Partner) -> Vec<String> {
    product
        .texts(&format!(
            "select delivery_id::text from webhooks.webhook_events
             where subscription_id = '{}' order by source_sequence",
            partner.subscription_id
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fetched_is_verified_and_handed_on_as_it_would_have_been_sent() {
    let (product, partner, key) = product().await;
    let server = product.server.address.unwrap();
    let example = ExampleReceiver::start(Language::JavaScript, &[&partner.secret], RUST_BINARY).await;
    let forward = format!("http://127.0.0.1:{}/hook", example.port);
    for _ in 0..3 {
        start_appointment(product.log(), partner.organization_id).await;
    }
    product.settled().await;

    let more = ["--forward", &forward, "--from", "start", "--count", "5"];
    let mut listener = Listener::start(server, &partner, &key, &partner.secret, &more);
    assert_eq!(listener.saw(3).await.len(), 3);
    // The others are made while it waits.
    for _ in 0..2 {
        start_appointment(product.log(), partner.organization_id).await;
    }

    assert!(listener.ended().await.success(), "{}", listener.said());
    let seen = listener.saw(5).await;
    let expected = ids(&product, &partner).await;
    assert_eq!(texts(&seen, "id"), expected);
    assert_eq!(texts(&seen, "signature"), ["verified"; 5]);
    assert!(seen.iter().all(|line| line["forward"]["status"] == 204), "{seen:?}");
    let summary = "5 messages, 5 verified, 0 refused; 5 handed on, 5 of them accepted";
    until("it sums up", async || listener.said().contains(summary).then_some(())).await;
    // The example heard the same as the receiver to which they were sent.
    until("all five arrived", async || (partner.hook.counts().accepted == 5).then_some(())).await;
    for receipt in partner.hook.receipts() {
        assert_eq!(example.verdicts(&receipt.webhook_id), ["applied"]);
        let message: Value = serde_json::from_slice(&receipt.body).unwrap();
        let line = seen.iter().find(|line| line["id"] == receipt.webhook_id.as_str()).unwrap();
        assert_eq!(line["message"], message);
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_now_and_an_interrupt_ends_it_in_good_order() {
    let (product, partner, key) = product().await;
    let server = product.server.address.unwrap();
    start_appointment(product.log(), partner.organization_id).await;
    product.settled().await;

    let mut listener = Listener::start(server, &partner, &key, "", &[]);
    listener.listens().await;
    start_appointment(product.log(), partner.organization_id).await;
    let seen = listener.saw(1).await;
    listener.interrupt();

    assert_eq!(listener.ended().await.code(), Some(0));
    assert_eq!(texts(&seen, "id"), ids(&product, &partner).await[1..]);
    assert_eq!(texts(&seen, "signature"), ["not_checked"]);
    let told = "nothing is verified";
    until("it says so", async || listener.said().contains(told).then_some(())).await;
    assert!(listener.said().contains("1 messages, 0 verified, 0 refused"), "{}", listener.said());
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_it_ends_tells_what_was_wrong() {
    let (product, partner, key) = product().await;
    let server = product.server.address.unwrap();
    let (_, stranger) = product.clinic().await;
    start_appointment(product.log(), partner.organization_id).await;
    product.settled().await;

    let of_all = ["--from", "start", "--count", "1"];
    for (key, secret, code, told) in [
        (key.as_str(), new_secret().as_str(), 1, "1 refused"),
        (&key, "whsec_%", 2, "not `whsec_` and base64"),
        (&stranger, &partner.secret, 2, "404"),
        ("clk_nobody_knows", &partner.secret, 2, "401"),
    ] {
        let mut listener = Listener::start(server, &partner, key, secret, &of_all);
        assert_eq!(listener.ended().await.code(), Some(code), "{}", listener.said());
        until("it says why", async || listener.said().contains(told).then_some(())).await;
        assert!(!listener.said().contains(key) && !listener.said().contains(secret));
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_verifies_beside_the_old_one_until_the_overlap_ends() {
    let (product, partner, key) = product().await;
    let server = product.server.address.unwrap();
    let new = new_secret();
    let rotate = |overlap_seconds| WebhookSubscriptionCommand::RotateSecret {
        secret: RotatedSecret { secret: new.clone() },
        overlap_seconds,
    };
    start_appointment(product.log(), partner.organization_id).await;
    product.tell(&partner, rotate(3_600)).await;
    product.settled().await;

    let of_all = ["--from", "start", "--count", "1"];
    let code =
        async |secret: &str| Listener::start(server, &partner, &key, secret, &of_all).ended().await.code();
    assert_eq!((code(&partner.secret).await, code(&new).await), (Some(0), Some(0)));
    product.tell(&partner, rotate(0)).await;
    product.settled().await;
    assert_eq!((code(&partner.secret).await, code(&new).await), (Some(1), Some(0)));
    assert_eq!(code(&format!("{} {new}", partner.secret)).await, Some(0), "either may fit");
    product.stop().await;
}

/// Lets connections through until they are cut.
struct Wire {
    address: SocketAddr,
    tracker: TaskTracker,
    server: SocketAddr,
    cut: CancellationToken,
}

impl Wire {
    async fn to(server: SocketAddr, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (tracker, cut) = (TaskTracker::new(), CancellationToken::new());
        let wire = Self { address: listener.local_addr().unwrap(), tracker, server, cut };
        let (connections, cut) = (wire.tracker.clone(), wire.cut.clone());
        wire.tracker.spawn(wire.cut.clone().run_until_cancelled_owned(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let connection = async move {
                    let mut inside = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                };
                connections.spawn(cut.clone().run_until_cancelled_owned(connection));
            }
        }));
        wire
    }

    /// Ends every connection and refuses new ones.
    async fn cut(self) -> (SocketAddr, SocketAddr) {
        self.cut.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        (self.server, self.address)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_taken_up_again_without_a_gap_or_a_repetition() {
    let (product, partner, key) = product().await;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut wire = Wire::to(product.server.address.unwrap(), any).await;
    let mut listener = Listener::start(wire.address, &partner, &key, &partner.secret, &[]);
    listener.listens().await;
    start_appointment(product.log(), partner.organization_id).await;
    listener.saw(1).await;

    for round in 1..=3 {
        let (server, address) = wire.cut().await;
        start_appointment(product.log(), partner.organization_id).await;
        start_appointment(product.log(), partner.organization_id).await;
        until("it notices", async || (listener.said().matches("again in").count() >= round).then_some(()))
            .await;
        wire = Wire::to(server, address).await;
        listener.saw(1 + 2 * round).await;
    }

    assert_eq!(texts(listener.seen(), "id"), ids(&product, &partner).await);
    listener.interrupt();
    assert_eq!(listener.ended().await.code(), Some(0));
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_quietly_when_nobody_reads_what_it_prints() {
    let (product, partner, key) = product().await;
    for _ in 0..3 {
        start_appointment(product.log(), partner.organization_id).await;
    }
    product.settled().await;

    let mut child =
        command(product.server.address.unwrap(), &partner, &key).args(["--from", "start"]).spawn().unwrap();
    drop(child.stdout.take());
    let ended = until("it ends", async || child.try_wait().unwrap()).await;

    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(ended.success() && !said.contains("panicked"), "{said}");
    assert!(said.contains("1 messages"), "{said}");
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let (product, partner, key) = product().await;
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = server.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let (mut connection, _) = server.accept().await.unwrap();
        // An answer before its question would count as a broken connection.
        let mut question = [0; 4 << 10];
        assert!(connection.read(&mut question).await.unwrap() > 0);
        connection.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
        while connection.write_all(&[b' '; 8 << 10]).await.is_ok() {}
    });

    let mut listener = Listener::start(address, &partner, &key, "", &[]);

    assert_eq!(listener.ended().await.code(), Some(2));
    until("it says why", async || listener.said().contains("is longer than").then_some(())).await;
    product.stop().await;
}

/// Asks for messages.
async fn messages(product: &Product, partner: &Partner, key: &str, query: &str) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (server, id) = (product.server.address.unwrap(), partner.subscription_id);
    let url = format!("http://{server}/v1/webhook-subscriptions/{id}/messages{query}");
    let answer = client.get(url).bearer_auth(key).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_fetched_in_pages_from_a_cursor_even_while_nothing_is_sent() {
    let (product, partner, key) = product().await;
    let pause = WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };
    let headers = [("x-tenant".to_owned(), "s3cret".to_owned())].into();
    let change = SubscriptionChange { url: None, description: None, headers: Some(headers) };
    let change =
        WebhookSubscriptionCommand::Change { filter: None, per_tick_limit: None, change: Some(change) };
    product.tell(&partner, change).await;
    product.tell(&partner, pause).await;
    for _ in 0..5 {
        start_appointment(product.log(), partner.organization_id).await;
    }
    product.settled().await;
    let expected = ids(&product, &partner).await;

    let (mut query, mut fetched) = ("?limit=2".to_owned(), Vec::new());
    let mut last = Value::Null;
    loop {
        let (status, page) = messages(&product, &partner, &key, &query).await;
        assert_eq!(status, 200, "{page}");
        let items = page["messages"].as_array().unwrap();
        fetched.extend(texts(items, "id").into_iter().map(str::to_owned));
        query = format!("?limit=2&after={}", page["next"].as_str().unwrap());
        match items.last() {
            Some(item) => last = item.clone(),
            None => break,
        }
    }

    assert_eq!(fetched, expected);
    let names: Vec<&String> = last["headers"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["content-type", "webhook-id", "webhook-signature", "webhook-timestamp"]);
    let (_, now) = messages(&product, &partner, &key, "?after=now").await;
    assert_eq!(now["messages"], json!([]));
    assert_eq!(query, format!("?limit=2&after={}", now["next"].as_str().unwrap()));
    assert_eq!(partner.hook.counts().received, 0);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_those_of_one_subscription_and_of_one_life_of_the_log() {
    let (product, partner, key) = product().await;
    let other = product.subscribe(partner.organization_id, &["patient.*"]).await;
    start_appointment(product.log(), partner.organization_id).await;
    product.settled().await;

    assert_eq!(messages(&product, &other, &key, "").await.1["messages"], json!([]));
    let (_, stranger) = product.clinic().await;
    for (key, query, status, code) in [
        (&stranger, "", 404, "not_found"),
        (&key, "?wait=31", 422, "invalid_query"),
        (&key, "?limit=201", 422, "invalid_query"),
        (&key, "?after=nonsense", 422, "invalid_query"),
        (&key, "?from=now", 422, "invalid_query"),
        (&key, "?after=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 410, "cursor_of_another_log"),
    ] {
        let (found, body) = messages(&product, &partner, key, query).await;
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{query}");
    }
    product.tell(&other, WebhookSubscriptionCommand::Delete).await;
    product.settled().await;
    assert_eq!(messages(&product, &other, &key, "").await.0, 404);

    // A request that waits is answered as soon as there is something.
    let (_, now) = messages(&product, &partner, &key, "?after=now").await;
    let waiting = format!("?wait=30&after={}", now["next"].as_str().unwrap());
    let (answer, _) = tokio::join!(
        messages(&product, &partner, &key, &waiting),
        start_appointment(product.log(), partner.organization_id)
    );
    assert_eq!(answer.1["messages"].as_array().unwrap().len(), 1);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_waits_in_a_few_requests_at_a_time_and_a_client_that_hangs_up_leaves_its_place() {
    let (product, partner, key) = product().await;
    let (_, stranger) = product.clinic().await;
    let (server, id) = (product.server.address.unwrap(), partner.subscription_id);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let next = async |path: &str| -> String {
        let url = format!("http://{server}{path}");
        let page: Value = client.get(url).bearer_auth(&key).send().await.unwrap().json().await.unwrap();
        page["next"].as_str().unwrap().to_owned()
    };
    let of_messages = format!("/v1/webhook-subscriptions/{id}/messages");
    let messages_url = format!("http://{server}{of_messages}?after={}", next(&of_messages).await);
    let events_url = format!("http://{server}/v1/events?after={}", next("/v1/events?limit=200").await);

    // Nine ask and eight may wait, whichever they are: the first answer is the refusal.
    let mut waiting = JoinSet::new();
    for url in [&messages_url, &events_url].into_iter().cycle().take(9) {
        waiting.spawn(client.get(format!("{url}&wait=30")).bearer_auth(&key).send());
    }
    let refused = waiting.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"5".parse().unwrap()));
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "too_many_waiting");
    let status = async |url: &str, key: &str| client.get(url).bearer_auth(key).send().await.unwrap().status();
    for url in [&messages_url, &events_url] {
        assert_eq!(status(&format!("{url}&wait=1"), &key).await, 429);
        assert_eq!(status(url, &key).await, 200, "who does not wait needs no place");
    }
    assert_eq!(status(&format!("http://{server}/v1/events?wait=1"), &stranger).await, 200);

    waiting.shutdown().await;
    until("the places are free", async || {
        (status(&format!("{events_url}&wait=1"), &key).await == 200).then_some(())
    })
    .await;
    // Those that end by themselves leave theirs too.
    for _ in 0..9 {
        assert_eq!(status(&format!("http://{server}/v1/events?wait=1"), &key).await, 200);
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_appear_late_in_a_quiet_lane_are_seen_before_the_wait_is_over() {
    let (product, partner, key) = product().await;
    product.settled().await;
    let (_, now) = messages(&product, &partner, &key, "?after=now").await;
    let waiting = format!("?wait=30&after={}", now["next"].as_str().unwrap());
    // The projector cannot go on.
    let mut tx = product.databases().core_owner.begin().await.unwrap();
    sqlx::query("select 1 from runtime.checkpoints where projector = $1 for update")
        .bind(WebhooksProjector::NAME)
        .execute(&mut *tx)
        .await
        .unwrap();
    start_appointment(product.log(), partner.organization_id).await;

    let begun = Instant::now();
    let goes_on = async {
        // Longer than the two seconds for which a read waits for a projector.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        tx.rollback().await.unwrap();
    };
    let (answer, ()) = tokio::join!(messages(&product, &partner, &key, &waiting), goes_on);

    assert_eq!(answer.1["messages"].as_array().map(Vec::len), Some(1), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    product.stop().await;
}
