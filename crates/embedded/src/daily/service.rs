//! HTTP/1.1 for the fake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fault::Fault;
use super::rooms::{Refusal, Reply};
use super::{Domain, Shared, hooks, lock};

const BODY_BYTES_MAX: usize = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connection is to break.
#[derive(Debug, thiserror::Error)]
#[error("the fake breaks the connection as it was told to")]
struct Break;

pub(super) async fn accept(
    listener: TcpListener,
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
                let connection = serve(stream, Arc::clone(&shared));
                connections.spawn(stop.clone().run_until_cancelled_owned(connection));
            }
            Err(error) => {
                tracing::warn!(error = %io::Error::from(error.kind()), "the fake could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let respond = service_fn(|request| respond(request, &shared));
    // How a connection ends is the client's affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), respond).await;
}

async fn respond(request: Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, Break> {
    let (head, body) = request.into_parts();
    let path: Vec<&str> = head.uri.path().split('/').filter(|part| !part.is_empty()).collect();
    if let (&Method::GET, ["downloads", domain, id]) = (&head.method, &path[..]) {
        return Ok(download(shared, domain, id));
    }
    let Some((&"v1", path)) = path.split_first() else {
        return Ok(answer(Err(Refusal::not_found("no such route"))));
    };
    count(shared, &head.method, path);
    let fault = lock(&shared.faults).take(&head.method, path);
    match fault {
        Some(Fault::Status(status)) => return Ok(failing(status)),
        Some(Fault::Limited(seconds)) => return Ok(limited(shared, seconds)),
        Some(Fault::LoseRequest) => return Err(Break),
        Some(Fault::Slow(_) | Fault::LoseAnswer | Fault::NoAnswer | Fault::Garbage) | None => {}
    }
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(answer(Err(Refusal::invalid("the body is too large"))));
    };
    let authorization = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let body = body.to_bytes();
    let is_probed = head.method == Method::POST && matches!(path, ["webhooks"] | ["webhooks", _]);
    let answers = match hooks::url_of(&body) {
        Some(url) if is_probed => shared.answers_test(&url).await,
        _ => false,
    };
    let asked = Asked { head: &head, body: &body, answers };
    let response = match act(shared, &asked, path, authorization) {
        Ok(reply) => answer(reply),
        Err(seconds) => limited(shared, seconds),
    };
    match fault {
        Some(Fault::Slow(delay)) => {
            sleep(delay).await;
            Ok(response)
        }
        Some(Fault::LoseAnswer) => Err(Break),
        Some(Fault::NoAnswer) => std::future::pending().await,
        Some(Fault::Garbage) => Ok(Response::new(Full::new(Bytes::from_static(b"<html>all is well</html>")))),
        Some(Fault::Status(_) | Fault::Limited(_) | Fault::LoseRequest) | None => Ok(response),
    }
}

/// A request, and whether the address in it answers a test.
#[derive(Clone, Copy)]
struct Asked<'a> {
    head: &'a http::request::Parts,
    body: &'a [u8],
    answers: bool,
}

/// What was asked for, or for how many seconds to stay away.
fn act(shared: &Shared, asked: &Asked<'_>, path: &[&str], authorization: Option<&str>) -> Result<Reply, u64> {
    let Asked { head, body, answers } = *asked;
    let method = &head.method;
    let Some(authorization) = authorization else {
        let info = "missing authorization header";
        return Ok(Err(Refusal::new(StatusCode::BAD_REQUEST, "authorization-header-error", info)));
    };
    let Some(api_key) = authorization.strip_prefix("Bearer ") else {
        let info = "malformed authorization header";
        return Ok(Err(Refusal::new(StatusCode::BAD_REQUEST, "authorization-header-error", info)));
    };
    let mut domains = lock(&shared.domains);
    let Some(domain) = domains.get_mut(api_key) else {
        let info = "invalid api key";
        return Ok(Err(Refusal::new(StatusCode::UNAUTHORIZED, "authentication-error", info)));
    };
    domain.limits.take(method, path, Instant::now())?;
    let body = if method == Method::POST { serde_json::from_slice(body).ok() } else { Some(Value::Null) };
    let Some(body) = body else {
        let info = "the body is no JSON";
        return Ok(Err(Refusal::new(StatusCode::BAD_REQUEST, "json-parsing-error", info)));
    };
    let now = shared.unix_seconds();
    Ok(match (method, path) {
        (&Method::GET, ["webhooks"]) => Ok(domain.list_webhooks()),
        (&Method::POST, ["webhooks"]) => domain.put_webhook(None, &body, answers),
        (&Method::POST, ["webhooks", uuid]) => domain.put_webhook(Some(uuid), &body, answers),
        (&Method::GET, ["logs"]) => domain.list_logs(head.uri.query()),
        (&Method::GET, ["meetings"]) => domain.list_meetings(head.uri.query(), now),
        (&Method::GET, ["recordings"]) => domain.list_recordings(head.uri.query()),
        (&Method::GET, ["recordings", id, "access-link"]) => {
            domain.link_to_recording(id, &shared.address.to_string(), now)
        }
        _ => route(domain, method, path, api_key, body, now),
    })
}

fn route(domain: &mut Domain, method: &Method, path: &[&str], api_key: &str, body: Value, now: i64) -> Reply {
    match (method, path) {
        (&Method::GET, []) => Ok(domain.describe()),
        (&Method::GET, ["rooms"]) => Ok(domain.list(now)),
        (&Method::POST, ["rooms"]) => domain.create(body, now),
        (&Method::GET, ["rooms", name]) => domain.read(name, now),
        (&Method::POST, ["rooms", name]) => domain.update(name, body, now),
        (&Method::DELETE, ["rooms", name]) => domain.delete(name, now),
        (&Method::POST, ["rooms", name, "recordings", "start"]) => domain.start_recording(name, &body, now),
        (&Method::POST, ["rooms", name, "recordings", "stop"]) => domain.stop_recording(name, now),
        (&Method::DELETE, ["recordings", id]) => domain.delete_recording(id),
        (&Method::POST, ["meeting-tokens"]) => domain.make_token(api_key, body, now),
        (&Method::GET, ["meeting-tokens", token]) => domain.read_token(api_key, token, now),
        _ => Err(Refusal::not_found("no such route")),
    }
}

/// What a link opens, without a key.
fn download(shared: &Shared, domain_id: &str, id: &str) -> Response<Full<Bytes>> {
    let domains = lock(&shared.domains);
    let of_domain = domains.values().filter(|domain| domain.id == domain_id);
    let found = of_domain.flat_map(|domain| &domain.recordings).find(|recording| recording.id == id);
    match found {
        Some(recording) => Response::new(Full::new(Bytes::from(recording.content.clone()))),
        None => answer(Err(Refusal::not_found("no such recording"))),
    }
}

fn count(shared: &Shared, method: &Method, path: &[&str]) {
    let route = match path {
        [first] => format!("{method} /{first}"),
        ["rooms", _, "recordings", what] => format!("{method} /rooms/:id/recordings/{what}"),
        [first, ..] => format!("{method} /{first}/:id"),
        [] => format!("{method} /"),
    };
    *lock(&shared.calls).by_route.entry(route).or_default() += 1;
}

fn answer(reply: Reply) -> Response<Full<Bytes>> {
    let (status, body) = match reply {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => {
            let mut body = json!({ "error": refusal.code, "info": refusal.info });
            if let (Some((name, value)), Some(body)) = (refusal.more, body.as_object_mut()) {
                body.insert(name.to_owned(), value);
            }
            (refusal.status, body)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn failing(status: u16) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer(Err(Refusal::new(status, "server-error", "scripted")))
}

fn limited(shared: &Shared, seconds: u64) -> Response<Full<Bytes>> {
    lock(&shared.calls).limited += 1;
    let mut response =
        answer(Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate-limit-error", "too many requests")));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
