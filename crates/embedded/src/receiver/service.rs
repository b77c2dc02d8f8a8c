//! HTTP/1.1 over TLS for the receiver.

use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Interval, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::behaviour::Step;

/// Webhook bodies hold ids, codes and times; a larger one is a mistake.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HUGE_BODY_BYTES: usize = 10 * 1024 * 1024 * 1024;
const TRICKLE_PERIOD: Duration = Duration::from_secs(1);
const TRICKLE_BYTES: usize = 3600;
static ZEROS: [u8; 64 * 1024] = [b'0'; 64 * 1024];

pub(super) async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
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
                let connection = serve(stream, acceptor.clone(), Arc::clone(&shared));
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

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else { return };
    let respond = service_fn(|request| respond(request, &shared));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), respond);
    let Err(error) = pin!(&mut connection).await else { return };
    let stream = connection.into_parts().io.into_inner();
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(Breach::Reset) => reset(&stream),
        Some(Breach::Raw(bytes)) => write_raw(stream, bytes).await,
        None => tracing::debug!(%error, "a connection to the receiver broke"),
    }
}

/// With a lingering time of zero, closing sends RST instead of FIN.
fn reset(stream: &TlsStream<TcpStream>) {
    let _ = stream.get_ref().0.set_zero_linger();
}

async fn write_raw(mut stream: TlsStream<TcpStream>, bytes: &[u8]) {
    // The peer may well hang up on what it is sent here.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}

/// An answer that is not HTTP; travels as the service's error.
#[derive(Debug, thiserror::Error)]
enum Breach {
    #[error("the connection is to be reset")]
    Reset,
    #[error("raw bytes are to be sent")]
    Raw(Vec<u8>),
}

async fn respond(request: Request<Incoming>, shared: &Shared) -> Result<Response<Answer>, Breach> {
    let Some(hook) = request.uri().path().strip_prefix("/hooks/").and_then(|name| shared.hook(name)) else {
        return Ok(plain(StatusCode::NOT_FOUND));
    };
    if request.method() != Method::POST {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE));
    };
    match hook.receive(&head.headers, &body.to_bytes(), &shared.ledger) {
        Step::Answer { status, headers, body } => Ok(answer(status, &headers, body)),
        Step::AnswerLater(time) => {
            sleep(time).await;
            Ok(plain(StatusCode::NO_CONTENT))
        }
        Step::Reset => Err(Breach::Reset),
        Step::Raw(bytes) => Err(Breach::Raw(bytes)),
        Step::Trickle => {
            let period = interval(TRICKLE_PERIOD);
            Ok(Response::new(Answer::Trickle { period: Box::new(period), bytes_left: TRICKLE_BYTES }))
        }
        Step::HugeBody => Ok(Response::new(Answer::Huge { bytes_left: HUGE_BODY_BYTES })),
    }
}

/// All that is left, once.
fn next(body: &mut Bytes) -> Option<Bytes> {
    Some(std::mem::take(body)).filter(|chunk| !chunk.is_empty())
}

fn plain(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::Empty);
    *response.status_mut() = status;
    response
}

fn answer(status: u16, headers: &[(String, String)], body: Bytes) -> Response<Answer> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(status);
    if !body.is_empty() {
        *response.body_mut() = Answer::Whole(body);
    }
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

enum Answer {
    Empty,
    Whole(Bytes),
    Trickle { period: Box<Interval>, bytes_left: usize },
    Huge { bytes_left: usize },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (chunk, bytes_left) = match self.get_mut() {
            Self::Empty | Self::Trickle { bytes_left: 0, .. } | Self::Huge { bytes_left: 0 } => {
                return Poll::Ready(None);
            }
            Self::Whole(body) => return Poll::Ready(next(body).map(|chunk| Ok(Frame::data(chunk)))),
            Self::Trickle { period, bytes_left } => {
                std::task::ready!(period.poll_tick(context));
                (Bytes::from_static(b"."), bytes_left)
            }
            Self::Huge { bytes_left } => (Bytes::from_static(&ZEROS), bytes_left),
        };
        *bytes_left = bytes_left.saturating_sub(chunk.len());
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }
}
