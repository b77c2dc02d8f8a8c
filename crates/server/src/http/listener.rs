//! Accepts connections and serves HTTP/1.1 on them until told to stop.
//!
//! Written on hyper itself: it bounds how long a head may take and how many connections there are, and it lets
//! requests in flight end when Carelog stops.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::service::Service;
use crate::config::HttpConfig;

/// Pause when no connection can be accepted, for instance because files ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a stop waits for requests in flight.
const DRAIN: Duration = Duration::from_secs(3);
/// Longest time that a client takes nothing of an answer.
const WRITE_PATIENCE: Duration = Duration::from_mins(1);
/// Longest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Serves until `stop`. Connections run on `tasks`.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Service,
    config: HttpConfig,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(config.max_connections));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection =
                    connection(stream, peer, service.clone(), config.header_timeout(), stop.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    service: Service,
    header_timeout: Duration,
    stop: CancellationToken,
) {
    // Answers are small and whole: waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_PATIENCE));
    let stream = Box::pin(stream);
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, std::convert::Infallible>(service.respond(request, peer.ip().to_canonical()).await) }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), answer)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}
