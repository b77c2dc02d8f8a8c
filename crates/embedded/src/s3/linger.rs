//! Taking the rest of what a client still sends although its request is refused already.
//!
//! A connection that is closed with bytes unread is reset, and the reset may overtake the answer: the client then sees a
//! broken pipe instead of the reason.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes that are taken and forgotten; the largest that a link of ours takes at once fits.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// Longest time for them.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs beside the answers.
#[derive(Clone, Debug)]
pub(super) struct Linger {
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// A request's body that is taken to its end by somebody, whoever drops it.
pub(super) struct Lingering {
    /// Nothing once it is dropped.
    body: Option<Incoming>,
    /// Whether its sender waits to be asked for it (`Expect: 100-continue`), and has not been.
    is_held_back: bool,
    linger: Linger,
}

impl Linger {
    pub(super) fn over(&self, request: Request<Incoming>) -> Request<Lingering> {
        let is_held_back = request.headers().contains_key(header::EXPECT);
        request.map(|body| Lingering { body: Some(body), is_held_back, linger: self.clone() })
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_held_back = false;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        // Nobody takes it any more while the process ends.
        let Ok(runtime) = Handle::try_current() else { return };
        if self.is_held_back || body.is_end_stream() {
            return;
        }
        let stop = self.linger.stop.clone();
        let taking = async move {
            let mut rest = Limited::new(body, MAX_BYTES);
            let taken = async { while let Some(Ok(_)) = rest.frame().await {} };
            let _ = tokio::time::timeout(PATIENCE, stop.run_until_cancelled(taken)).await;
        };
        self.linger.tasks.spawn_on(taking, &runtime);
    }
}
