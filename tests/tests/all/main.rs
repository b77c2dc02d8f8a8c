//! The tests of Carelog as a whole, against a real PostgreSQL. The harness is the library beside them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod analytics;
mod api;
mod append;
mod architecture;
mod attempts;
mod bypass;
mod competition;
mod console;
mod crash;
mod database_faults;
mod details;
mod effects;
mod fairness;
mod history;
mod idempotency;
mod import;
mod keeping;
mod listen;
mod metrics;
mod projector;
mod proofs;
mod quarantine;
mod queues;
mod rebuild;
mod receiver_faults;
mod receivers;
mod replays;
mod sender_clock;
mod sender_scale;
mod storage;
mod storm;
mod vault;
mod video;
mod webhooks;
mod worker_processes;
