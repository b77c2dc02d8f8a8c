use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use standardwebhooks::Webhook;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = r#"{"event":"appointment.booked","event_id":"e","sequence":7,"data":{}}"#;

#[expect(clippy::disallowed_methods, reason = "the official library compares with the real clock")]
fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

fn options() -> ReceiverOptions {
    ReceiverOptions::new(Arc::new(now_micros))
}

async fn start() -> (Receiver, Arc<Hook>) {
    let receiver = Receiver::start(options()).await.unwrap();
    let hook = receiver.hook("clinic");
    hook.set_secrets(&[SECRET]).unwrap();
    (receiver, hook)
}

/// A keep-alive connection that trusts the receiver's authority alone.
struct Sender {
    requests: SendRequest<Full<Bytes>>,
    _connection: TaskTracker,
}

impl Sender {
    async fn connect(receiver: &Receiver, host: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(receiver.ca_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(receiver.address()).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let tracker = TaskTracker::new();
        tracker.spawn(connection);
        Self { requests, _connection: tracker }
    }

    async fn send(&mut self, id: &str, secret: &str) -> Result<Response<Incoming>, hyper::Error> {
        let timestamp = now_micros() / 1_000_000;
        let signature = Webhook::new(secret).unwrap().sign(id, timestamp, BODY.as_bytes()).unwrap();
        let request = Request::post("/hooks/clinic")
            .header("host", "localhost")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::from(BODY))
            .unwrap();
        self.requests.ready().await?;
        self.requests.send_request(request).await
    }

    async fn status(&mut self, id: &str) -> u16 {
        self.send(id, SECRET).await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_signed_request_is_verified_noted_and_answered() {
    let (receiver, hook) = start().await;
    let mut sender = Sender::connect(&receiver, "localhost").await;
    assert_eq!(sender.status("msg_1").await, 204);
    assert_eq!(sender.status("msg_1").await, 204);

    let expected = Counts {
        received: 2,
        verified: 2,
        accepted: 2,
        duplicates: 1,
        duplicates_after_success: 1,
        ..Counts::default()
    };
    assert_eq!(hook.counts(), expected);
    assert_eq!(receiver.counts(), expected);
    let receipts = hook.receipts();
    let [first, second] = receipts.as_slice() else { panic!("{receipts:?}") };
    assert_eq!(first.webhook_id, "msg_1");
    assert_eq!(first.event.as_deref(), Some("appointment.booked"));
    assert_eq!(first.sequence, Some(7));
    assert_eq!(first.status, Some(204));
    assert!(first.verified && !first.duplicate && second.duplicate);
    receiver.stop().await;
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_counted() {
    let (receiver, hook) = start().await;
    let mut sender = Sender::connect(&receiver, "127.0.0.1").await;
    assert_eq!(sender.send("msg_1", OTHER_SECRET).await.unwrap().status(), StatusCode::BAD_REQUEST);

    let expected = Counts { received: 1, refused_signatures: 1, ..Counts::default() };
    assert_eq!(hook.counts(), expected);
    assert!(hook.receipts().iter().all(|receipt| !receipt.verified));

    hook.set_secrets(&[SECRET, OTHER_SECRET]).unwrap();
    assert_eq!(sender.send("msg_1", OTHER_SECRET).await.unwrap().status(), StatusCode::NO_CONTENT);
    assert!(hook.set_secrets(&["whsec_%"]).is_err());
}

#[tokio::test]
async fn extra_names_are_in_the_certificate_and_unknown_paths_are_not_found() {
    let mut options = options();
    options.names.push("partner.example".to_owned());
    let receiver = Receiver::start(options).await.unwrap();
    let mut sender = Sender::connect(&receiver, "partner.example").await;
    assert_eq!(sender.status("msg_1").await, 404);
    let port = receiver.address().port();
    assert_eq!(receiver.url("clinic"), format!("https://localhost:{port}/hooks/clinic"));
    assert_eq!(
        receiver.url_at("partner.example", "clinic"),
        format!("https://partner.example:{port}/hooks/clinic")
    );
}

#[tokio::test]
async fn scripted_statuses_follow_their_script() {
    let (receiver, hook) = start().await;
    let mut sender = Sender::connect(&receiver, "localhost").await;
    let scripts = [
        (Behaviour::Status(410), [410, 410, 410]),
        (Behaviour::FailFirst { count: 2, status: 500 }, [500, 500, 204]),
        (Behaviour::FailEvery { every: 2, status: 503 }, [204, 503, 204]),
        (Behaviour::Delay(Duration::from_millis(1)), [204, 204, 204]),
        (Behaviour::Ok, [204, 204, 204]),
    ];
    for (behaviour, expected) in scripts {
        hook.set_behaviour(behaviour.clone());
        for status in expected {
            assert_eq!(sender.status("msg_1").await, status, "{behaviour:?}");
        }
    }
}

#[tokio::test]
async fn scripted_headers_are_sent() {
    let (receiver, hook) = start().await;
    let mut sender = Sender::connect(&receiver, "localhost").await;
    hook.set_behaviour(Behaviour::RetryAfter { status: 429, value: "120".to_owned() });
    let response = sender.send("msg_1", SECRET).await.unwrap();
    assert_eq!((response.status().as_u16(), header(response.headers(), "retry-after")), (429, "120"));

    let headers = vec![("webhook-delivery".to_owned(), "disable".to_owned())];
    hook.set_behaviour(Behaviour::Answer { status: 200, headers });
    let response = sender.send("msg_1", SECRET).await.unwrap();
    assert_eq!(header(response.headers(), "webhook-delivery"), "disable");
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn a_reset_reaches_the_sender_as_one() {
    let (receiver, hook) = start().await;
    hook.set_behaviour(Behaviour::Reset);
    let error = Sender::connect(&receiver, "localhost").await.send("msg_1", SECRET).await.unwrap_err();
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    assert_eq!(cause, Some(io::ErrorKind::ConnectionReset), "{error:?}");
    assert_eq!(hook.receipts().first().unwrap().status, None);
}

#[tokio::test]
async fn raw_bytes_reach_the_sender_unchanged() {
    let (receiver, hook) = start().await;
    hook.set_behaviour(Behaviour::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec()));
    let response = Sender::connect(&receiver, "localhost").await.send("msg_1", SECRET).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn strange_bodies_begin_and_do_not_end() {
    let (receiver, hook) = start().await;
    for behaviour in [Behaviour::Trickle, Behaviour::HugeBody] {
        hook.set_behaviour(behaviour);
        let mut response = Sender::connect(&receiver, "localhost").await.send("msg_1", SECRET).await.unwrap();
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert!(!frame.into_data().unwrap().is_empty());
    }
    receiver.stop().await;
}

#[tokio::test]
async fn receipts_are_written_and_told_before_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("receipts.ndjson");
    let told = Arc::new(AtomicU64::new(0));
    let mut options = options().counters_only();
    options.record_to = Some(file.clone());
    options.on_receipt = Some({
        let told = Arc::clone(&told);
        Arc::new(move |receipt: &Receipt| {
            assert!(receipt.received_at <= Instant::now());
            told.fetch_add(1, Ordering::Relaxed);
        })
    });
    let receiver = Receiver::start(options).await.unwrap();
    let hook = receiver.hook("clinic");
    hook.set_secrets(&[SECRET]).unwrap();
    let mut sender = Sender::connect(&receiver, "localhost").await;
    assert_eq!(sender.status("msg_1").await, 204);

    let line: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(line["webhook_id"], "msg_1");
    assert_eq!(line["event"], "appointment.booked");
    assert_eq!(line["verified"], true);
    assert_eq!(line["status"], 204);
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(hook.receipts().is_empty());
}

#[tokio::test]
async fn memory_is_bounded() {
    let mut options = options();
    options.receipts_kept = 2;
    options.ids_remembered = 2;
    let receiver = Receiver::start(options).await.unwrap();
    let hook = receiver.hook("clinic");
    hook.set_secrets(&[SECRET]).unwrap();
    let mut sender = Sender::connect(&receiver, "localhost").await;
    for id in ["msg_1", "msg_2", "msg_3", "msg_1"] {
        sender.status(id).await;
    }
    let kept: Vec<String> = hook.receipts().into_iter().map(|receipt| receipt.webhook_id).collect();
    assert_eq!(kept, ["msg_3", "msg_1"]);
    // The first id had been forgotten when it came again.
    assert_eq!(hook.counts().duplicates, 0);
}
