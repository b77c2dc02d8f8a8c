//! Appending: one batcher per lane takes whatever queued up while its last commit was in flight, and writes it
//! in one call of `log.append_batch`. Nothing that somebody waits for waits for a timer; batches fill by themselves
//! under load.

mod arrays;
mod batcher;
mod premise;
mod queue;
mod request;
mod unchanged;

pub(crate) use batcher::Batcher;
pub(crate) use queue::BatcherHandle;
pub use request::{
    AppendError, AppendRequest, Appended, Idempotency, KnownAnswer, NewEvent, Premise, Verdict,
};
pub(crate) use unchanged::remember_unchanged;
