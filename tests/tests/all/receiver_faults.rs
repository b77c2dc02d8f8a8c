//! The sender against receivers that do everything wrong. The numbers are those of the faults that a trusted sender must
//! pass; what needs the queue and the schedule beside the client runs through the whole product.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use carelog_domain::webhook_delivery::{AttemptDetail, AttemptOutcome as OutcomeKind};
use carelog_embedded::receiver::{Behaviour, Fault, Hook, Receiver, ReceiverOptions, Reply, Script, Tls};
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_tests::{Partner, Product, new_secret, receiver_options, start_appointment, until};
use carelog_webhooks::sending::{
    AddressPolicy, AttemptOutcome, BodyEnd, DeliveryControl, Jitter, PreparedRequest, Sender, SenderOptions,
    SystemLookup, Verdict, Vetting, WebhookSecret, WebhookUrl, retry_delay,
};
use futures::future::LocalBoxFuture;

const BODY: &[u8] = br#"{"event":"appointment.booked","sequence":1,"data":{}}"#;
/// A deadline that a test can wait for, yet long enough for a handshake on a busy machine.
const IMPATIENCE: Duration = Duration::from_millis(1_500);
/// What the buffers between a receiver and a sender may hold at most.
const BUFFERS: u64 = 64 << 20;

/// A receiver and a sender that trusts it.
pub(crate) struct Pair {
    receiver: Receiver,
    pub(crate) hook: Arc<Hook>,
    secret: String,
    sender: Sender,
}

impl Pair {
    pub(crate) async fn new() -> Self {
        Self::with(receiver_options(), Duration::from_secs(10)).await
    }

    async fn impatient() -> Self {
        Self::with(receiver_options(), IMPATIENCE).await
    }

    async fn with(options: ReceiverOptions, deadline: Duration) -> Self {
        let receiver = Receiver::start(options).await.unwrap();
        let hook = receiver.hook("partner");
        let secret = new_secret();
        hook.set_secrets(&[&secret]).unwrap();
        let sender = Sender::new(SenderOptions {
            extra_root_pem: Some(receiver.ca_pem().as_bytes().to_vec()),
            deadline,
            ..SenderOptions::new(Vetting::new(Arc::new(SystemLookup::new()), AddressPolicy::with_loopback()))
        });
        Self { hook, secret, sender: sender.unwrap(), receiver }
    }

    async fn post(&self) -> AttemptOutcome {
        self.post_to(&self.receiver.url("partner")).await
    }

    async fn post_to(&self, url: &str) -> AttemptOutcome {
        self.send(url, Bytes::from_static(BODY)).await
    }

    /// One attempt with a body of any bytes.
    pub(crate) async fn post_body(&self, body: Bytes) -> AttemptOutcome {
        self.send(&self.receiver.url("partner"), body).await
    }

    async fn send(&self, url: &str, body: Bytes) -> AttemptOutcome {
        let url = WebhookUrl::parse(url, &AddressPolicy::with_loopback()).unwrap();
        let secret = WebhookSecret::parse(&self.secret).unwrap();
        let now = SystemClock.now().unix_seconds();
        let request = PreparedRequest::signed(url, new_id(), now, body, &[secret]);
        self.sender.post(&request).await
    }

    /// One attempt against one fault; whatever it is, there is one request.
    async fn meets(&self, fault: Fault) -> AttemptOutcome {
        self.does(Behaviour::Fault(fault)).await
    }

    async fn does(&self, behaviour: Behaviour) -> AttemptOutcome {
        let before = self.hook.counts();
        self.hook.set_behaviour(behaviour.clone());
        let outcome = self.post().await;
        let after = self.hook.counts();
        assert_eq!(after.received, before.received + 1, "{behaviour:?}: one request, nothing hidden");
        assert_eq!(after.verified, before.verified + 1, "{behaviour:?}");
        outcome
    }
}

async fn attempts(product: &Product) -> Vec<String> {
    product
        .texts(
            "select concat_ws(' ', e.source_type, e.state, e.reason, a.number, a.outcome, a.status)
             from webhooks.webhook_attempts a
             join webhooks.webhook_events e using (organization_id, delivery_id)
             order by e.source_sequence, a.number",
        )
        .await
}

async fn attempts_become(product: &Product, expected: &[&str]) {
    until("the attempts stand as expected", async || (attempts(product).await == expected).then_some(()))
        .await;
}

/// A product with a partner whose receiver does this.
fn partner(behaviour: Behaviour) -> LocalBoxFuture<'static, (Product, Partner)> {
    Box::pin(async {
        let product = Product::start().await;
        let (organization_id, _) = product.clinic().await;
        let partner = product.subscribe(organization_id, &["*"]).await;
        partner.hook.set_behaviour(behaviour);
        start_appointment(product.log(), organization_id).await;
        (product, partner)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_refused_port_is_retried_on_schedule() {
    let pair = Pair::new().await;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();

    let outcome = pair.post_to(&format!("https://localhost:{free}/")).await;

    assert_eq!(outcome.kind, OutcomeKind::ConnectRefused);
    let now = time::OffsetDateTime::UNIX_EPOCH;
    let verdict = outcome.verdict(1, Jitter::NONE, now);
    assert_eq!(verdict, Verdict::RetryLater { not_before: now + Duration::from_mins(1) });
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_a_receiver_that_never_answers_costs_ten_seconds_and_one_request() {
    let pair = Pair::new().await;

    let outcome = pair.meets(Fault::Never).await;

    assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::Timeout, BodyEnd::Absent));
    assert!(outcome.duration >= Duration::from_secs(10), "{:?}", outcome.duration);
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_silence_before_tls_is_a_timeout_too() {
    let mut options = receiver_options();
    options.tls = Tls::Silent;
    let pair = Pair::with(options, IMPATIENCE).await;

    assert_eq!(pair.post().await.kind, OutcomeKind::Timeout);
    assert_eq!(pair.hook.counts().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn t03_a_head_shortly_before_the_deadline_is_delivered() {
    let pair = Pair::with(receiver_options(), Duration::from_secs(5)).await;

    let outcome = pair.does(Behaviour::Delay(Duration::from_secs(3))).await;

    assert_eq!(outcome.kind, OutcomeKind::Success);
    assert!(outcome.duration >= Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn t04_a_trickled_body_is_delivered_by_the_deadline_with_one_request() {
    let pair = Pair::impatient().await;

    let outcome = pair.meets(Fault::Trickle).await;

    assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::Success, BodyEnd::TimedOut));
    assert!(!outcome.body.prefix.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn t04_a_trickled_body_keeps_nothing_from_the_others() {
    let (product, slow) = partner(Behaviour::Trickle).await;
    let quick = product.subscribe(slow.organization_id, &["*"]).await;
    until("the slow receiver is called", async || (slow.hook.counts().received == 1).then_some(())).await;

    let began = Instant::now();
    start_appointment(product.log(), slow.organization_id).await;
    until("the quick one has its event", async || (quick.hook.counts().accepted == 1).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(10), "it did not wait for the slow one's deadline");

    until("all is delivered", async || {
        let delivered = "select count(*) from webhooks.webhook_events where state = 'delivered'";
        (product.count(delivered).await == 3).then_some(())
    })
    .await;
    assert_eq!(slow.hook.counts().received, 2, "one request each");
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_reset_after_request_is_failed_without_a_hidden_resend() {
    let pair = Pair::new().await;

    for fault in [Fault::Reset, Fault::Close] {
        assert_eq!(pair.meets(fault).await.kind, OutcomeKind::Reset, "{fault:?}");
    }

    // The same on a connection that was used before.
    pair.does(Behaviour::Ok).await;
    assert_eq!(pair.meets(Fault::Reset).await.kind, OutcomeKind::Reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_a_reset_delivery_waits_for_its_time_in_the_log() {
    let (product, partner) = partner(Behaviour::Reset).await;

    attempts_become(&product, &["appointment.booked pending 1 reset"]).await;

    product.settled().await;
    assert_eq!(partner.hook.counts().received, 1);
    partner.hook.set_behaviour(Behaviour::Ok);
    product.pull_retries().await;
    let both = ["appointment.booked delivered 1 reset", "appointment.booked delivered 2 success 204"];
    attempts_become(&product, &both).await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_what_is_no_head_is_a_failure() {
    let pair = Pair::impatient().await;

    for (fault, kind) in [
        (Fault::ResetInHead, OutcomeKind::Reset),
        (Fault::CloseInHead, OutcomeKind::Reset),
        (Fault::Garbage, OutcomeKind::InvalidResponse),
        (Fault::Http09, OutcomeKind::InvalidResponse),
        (Fault::InformationalFlood, OutcomeKind::Timeout),
    ] {
        let outcome = pair.meets(fault).await;
        assert_eq!((outcome.kind, outcome.body.end), (kind, BodyEnd::Absent), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_a_2xx_head_delivers_though_its_body_breaks() {
    let pair = Pair::impatient().await;

    for fault in [Fault::LongContentLength, Fault::BrokenChunk] {
        let outcome = pair.meets(fault).await;
        assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::Success, BodyEnd::Broken), "{fault:?}");
        assert_eq!(outcome.body.prefix, "part");
    }
    let script = "[[step]]\nfault = \"long-content-length\"\nstatus = 500";
    let outcome = pair.does(Behaviour::Script(Script::parse(script).unwrap())).await;
    assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::HttpStatus, BodyEnd::Broken));
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_a_body_of_ten_gigabytes_is_cut_off_after_a_few_kilobytes() {
    let pair = Pair::new().await;

    let outcome = pair.meets(Fault::HugeBody).await;

    assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::Success, BodyEnd::CutOff));
    assert_eq!(outcome.body.prefix.len(), 1024);
    assert_ends(&pair).await;
}

/// The connection was dropped, and what the receiver had given to it by then fits into the buffers on the way.
async fn assert_ends(pair: &Pair) {
    let (hook, mut before) = (&pair.hook, u64::MAX);
    until("the receiver has nobody to write to", async || {
        let now = hook.flooded_bytes();
        (std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    assert!((1..BUFFERS).contains(&hook.flooded_bytes()), "{} bytes", hook.flooded_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn t09_a_gzip_bomb_is_not_inflated() {
    let pair = Pair::new().await;

    let outcome = pair.meets(Fault::GzipBomb).await;

    assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::Success, BodyEnd::CutOff));
    assert_eq!(&outcome.body.prefix[..2], b"\x1f\x8b", "the bytes are kept as they came");
    assert_ends(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_floods_of_headers_are_a_failure() {
    let pair = Pair::new().await;

    for fault in [Fault::LongHeader, Fault::HeaderFlood] {
        let outcome = pair.meets(fault).await;
        assert_eq!(outcome.kind, OutcomeKind::InvalidResponse, "{fault:?}");
    }
    assert_ends(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t11_a_binary_body_is_kept_as_it_came() {
    let pair = Pair::new().await;

    let outcome = pair.meets(Fault::BinaryBody).await;

    assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::Success, BodyEnd::Complete));
    let kept = &outcome.body.prefix;
    assert!(kept.contains(&0) && str::from_utf8(kept).is_err() && kept.ends_with(b"end"), "{kept:?}");

    let (product, partner) = partner(Behaviour::Fault(Fault::BinaryBody)).await;
    attempts_become(&product, &["appointment.booked delivered 1 success 200"]).await;
    let refusal = Script::parse("[[step]]\nfault = \"binary-body\"\nstatus = 500").unwrap();
    partner.hook.set_behaviour(Behaviour::Script(refusal));
    start_appointment(product.log(), partner.organization_id).await;
    let second = "appointment.booked pending 1 http_status 500";
    attempts_become(&product, &["appointment.booked delivered 1 success 200", second]).await;
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t12_redirects_fail_and_their_target_is_never_contacted() {
    let pair = Pair::new().await;
    let target = Receiver::start(receiver_options()).await.unwrap();
    let location = target.hook("target");
    for status in [301, 302, 303, 307, 308] {
        let headers = vec![("location".to_owned(), target.url("target"))];

        let outcome = pair.does(Behaviour::Answer { status, headers }).await;

        assert_eq!(outcome.kind, OutcomeKind::Redirect, "{status}");
        assert!(outcome.headers.contains(&("location", "localhost".to_owned())), "{:?}", outcome.headers);
    }
    assert_eq!(location.counts().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn t13_a_2xx_is_success_and_nothing_else() {
    let pair = Pair::new().await;

    for status in [200, 202, 204, 299] {
        assert_eq!(pair.does(Behaviour::Status(status)).await.kind, OutcomeKind::Success, "{status}");
    }
    for status in [300, 304, 305, 400, 401, 404, 500, 599] {
        let outcome = pair.does(Behaviour::Status(status)).await;
        assert_eq!(outcome.kind, OutcomeKind::HttpStatus, "{status}");
        assert_eq!(outcome.status.map(|status| status.as_u16()), Some(status));
    }
    // A status that only announces another one is no answer.
    let raw = b"HTTP/1.1 199 Well\r\n\r\n".to_vec();
    let outcome = pair.does(Behaviour::Raw(raw)).await;
    assert!(outcome.status.is_none() && outcome.kind != OutcomeKind::Success, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t14_gone_disables_the_subscription_and_closes_what_waits() {
    let (product, partner) = partner(Behaviour::Status(500)).await;
    attempts_become(&product, &["appointment.booked pending 1 http_status 500"]).await;
    partner.hook.set_behaviour(Behaviour::Status(410));
    start_appointment(product.log(), partner.organization_id).await;

    is_disabled(&product, "gone").await;

    until("what waits is closed with a reason", async || {
        product.pull_retries().await;
        let closed = "select count(*) from webhooks.webhook_events where reason = 'disabled'";
        (product.count(closed).await == 2).then_some(())
    })
    .await;
    // The organization learns it from the log and from the subscription.
    let told = "select count(*) from log.events where event_type = 'webhook_subscription.disabled'";
    assert_eq!(product.count(told).await, 1);
    product.is_sound().await;
    product.stop().await;
}

async fn is_disabled(product: &Product, reason: &str) {
    let disabled = format!(
        "select count(*) from webhooks.webhook_subscriptions
         where status = 'disabled' and disable_reason = '{reason}'"
    );
    until("the subscription is disabled", async || (product.count(&disabled).await == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t15_retry_after_is_read_clamped_and_never_shortens_the_schedule() {
    let pair = Pair::new().await;
    let now = SystemClock.now().unix_seconds();
    let date = |offset: i64| {
        let at = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(now + offset).unwrap());
        httpdate::fmt_http_date(at)
    };
    let minute = Duration::from_mins(1);

    for (value, least, most) in [
        ("120", 120, 120),
        (&date(300), 290, 300),
        (&date(-300), 60, 60),
        ("-5", 60, 60),
        ("1e99", 60, 60),
        ("soon", 60, 60),
        ("", 60, 60),
        ("99999999999999999999", 24 * 3600, 24 * 3600),
        ("9999999", 24 * 3600, 24 * 3600),
    ] {
        for status in [429, 503] {
            let outcome = pair.does(Behaviour::RetryAfter { status, value: value.to_owned() }).await;
            assert_eq!(outcome.kind, OutcomeKind::HttpStatus);
            let delay = retry_delay(1, Jitter::NONE, outcome.retry_after).unwrap();
            let fits = Duration::from_secs(least)..=Duration::from_secs(most);
            assert!(delay >= minute && fits.contains(&delay), "{value:?}: {delay:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t15_retry_after_holds_the_other_deliveries_of_the_subscription() {
    let behaviour = Behaviour::RetryAfter { status: 429, value: "600".to_owned() };
    let (product, partner) = partner(behaviour).await;
    attempts_become(&product, &["appointment.booked pending 1 http_status 429"]).await;
    let held = "select count(*) from runtime.effect_queues where held_until > now() + interval '500 s'";
    until("the queue is held", async || (product.count(held).await == 1).then_some(())).await;

    partner.hook.set_behaviour(Behaviour::Ok);
    let free = product.subscribe(partner.organization_id, &["*"]).await;
    start_appointment(product.log(), partner.organization_id).await;
    until("another subscription is not held", async || (free.hook.counts().accepted == 1).then_some(()))
        .await;

    assert_eq!(partner.hook.counts().received, 1);
    product.settled().await;
    assert_eq!(partner.hook.counts().received, 2, "it waits for the end of the pause and for nothing else");
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t16_abort_message_ends_one_delivery_and_disable_ends_the_subscription() {
    let wish = |status, wish: &str| Behaviour::Answer {
        status,
        headers: vec![("webhook-delivery".to_owned(), wish.to_owned())],
    };
    let pair = Pair::new().await;
    for (value, control) in [
        ("abort-message", Some(DeliveryControl::AbortMessage)),
        ("disable", Some(DeliveryControl::Disable)),
        ("dance", None),
    ] {
        assert_eq!(pair.does(wish(400, value)).await.control, control, "{value}");
    }

    let (product, partner) = partner(wish(500, "abort-message")).await;
    let aborted = "appointment.booked failed aborted 1 http_status 500";
    attempts_become(&product, &[aborted]).await;
    partner.hook.set_behaviour(wish(200, "disable"));
    start_appointment(product.log(), partner.organization_id).await;
    is_disabled(&product, "receiver_request").await;
    attempts_become(&product, &[aborted, "appointment.booked delivered 1 success 200"]).await;
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t17_a_connection_that_was_closed_between_requests_neither_loses_nor_doubles() {
    let pair = Pair::new().await;
    let before = pair.hook.counts();
    pair.hook.set_behaviour(Behaviour::Fault(Fault::CloseAfterAnswer));

    let (mut arrived, mut failed) = (0, 0);
    for _ in 0..200 {
        match pair.post().await.kind {
            OutcomeKind::Success => arrived += 1,
            // A busy machine may also take too long over two hundred handshakes.
            OutcomeKind::Reset | OutcomeKind::Timeout => failed += 1,
            other => panic!("{other:?}"),
        }
    }

    // A request on a connection that is just being closed fails honestly; it is not sent again behind the log's back.
    let counts = pair.hook.counts();
    assert_eq!(counts.duplicates, before.duplicates, "nothing is sent twice");
    assert!(
        counts.received >= arrived && counts.received <= arrived + failed,
        "{arrived} {failed} {counts:?}"
    );
    assert!(arrived > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn t23_whatever_is_wrong_with_tls_is_named_and_the_body_stays_at_home() {
    for (tls, kind, detail) in [
        (Tls::Expired, OutcomeKind::TlsCertificate, AttemptDetail::TlsExpired),
        (Tls::NotYetValid, OutcomeKind::TlsCertificate, AttemptDetail::TlsNotYetValid),
        (Tls::SelfSigned, OutcomeKind::TlsCertificate, AttemptDetail::TlsUnknownIssuer),
        (Tls::WrongHost, OutcomeKind::TlsCertificate, AttemptDetail::TlsWrongHost),
        (Tls::UnknownAuthority, OutcomeKind::TlsCertificate, AttemptDetail::TlsUnknownIssuer),
        (Tls::BadSignature, OutcomeKind::TlsCertificate, AttemptDetail::TlsBadSignature),
        (Tls::Tls11, OutcomeKind::TlsFailed, AttemptDetail::TlsProtocol),
        (Tls::NoSharedCipher, OutcomeKind::TlsFailed, AttemptDetail::TlsCipher),
    ] {
        let mut options = receiver_options();
        options.tls = tls;
        let pair = Pair::with(options, Duration::from_secs(10)).await;

        let outcome = pair.post().await;

        assert_eq!((outcome.kind, outcome.detail), (kind, Some(detail)), "{tls:?}");
        assert_eq!(pair.hook.counts().received, 0, "{tls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_of_a_script_reaches_the_sender_in_its_turn() {
    let pair = Pair::new().await;
    let script = "[[step]]\ncount = 2\nstatus = 503\n[[step]]\ncount = 1\nfault = \"reset\"\n";
    pair.hook.set_behaviour(Behaviour::Script(Script::parse(script).unwrap()));

    let mut seen = Vec::new();
    for _ in 0..4 {
        let outcome = pair.post().await;
        seen.push((outcome.kind, outcome.status.map(|status| status.as_u16())));
    }

    let busy = (OutcomeKind::HttpStatus, Some(503));
    assert_eq!(seen, [busy, busy, (OutcomeKind::Reset, None), (OutcomeKind::Success, Some(204))]);
    assert_eq!(Reply::default(), Reply::of(204));
}
