//! The socket.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::{FlockOperation, flock};
use s3s::Body;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{Access, Auth};
use super::error::S3ServerError;
use super::gate;
use super::linger::Linger;
use super::operations::Operations;
use super::store::Store;
use super::tenants::Tenants;

/// Connections served at a time; the others wait for theirs to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// Longest time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a client takes nothing of an answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at whether whoever serves the directory has ended.
const TAKE_OVER_PAUSE: Duration = Duration::from_secs(1);
/// After a failed accept, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Seconds since 1970, now.
pub type S3Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Where the server keeps its files and whom it serves.
pub struct S3Options {
    /// Where it listens; with port 0 on any free one.
    pub listen: SocketAddr,
    /// Its directory; nobody else writes there.
    pub directory: PathBuf,
    /// Whom it serves.
    pub tenants: Arc<dyn Tenants>,
    /// What time it is.
    pub clock: S3Clock,
    /// Ends it.
    pub stop: CancellationToken,
    /// What waits for its connections.
    pub tasks: TaskTracker,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("listen", &self.listen)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Serves the directory, or leads to whoever does and takes over where that process ends. Gives the address, which
/// stays the same.
///
/// # Errors
/// When the directory cannot be used or the address is taken.
pub async fn serve(options: S3Options) -> Result<SocketAddr, S3ServerError> {
    let directory = |source: io::Error| S3ServerError::Directory { path: options.directory.clone(), source };
    fs::create_dir_all(&options.directory).map_err(directory)?;
    let mut lock = lock_file(&options.directory).map_err(directory)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let address = address_in(&mut lock).map_err(directory)?;
        let tasks = options.tasks.clone();
        tasks.spawn(take_over(lock, address, options));
        return Ok(address);
    }
    // Whoever reads an address from now on reads this one's.
    lock.set_len(0).map_err(directory)?;
    let (listener, store) = open(&options, options.listen).await?;
    let address = listener.local_addr().map_err(S3ServerError::Listen)?;
    write!(lock, "{address}").map_err(directory)?;
    begin(listener, store, lock, options);
    Ok(address)
}

/// Waits for the end of whoever serves the directory, and serves it in their place.
async fn take_over(lock: File, address: SocketAddr, options: S3Options) {
    let stop = options.stop.clone();
    let opened = stop.run_until_cancelled(async {
        while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            tokio::time::sleep(TAKE_OVER_PAUSE).await;
        }
        loop {
            match open(&options, address).await {
                Ok(opened) => return opened,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the storage cannot be taken over yet"
                    );
                    tokio::time::sleep(TAKE_OVER_PAUSE).await;
                }
            }
        }
    });
    if let Some((listener, store)) = opened.await {
        tracing::info!(%address, "the storage was taken over");
        begin(listener, store, lock, options);
    }
}

async fn open(options: &S3Options, address: SocketAddr) -> Result<(TcpListener, Store), S3ServerError> {
    let listener = TcpListener::bind(address).await.map_err(S3ServerError::Listen)?;
    let directory = options.directory.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&directory)).await.map_err(io::Error::other);
    let store = opened.and_then(|opened| opened.map_err(io::Error::other));
    let store =
        store.map_err(|source| S3ServerError::Directory { path: options.directory.clone(), source })?;
    Ok((listener, store))
}

/// `lock` is held until the last connection has ended.
fn begin(listener: TcpListener, store: Store, lock: File, options: S3Options) {
    let S3Options { tenants, clock, stop, tasks, .. } = options;
    let mut builder = S3ServiceBuilder::new(Operations { store: Arc::new(store), clock: Arc::clone(&clock) });
    builder.set_auth(Auth(Arc::clone(&tenants)));
    builder.set_access(Access(tenants));
    let linger = Linger { stop: stop.clone(), tasks: tasks.clone() };
    let front = Front { service: builder.build(), clock, linger, _lock: Arc::new(lock) };
    tasks.clone().spawn(accept(listener, front, stop, tasks));
}

fn lock_file(directory: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join("server.lock"))
}

fn address_in(lock: &mut File) -> io::Result<SocketAddr> {
    let mut text = String::new();
    lock.rewind()?;
    lock.read_to_string(&mut text)?;
    text.trim().parse().map_err(|_| io::Error::other("another process is just opening it"))
}

#[derive(Clone)]
struct Front {
    service: S3Service,
    clock: S3Clock,
    linger: Linger,
    _lock: Arc<File>,
}

impl Front {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, std::convert::Infallible> {
        let request = self.linger.over(request).map(Body::http_body_unsync);
        let mut response = if request.method() == Method::OPTIONS {
            gate::preflight()
        } else if let Err(refusal) = gate::check(&request, (self.clock)()) {
            gate::refused(refusal)
        } else {
            match self.service.call(request).await {
                Ok(response) => response,
                Err(error) => {
                    tracing::error!(?error, "the storage failed");
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            }
        };
        gate::add_headers(response.headers_mut());
        Ok(response)
    }
}

async fn accept(listener: TcpListener, front: Front, stop: CancellationToken, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (front, stop) = (front.clone(), stop.clone());
                tasks.spawn(async move {
                    converse(stream, front, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the storage cannot accept connections at present");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, front: Front, stop: CancellationToken) {
    let service = service_fn(move |request| front.clone().answer(request));
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_PATIENCE));
    let stream = Box::pin(stream);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the storage ended early");
    }
}
