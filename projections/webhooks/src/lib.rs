//! Webhooks: which partner gets which event, and whether it arrived.
//!
//! [`WebhooksProjector`] folds subscriptions and the outcomes of attempts, and makes one row in `webhook_events`
//! for each announced event and matching subscription. What is to be sent, it only *intends*; the
//! [`WebhooksReactor`] names the effects, the runtime writes them into the ledger in the same transaction, and the
//! [`WebhooksWorker`] carries them out and appends what happened to the log, from where the projector folds it.
//!
//! Tables: `webhook_subscriptions`, `webhook_subscription_parts` (sealed), `webhook_events`, `webhook_attempts`,
//! `webhook_replays`, `webhook_replay_counts`; and outside the projection, because no log can restore it,
//! `kept.webhook_answers` (sealed; see `answers.rs`).
//!
//! Deliveries and their attempts are kept for 30 or 90 days (`keeping.rs`).
//!
//! Guarantees: one row per subscription and event, with an id that follows from both; never two concurrent
//! attempts of a delivery; every attempt is an event of the log; a rebuild sends nothing. HTTP itself stays
//! at-least-once: a crash between sending and recording leaves an attempt whose outcome is `unknown`, and the
//! delivery is sent again under the same `webhook-id`.
//!
//! Start reading at `model.rs`, then `worker.rs` and `attempt.rs`; bulk repair is in `replay/`.

pub mod answers;
mod attempt;
mod body;
pub mod catalogue;
mod checkpoints;
mod claim;
mod deliveries;
mod directory;
mod intents;
pub mod keeping;
mod message;
mod model;
mod numbers;
mod projector;
pub mod queries;
mod reactor;
mod recording;
pub mod replay;
pub mod sending;
mod signs;
mod state;
mod task;
mod worker;

pub use checkpoints::{CHECKPOINT_HEADER, Checkpoints, checkpoint_header};
pub use directory::{Directory, DirectoryError, OpenSubscription};
pub use message::Message;
pub use model::{
    Attempt, DeliveryKey, DeliveryProgress, DeliveryState, NewDelivery, Page, Subscription, SubscriptionKey,
    SubscriptionPart, SubscriptionStatus, delivery_id,
};
pub use projector::WebhooksProjector;
pub use reactor::{LedgerOnly, REACTOR, WebhooksReactor};
pub use worker::{WebhooksWorker, reactor_and_worker};
