//! How long the parts of an exchange take.
//!
//! The client connects inside the attempt that waits for the connection, so the marks of an attempt are local to its
//! task. It may be given a connection that another attempt has just finished with, while its own is still under way:
//! that one is finished elsewhere, where no marks are, and then this attempt has not connected.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use carelog_domain::webhook_delivery::Phases;
use tokio::time::Instant;
use tower::{Layer, Service};

tokio::task_local! {
    static MARKS: Cell<Marks>;
}

/// The moments at which parts began and ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    lookup_began: Option<Instant>,
    lookup_ended: Option<Instant>,
    connect_began: Option<Instant>,
    connect_ended: Option<Instant>,
}

/// Runs one exchange up to its head and gives its marks too.
pub(super) async fn marked<F: Future>(exchange: F) -> (F::Output, Marks) {
    let exchange = async {
        let output = exchange.await;
        (output, MARKS.with(Cell::get))
    };
    MARKS.scope(Cell::new(Marks::default()), exchange).await
}

/// Marks the look-up of a name; the end of one that failed is the end of the attempt.
pub(super) async fn mark_lookup<T, E>(lookup: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    mark(|marks| marks.lookup_began = Some(Instant::now()));
    let found = lookup.await;
    if found.is_ok() {
        mark(|marks| marks.lookup_ended = Some(Instant::now()));
    }
    found
}

/// Outside an attempt nobody wants to know.
fn mark(change: impl FnOnce(&mut Marks)) {
    let _ = MARKS.try_with(|cell| {
        let mut marks = cell.get();
        change(&mut marks);
        cell.set(marks);
    });
}

impl Marks {
    /// The parts of an exchange that ended at `end`; `head` is when its head arrived.
    pub(super) fn phases(&self, start: Instant, head: Option<Instant>, end: Instant) -> Phases {
        let wait_end = head.unwrap_or(end);
        let body_ms = head.map(|head| millis(head, end));
        match (self.connect_began, self.connect_ended) {
            (Some(began), Some(ended)) => Phases {
                lookup_ms: self.lookup_began.zip(self.lookup_ended).map(|(from, to)| millis(from, to)),
                connect_ms: Some(millis(self.lookup_ended.unwrap_or(began), ended)),
                wait_ms: Some(millis(ended, wait_end)),
                body_ms,
            },
            (Some(began), None) if head.is_none() => Phases {
                lookup_ms: self.lookup_began.map(|from| millis(from, self.lookup_ended.unwrap_or(end))),
                connect_ms: match (self.lookup_began, self.lookup_ended) {
                    (Some(_), None) => None,
                    (_, from) => Some(millis(from.unwrap_or(began), end)),
                },
                wait_ms: None,
                body_ms,
            },
            (Some(_) | None, None) | (None, Some(_)) => {
                Phases { lookup_ms: None, connect_ms: None, wait_ms: Some(millis(start, wait_end)), body_ms }
            }
        }
    }
}

fn millis(from: Instant, to: Instant) -> u32 {
    milliseconds(to.saturating_duration_since(from))
}

/// Whole milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Marks connections that the client makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkConnections;

/// The client's connector, marked.
#[derive(Clone, Debug)]
pub(super) struct MarkedConnector<S>(S);

impl<S> Layer<S> for MarkConnections {
    type Service = MarkedConnector<S>;

    fn layer(&self, connector: S) -> Self::Service {
        MarkedConnector(connector)
    }
}

impl<R, S> Service<R> for MarkedConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        Box::pin(async move {
            mark(|marks| marks.connect_began = Some(Instant::now()));
            let connected = connecting.await;
            if connected.is_ok() {
                mark(|marks| marks.connect_ended = Some(Instant::now()));
            }
            connected
        })
    }
}

#[cfg(test)]
mod tests;
