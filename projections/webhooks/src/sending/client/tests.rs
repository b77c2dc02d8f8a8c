use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use tokio::net::TcpListener;
use uuid::Uuid;

use self::receiver::{Answer, Certificate, Receiver};
use super::super::address::AddressPolicy;
use super::super::headers::ExtraHeaders;
use super::super::request::BodyFormat;
use super::super::resolver::{Lookup, LookupError};
use super::super::secret::WebhookSecret;
use super::super::signature::sign;
use super::super::url::WebhookUrl;
use super::*;

mod receiver;

const BODY: &str = r#"{"event":"appointment.booked"}"#;
/// A deadline that a test can wait for, yet long enough for a handshake on a busy machine.
const IMPATIENCE: Duration = Duration::from_millis(800);
const NOW_SECS: i64 = 784_111_777;

/// A name server of one answer.
struct Fixed(Option<IpAddr>);

#[async_trait]
impl Lookup for Fixed {
    async fn addresses(&self, _host: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.0.map(|ip| vec![ip]).ok_or(LookupError::NotFound)
    }
}

fn options() -> SenderOptions {
    looking_up(Fixed(None))
}

fn looking_up(lookup: impl Lookup + 'static) -> SenderOptions {
    SenderOptions::new(Vetting::new(Arc::new(lookup), AddressPolicy::with_loopback()))
}

fn sender_for(receiver: &Receiver) -> Sender {
    Sender::new(SenderOptions { extra_root_pem: Some(receiver.root_pem.clone().into_bytes()), ..options() })
        .unwrap()
}

fn impatient_sender_for(receiver: &Receiver) -> Sender {
    Sender { deadline: IMPATIENCE, ..sender_for(receiver) }
}

fn secret() -> WebhookSecret {
    WebhookSecret::from_random([9; 32])
}

fn prepared(url: &str) -> PreparedRequest {
    let url = WebhookUrl::parse(url, &AddressPolicy::with_loopback()).unwrap();
    PreparedRequest::signed(
        url,
        Uuid::from_u128(7),
        NOW_SECS,
        Bytes::from_static(BODY.as_bytes()),
        &[secret()],
    )
}

fn to(receiver: &Receiver) -> PreparedRequest {
    prepared(&format!("https://127.0.0.1:{}/hook?key=1", receiver.port))
}

fn response(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn post_to(answer: Answer) -> (AttemptOutcome, Receiver) {
    let receiver = Receiver::answering(answer).await;
    let outcome = sender_for(&receiver).post(&to(&receiver)).await;
    (outcome, receiver)
}

#[tokio::test]
async fn a_200_is_a_success_and_the_bytes_on_the_wire_are_the_signed_ones() {
    let (outcome, receiver) = post_to(Answer::Write(response("200 OK", "thanks"))).await;
    assert_eq!((outcome.kind, outcome.status), (OutcomeKind::Success, Some(StatusCode::OK)));
    assert_eq!((&outcome.body.prefix[..], outcome.body.end), (&b"thanks"[..], BodyEnd::Complete));

    let [request] = receiver.requests().try_into().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, BODY);
    let id = "00000000-0000-0000-0000-000000000007";
    let signature = sign(&[secret()], id, NOW_SECS, BODY.as_bytes());
    for line in [
        "POST /hook?key=1 HTTP/1.1",
        "content-type: application/json",
        &format!("webhook-id: {id}"),
        &format!("webhook-timestamp: {NOW_SECS}"),
        &format!("webhook-signature: {signature}"),
        &format!("user-agent: Carelog/{}", env!("CARGO_PKG_VERSION")),
        &format!("host: 127.0.0.1:{}", receiver.port),
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    assert!(!head.contains("accept-encoding"), "a compressed answer is not asked for");
}

#[tokio::test]
async fn format_and_extra_headers_are_sent() {
    let receiver = Receiver::answering(Answer::Write(response("204 No Content", ""))).await;
    let extra = ExtraHeaders::parse([("authorization", "Bearer t"), ("x-tenant", "7")]).unwrap();
    let request = to(&receiver).with_format(BodyFormat::CloudEvent).with_headers(&extra);
    assert_eq!(sender_for(&receiver).post(&request).await.kind, OutcomeKind::Success);
    let [request] = receiver.requests().try_into().unwrap();
    for line in ["content-type: application/cloudevents+json", "authorization: Bearer t", "x-tenant: 7"] {
        assert_eq!(request.lines().filter(|found| *found == line).count(), 1, "{line}");
    }
}

#[tokio::test]
async fn attempts_to_one_host_share_a_connection() {
    let receiver = Receiver::answering(Answer::Write(response("200 OK", "ok"))).await;
    let sender = sender_for(&receiver);
    for _ in 0..5 {
        assert_eq!(sender.post(&to(&receiver)).await.kind, OutcomeKind::Success);
    }
    assert_eq!((receiver.connections(), receiver.requests().len()), (1, 5));
}

#[tokio::test]
async fn localhost_reaches_the_receiver_by_name() {
    let receiver = Receiver::answering(Answer::Write(response("200 OK", ""))).await;
    let request = prepared(&format!("https://localhost:{}/", receiver.port));
    assert_eq!(sender_for(&receiver).post(&request).await.kind, OutcomeKind::Success);
}

#[tokio::test]
async fn the_receivers_wishes_are_read_from_the_head() {
    let head = "503 Busy\r\nretry-after: Sun, 06 Nov 1994 08:50:37 GMT\r\nwebhook-delivery: abort-message";
    let (outcome, _) = post_to(Answer::Write(response(head, ""))).await;
    assert_eq!(outcome.kind, OutcomeKind::HttpStatus);
    assert_eq!(outcome.status, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(outcome.retry_after, Some(Duration::from_mins(1)));
    assert_eq!(outcome.control, Some(DeliveryControl::AbortMessage));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_its_target_is_never_contacted() {
    let target = Receiver::answering(Answer::Write(response("200 OK", ""))).await;
    for code in [301, 302, 303, 307, 308] {
        let head = format!("{code} Moved\r\nlocation: https://localhost:{}/secret", target.port);
        let (outcome, _) = post_to(Answer::Write(response(&head, ""))).await;
        assert_eq!(outcome.kind, OutcomeKind::Redirect, "{code}");
        assert_eq!(outcome.headers, [("location", "localhost".to_owned())]);
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn given_a_2xx_head_then_whatever_the_body_does_is_only_noted() {
    let partial = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart".to_vec();
    let broken_chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npartZZ\r\n".to_vec();
    for (answer, end) in [
        (Answer::WriteThenClose(partial.clone()), BodyEnd::Broken),
        (Answer::Write(broken_chunk), BodyEnd::Broken),
        (Answer::WriteThenHang(partial), BodyEnd::TimedOut),
    ] {
        let receiver = Receiver::answering(answer).await;
        let outcome = impatient_sender_for(&receiver).post(&to(&receiver)).await;
        assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::Success, end));
        assert_eq!(&outcome.body.prefix[..], b"part");
        assert!(outcome.duration < Duration::from_secs(3));
        assert_eq!(receiver.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_finish_the_head_costs_one_deadline() {
    for begun in [&b""[..], b"HTTP/1.1 200 OK\r\nx-slow: ", b"HTTP/1.1 100 Continue\r\n\r\n"] {
        let receiver = Receiver::answering(Answer::WriteThenHang(begun.to_vec())).await;
        let outcome = impatient_sender_for(&receiver).post(&to(&receiver)).await;
        assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::Timeout, BodyEnd::Absent));
        assert!(outcome.duration >= IMPATIENCE && outcome.duration < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn a_server_that_never_finishes_the_handshake_runs_into_the_connect_timeout() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let sender =
        Sender::new(SenderOptions { connect_timeout: Duration::from_millis(100), ..options() }).unwrap();
    let url = format!("https://127.0.0.1:{}/", silent.local_addr().unwrap().port());
    assert_eq!(sender.post(&prepared(&url)).await.kind, OutcomeKind::Timeout);
}

#[tokio::test]
async fn a_huge_body_is_cut_off_and_at_most_a_kibibyte_kept() {
    let (outcome, receiver) = post_to(Answer::Write(response("500 Oops", &"x".repeat(8 << 20)))).await;
    assert_eq!((outcome.kind, outcome.body.end), (OutcomeKind::HttpStatus, BodyEnd::CutOff));
    assert_eq!(outcome.body.prefix.len(), KEPT_BODY_BYTES);
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_head_is_a_reset_and_nothing_is_sent_again() {
    for answer in [
        Answer::Reset,
        Answer::WriteThenClose(Vec::new()),
        Answer::WriteThenClose(b"HTTP/1.1 200 O".to_vec()),
    ] {
        let (outcome, receiver) = post_to(answer).await;
        assert_eq!(outcome.kind, OutcomeKind::Reset);
        assert_eq!((receiver.connections(), receiver.requests().len()), (1, 1));
    }
}

#[tokio::test]
async fn what_is_not_http_is_an_invalid_response() {
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: b\r\n".repeat(10_000));
    let long_header = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "b".repeat(1 << 20));
    for bytes in
        ["hello\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", &many_headers, &long_header]
    {
        let (outcome, _) = post_to(Answer::WriteThenHang(bytes.as_bytes().to_vec())).await;
        assert_eq!(outcome.kind, OutcomeKind::InvalidResponse, "{}", &bytes[..9]);
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_keeps_the_body_at_home() {
    let ok = || Answer::Write(response("200 OK", ""));
    for (certificate, is_root_known, detail) in [
        (Certificate::Valid, false, AttemptDetail::TlsUnknownIssuer),
        (Certificate::Expired, true, AttemptDetail::TlsExpired),
        (Certificate::OfAnotherHost, true, AttemptDetail::TlsWrongHost),
    ] {
        let receiver = Receiver::with_certificate(ok(), certificate).await;
        let sender = if is_root_known { sender_for(&receiver) } else { Sender::new(options()).unwrap() };
        let outcome = sender.post(&to(&receiver)).await;
        assert_eq!((outcome.kind, outcome.detail), (OutcomeKind::TlsCertificate, Some(detail)));
        assert!(receiver.requests().is_empty());
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_refuses() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    drop(listener);
    let outcome = Sender::new(options()).unwrap().post(&prepared(&url)).await;
    assert_eq!(outcome.kind, OutcomeKind::ConnectRefused);
}

#[tokio::test]
async fn given_a_refused_address_then_no_connection_is_opened() {
    let receiver = Receiver::answering(Answer::Write(response("200 OK", ""))).await;
    let vetting = Vetting::new(Arc::new(Fixed(None)), AddressPolicy::strict());
    let strict = Sender::new(SenderOptions::new(vetting)).unwrap();
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"] {
        let outcome = strict.post(&prepared(&format!("https://{host}:{}/", receiver.port))).await;
        assert_eq!(outcome.kind, OutcomeKind::BlockedUrl, "{host}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_is_blocked_or_missing_by_what_its_lookup_says() {
    let inner = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
    for (answer, kind) in [(Some(inner), OutcomeKind::BlockedUrl), (None, OutcomeKind::DnsFailed)] {
        let sender = Sender::new(looking_up(Fixed(answer))).unwrap();
        let outcome = sender.post(&prepared("https://hooks.example.com/")).await;
        assert_eq!(outcome.kind, kind);
    }
}

/// Name servers that fail, or never say anything.
struct Unwilling {
    hangs: bool,
}

#[async_trait]
impl Lookup for Unwilling {
    async fn addresses(&self, _host: &str) -> Result<Vec<IpAddr>, LookupError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(LookupError::Failed("SERVFAIL".into()))
    }
}

#[tokio::test]
async fn t18_a_lookup_that_fails_or_hangs_is_told_and_sends_nothing() {
    for (hangs, kind, detail) in [
        (false, OutcomeKind::DnsFailed, Some(AttemptDetail::DnsServerFailed)),
        (true, OutcomeKind::Timeout, None),
    ] {
        let connect_timeout = Duration::from_millis(100);
        let sender =
            Sender::new(SenderOptions { connect_timeout, ..looking_up(Unwilling { hangs }) }).unwrap();

        let outcome = sender.post(&prepared("https://hooks.example.com/")).await;

        assert_eq!((outcome.kind, outcome.detail), (kind, detail));
        assert_eq!((outcome.status, outcome.body.end), (None, BodyEnd::Absent));
    }
}

#[tokio::test]
async fn debug_output_holds_no_body_no_query_and_no_signature() {
    let (outcome, receiver) = post_to(Answer::Write(response("200 OK", "s3cret"))).await;
    let request = to(&receiver).with_headers(&ExtraHeaders::parse([("x-a", "s3cret")]).unwrap());
    let debug = format!("{outcome:?} {request:?}");
    for hidden in ["s3cret", "key=1", "appointment", "v1,"] {
        assert!(!debug.contains(hidden), "{hidden} in {debug}");
    }
}

#[test]
fn extra_roots_that_are_no_certificates_are_refused() {
    for pem in [&b""[..], b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Sender::new(SenderOptions { extra_root_pem: Some(pem.to_vec()), ..options() }).is_err());
    }
}

#[tokio::test]
async fn the_first_attempt_connects_and_the_next_one_finds_the_connection() {
    let receiver = Receiver::answering(Answer::Write(response("200 OK", "thanks"))).await;
    let sender = sender_for(&receiver);
    let named = prepared(&format!("https://localhost:{}/hook", receiver.port));

    let first = sender.post(&named).await;
    let second = sender.post(&named).await;
    let address = sender_for(&receiver).post(&to(&receiver)).await;

    assert_eq!((first.kind, second.kind), (OutcomeKind::Success, OutcomeKind::Success));
    let parts = |outcome: &AttemptOutcome| {
        let phases = outcome.phases;
        [phases.lookup_ms, phases.connect_ms, phases.wait_ms, phases.body_ms].map(|part| part.is_some())
    };
    assert_eq!(parts(&first), [true, true, true, true]);
    assert_eq!(parts(&second), [false, false, true, true]);
    assert_eq!(parts(&address), [false, true, true, true]);
    let sum: u32 =
        [first.phases.lookup_ms, first.phases.connect_ms, first.phases.wait_ms, first.phases.body_ms]
            .into_iter()
            .flatten()
            .sum();
    assert!(u128::from(sum) <= first.duration.as_millis(), "{first:?}");
}

#[tokio::test]
async fn an_attempt_that_ends_early_shows_where() {
    let silent = Receiver::answering(Answer::WriteThenHang(Vec::new())).await;
    let unanswered = impatient_sender_for(&silent).post(&to(&silent)).await;
    assert_eq!(unanswered.kind, OutcomeKind::Timeout);
    assert!(unanswered.phases.wait_ms.is_some_and(|wait| wait > 0), "{unanswered:?}");
    assert_eq!(unanswered.phases.body_ms, None);

    let sender = Sender::new(options()).unwrap();
    let nameless = sender.post(&prepared("https://hooks.example.com/")).await;
    assert_eq!(nameless.kind, OutcomeKind::DnsFailed);
    assert!(nameless.phases.lookup_ms.is_some());
    assert_eq!((nameless.phases.connect_ms, nameless.phases.wait_ms), (None, None));
}

#[tokio::test]
async fn telling_headers_are_kept_and_others_are_not() {
    let head = format!(
        "500 Oops\r\nx-request-id: {}\r\nset-cookie: s3cret\r\nretry-after: 7\r\ncontent-type: text/plain",
        "r".repeat(300)
    );
    let (with_body, _) = post_to(Answer::Write(response(&head, "no"))).await;
    let (without_body, _) =
        post_to(Answer::Write(response("500 Oops\r\ncontent-type: text/plain", ""))).await;

    assert_eq!(
        with_body.headers,
        [
            ("retry-after", "7".to_owned()),
            ("x-request-id", "r".repeat(256)),
            ("content-type", "text/plain".to_owned())
        ]
    );
    assert_eq!(without_body.headers, []);
}
