//! What stands around the router: the request id, the deadline, the last line against panics, problems written
//! out, and the count of requests.
//!
//! It is one function instead of a stack of layers, because each layer would box its future once per request.

use std::any::Any;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::Response;
use carelog_event_log::new_id;
use futures::FutureExt;
use http::{HeaderValue, Method, Request, StatusCode, header};
use tower::ServiceExt;
use tracing::{debug, error, warn};
use uuid::Uuid;

use super::problem::Problem;

/// Where a request may wait for events.
const EVENTS: &str = "/v1/events";
/// What stands before and after a subscription's id where a request may wait for messages.
const MESSAGES: (&str, &str) = ("/v1/webhook-subscriptions/", "/messages");
/// Waiting for events may take this long on top of the deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Where a request came from and what it is called; every handler finds it among the extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The caller's id for the request, or one made here.
    pub request_id: Uuid,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// The console's session that it is part of.
    pub session_id: Option<Uuid>,
}

/// The router with everything around it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    router: Router,
    deadline: Duration,
}

impl Service {
    pub(crate) const fn new(router: Router, deadline: Duration) -> Self {
        Self { router, deadline }
    }

    /// Answers a request. Never fails and never panics.
    pub async fn respond<B>(&self, mut request: Request<B>, peer: IpAddr) -> Response
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let began = Instant::now();
        let request_id = request_id(&request);
        let method = request.method().clone();
        request.extensions_mut().insert(Arrival { request_id, peer, session_id: None });
        let may_wait = method == Method::GET && is_long_poll(request.uri().path());
        let deadline = if may_wait { self.deadline + LONGEST_WAIT } else { self.deadline };
        let answering = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let response = match tokio::time::timeout(deadline, answering).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => panicked(panic, request_id),
            Err(_) => refused(
                &Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out").retry_after(1),
                request_id,
            ),
        };
        let mut response = written_out(response, request_id);
        if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
            response.headers_mut().insert("x-request-id", value);
        }
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if !response.headers().contains_key(header::CACHE_CONTROL) {
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        count(&method, response.status(), began);
        debug!(%method, status = response.status().as_u16(), request.id = %request_id, "answered");
        response
    }
}

/// A request id that the caller chose is kept when it is a UUID; anything else would end up in logs unchecked.
fn request_id<B>(request: &Request<B>) -> Uuid {
    request
        .headers()
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(new_id)
}

/// Whether a path is one of those where a request may wait. The router, which knows the routes, comes later.
fn is_long_poll(path: &str) -> bool {
    let (begin, end) = MESSAGES;
    let subscription = path.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
    path == EVENTS || subscription.is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

/// Problems were only carried so far, and the router's own refusals have no body.
fn written_out(mut response: Response, request_id: Uuid) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return refused(&problem, request_id);
    }
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
            let mut refusal = refused(&problem, request_id);
            if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
                refusal.headers_mut().insert(header::ALLOW, allow);
            }
            refusal
        }
        _ => response,
    }
}

fn refused(problem: &Problem, request_id: Uuid) -> Response {
    if let Some(cause) = problem.cause() {
        if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
            warn!(request.id = %request_id, error = cause, "a request could not be served at present");
        } else {
            error!(request.id = %request_id, error = cause, "a request failed");
        }
    }
    problem.render(request_id)
}

fn panicked(panic: Box<dyn Any + Send>, request_id: Uuid) -> Response {
    // The hook already printed where; the payload could quote anything, so it stays out of the log.
    drop(panic);
    refused(&Problem::fault("the handler panicked"), request_id)
}

fn count(method: &Method, status: StatusCode, began: Instant) {
    let method = match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let class = match status.as_u16() {
        100..=399 => "ok",
        400..=499 => "refused",
        _ => "failed",
    };
    metrics::counter!("carelog_http_requests_total", "method" => method, "result" => class).increment(1);
    metrics::histogram!("carelog_http_request_seconds", "method" => method)
        .record(began.elapsed().as_secs_f64());
}

/// The route that matched, as it stands in the table of rules.
pub(super) fn matched_path(extensions: &http::Extensions) -> Option<&str> {
    extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}

/// The body of an answer, taken as a whole; for callers in this process.
///
/// # Errors
/// When the body breaks off.
pub async fn body_bytes(body: Body) -> Result<bytes::Bytes, Arc<axum::Error>> {
    axum::body::to_bytes(body, usize::MAX).await.map_err(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_events_and_messages_are_awaited_a_request_may_take_longer() {
        for path in ["/v1/events", "/v1/webhook-subscriptions/00000000-0000-0000-0000-000000000007/messages"]
        {
            assert!(is_long_poll(path), "{path}");
        }
        for path in [
            "/messages",
            "/v1/events/messages",
            "/v1/patients/7/messages",
            "/v1/webhook-subscriptions/messages",
            "/v1/webhook-subscriptions//messages",
            "/v1/webhook-subscriptions/7/deliveries/8/messages",
            "/v1/webhook-subscriptions/7/messages/",
        ] {
            assert!(!is_long_poll(path), "{path}");
        }
    }
}
