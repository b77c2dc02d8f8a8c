//! HTTP/1.1 over TLS for the receiver.

use std::convert::Infallible;
use std::error::Error;
use std::io::Write as _;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Interval, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::behaviour::{Act, Reply};
use super::fault::{BINARY, Breach, Fault};
use super::tls::Handshake;

/// Webhook bodies hold ids, codes and times; a larger one is a mistake.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HUGE_BODY_BYTES: usize = 10 * 1024 * 1024 * 1024;
/// What one member of the gzip bomb unpacks to.
const UNPACKED_BYTES: usize = 16 * 1024 * 1024;
const TRICKLE_PERIOD: Duration = Duration::from_secs(1);
const TRICKLE_BYTES: usize = 3600;
static ZEROS: [u8; 64 * 1024] = [b'0'; 64 * 1024];

pub(super) async fn accept(
    listener: TcpListener,
    handshake: Handshake,
    shared: Arc<Shared>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, handshake.clone(), Arc::clone(&shared));
                connections.spawn(stop.clone().run_until_cancelled_owned(connection));
            }
            Err(error) => {
                // Out of file descriptors, mostly: others have to end first.
                tracing::warn!(%error, "the receiver could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, handshake: Handshake, shared: Arc<Shared>) {
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let Ok(Some(stream)) = timeout(HANDSHAKE_TIMEOUT, handshake.accept(stream)).await else { return };
    let respond = service_fn(|request| respond(request, &shared));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), respond);
    let Err(error) = pin!(&mut connection).await else { return };
    let stream = connection.into_parts().io.into_inner();
    if let Some(breach) = error.source().and_then(|source| source.downcast_ref::<Breach>()) {
        breach.carry_out(stream).await;
    } else {
        tracing::debug!(%error, "a connection to the receiver broke");
    }
}

async fn respond(request: Request<Incoming>, shared: &Shared) -> Result<Response<Answer>, Breach> {
    let named = request.uri().path().strip_prefix("/hooks/").and_then(|name| shared.hook(name));
    let Some(hook) = named.or_else(|| shared.hook(shared.catch_all.as_deref()?)) else {
        return Ok(plain(StatusCode::NOT_FOUND));
    };
    if request.method() != Method::POST {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let reply = hook.receive(&head.headers, &body.to_bytes(), &shared.ledger);
    if !reply.delay.is_zero() {
        sleep(reply.delay).await;
    }
    let fault = match reply.act {
        Act::Answer => return Ok(answer(&reply, Answer::Empty)),
        Act::Say(ref body) => return Ok(answer(&reply, Answer::Whole(Some(body.clone())))),
        Act::Raw(bytes) => return Err(Breach::Raw(bytes)),
        Act::Fault(fault) => fault,
    };
    let body = match fault {
        Fault::Trickle => {
            Answer::Trickle { period: Box::new(interval(TRICKLE_PERIOD)), bytes_left: TRICKLE_BYTES }
        }
        Fault::HugeBody => {
            let chunk = Bytes::from_static(&ZEROS);
            Answer::Huge { chunk, bytes_left: HUGE_BODY_BYTES, given: hook.flooded() }
        }
        Fault::GzipBomb => {
            let (chunk, bytes_left) = (PACKED.clone(), PACKED.len() * (HUGE_BODY_BYTES / UNPACKED_BYTES));
            Answer::Huge { chunk, bytes_left, given: hook.flooded() }
        }
        Fault::BinaryBody => Answer::Whole(Some(Bytes::from_static(BINARY))),
        _ => return Err(Breach::Fault { fault, head: raw_head(&reply), flooded: hook.flooded() }),
    };
    let mut response = answer(&reply, body);
    if fault == Fault::GzipBomb {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// The head of a reply without the line that ends it.
fn raw_head(reply: &Reply) -> String {
    let status = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    reply.headers.iter().fold(status, |head, (name, value)| format!("{head}{name}: {value}\r\n"))
}

/// A member of a gzip stream; many of them after each other unpack to the sum.
static PACKED: LazyLock<Bytes> = LazyLock::new(|| {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let packed = packer.write_all(&vec![0; UNPACKED_BYTES]).and_then(|()| packer.finish());
    packed.map(Bytes::from).expect("memory takes every byte")
});

fn plain(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::Empty);
    *response.status_mut() = status;
    response
}

fn answer(reply: &Reply, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

enum Answer {
    Empty,
    Trickle { period: Box<Interval>, bytes_left: usize },
    Whole(Option<Bytes>),
    Huge { chunk: Bytes, bytes_left: usize, given: Arc<AtomicU64> },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (chunk, bytes_left) = match self.get_mut() {
            Self::Empty | Self::Trickle { bytes_left: 0, .. } | Self::Huge { bytes_left: 0, .. } => {
                return Poll::Ready(None);
            }
            Self::Trickle { period, bytes_left } => {
                std::task::ready!(period.poll_tick(context));
                (Bytes::from_static(b"."), bytes_left)
            }
            Self::Whole(whole) => return Poll::Ready(whole.take().map(|whole| Ok(Frame::data(whole)))),
            Self::Huge { chunk, bytes_left, given } => {
                given.fetch_add(u64::try_from(chunk.len()).unwrap_or_default(), Ordering::Relaxed);
                (chunk.clone(), bytes_left)
            }
        };
        *bytes_left = bytes_left.saturating_sub(chunk.len());
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }
}
